"""On the node: one task of a submission, from its line in the task list to published results.

    python -P -m hpc.task SWEEP_DIRECTORY SUBMISSION ARRAY INDEX

Exit status: 0 every cell has ended well; 1 a cell failed; 2 wrong call or configuration; 3 the sweep's files cannot
be read or written; 85 stopped early with all state saved: run it again.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hpc.stop import StopFlag

EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_STORAGE, EXIT_STOPPED = 0, 1, 2, 3, 85


def main(argv: list[str]) -> int:
    """Run the task named by the arguments; see the module's text."""
    os.umask(os.umask(0o022) | 0o022)  # whatever the trainer or a library writes is never writable by others
    stop = StopFlag()
    stop.install()  # before the imports that take seconds: a signal must find a handler
    if "HOLDFAST_PARENT" in os.environ:
        stop.follow_parent(int(os.environ["HOLDFAST_PARENT"]))
    from hpc.pack_task import PackTask
    from hpc.store import Store, SweepError
    from hpc.training_run import StorageTroubleError

    if len(argv) != 4:
        print("usage: python -m hpc.task SWEEP_DIRECTORY SUBMISSION ARRAY INDEX", file=sys.stderr)
        return EXIT_USAGE
    root, submission, array, index = argv
    try:
        task = PackTask.from_list(Store(Path(root)), int(submission), int(array), int(index), stop)
        return task.run()
    except SweepError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    except StorageTroubleError as error:
        print(error, file=sys.stderr)
        return EXIT_STORAGE
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return EXIT_STORAGE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
