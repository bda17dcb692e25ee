"""The task's own process in benchmarks.start: hpc.node.task, with a clock. It finds Holdfast in the snapshot alone.

    python -P start_task.py SWEEP_DIRECTORY SUBMISSION ARRAY INDEX

BENCHMARK_MODULES: file of the modules that a task imports; written by the first one. BENCHMARK_REPORT: where the times
go, and BENCHMARK_PROFILE, if it is set, a profile.
"""

from __future__ import annotations

import contextlib
import cProfile
import importlib
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

# Visits of a pack before the task is stopped: a few, so that what is restored is a state in the middle of training.
VISITS = 10


def _processor_time() -> float:
    """Of this process and of those that it has started and that have ended, such as the compiler that says its name."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def main(argv: list[str]) -> int:
    began = time.perf_counter()
    wanted = Path(os.environ["BENCHMARK_MODULES"])
    for name in wanted.read_text().split() if wanted.exists() else ():
        with contextlib.suppress(ImportError):  # some are made by others while these are imported
            importlib.import_module(name)
    from hpc.node.task import main as task
    from training.loop.pack import Pack

    original, visits = Pack.train, 0
    profile = cProfile.Profile(time.process_time) if "BENCHMARK_PROFILE" in os.environ else None

    def train(pack: Pack, indices: Any) -> None:
        nonlocal visits
        if not visits:
            elapsed, cpu = time.perf_counter() - started[0], _processor_time() - started[1]
            if profile:
                profile.disable()
                profile.dump_stats(os.environ["BENCHMARK_PROFILE"])
            found = {"elapsed_ms": 1e3 * elapsed, "cpu_ms": 1e3 * cpu, "import_ms": 1e3 * (started[0] - began)}
            Path(os.environ["BENCHMARK_REPORT"]).write_text(json.dumps(found))
        original(pack, indices)
        visits += 1
        if visits == VISITS:
            os.kill(os.getpid(), signal.SIGTERM)

    Pack.train = train  # type: ignore[method-assign]
    started = time.perf_counter(), _processor_time()
    if profile:
        profile.enable()
    status = task(argv)
    if not wanted.exists():
        wanted.write_text("\n".join(name for name in sys.modules if not name.startswith("__")))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
