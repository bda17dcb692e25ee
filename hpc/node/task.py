"""On the node: one task of a submission, from its line in the task list to published results.

    python -P -m hpc.node.task SWEEP_DIRECTORY SUBMISSION ARRAY INDEX
    python -P -m hpc.node.task --fork SOCKET SWEEP_DIRECTORY SUBMISSION

The second form imports what tasks need, and forks one for each index that it is sent: see hpc.submission.fork_server.
Exit status: 0 every cell has ended well; 1 a cell failed; 2 wrong call or configuration; 3 the sweep's files cannot
be read or written; 4 it was queued for other code, another configuration or a directory that was here before: submit
again; 5 the GPU cannot be used; 6 this machine lacks what the trainer needs; 85 stopped early with all state saved: run
it again.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import os
import select
import signal
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from hpc import protocol
from hpc.checkout import PROJECT_ROOT
from hpc.errors import of_system
from hpc.node import workers
from hpc.node.stop import STOP_SIGNALS, StopFlag, end_for_sure, follow_task
from hpc.protocol import TaskExit

if TYPE_CHECKING:
    from hpc.node.pack import PackTask
    from hpc.storage.store import Store


def main(argv: list[str]) -> int:
    """Run the task named by the arguments; see the module's text."""
    if argv[:1] == ["--fork"]:
        forked = _fork_tasks(*argv[1:])
        if forked is None:
            return TaskExit.DONE
        argv = forked
    # Whatever the trainer or a library writes is never writable by others, and always readable by its owner.
    os.umask((os.umask(0o022) | 0o022) & 0o077)
    if level := os.environ.get(protocol.LOG_LEVEL):
        _log_from(level)
    stop = StopFlag()
    stop.install()  # before the imports that take seconds: a signal must find a handler
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)  # a worker starts with them blocked
    if protocol.STOP in os.environ:
        stop.set(f"{os.environ[protocol.STOP]} before the task began")
    if protocol.PARENT in os.environ:
        stop.follow_parent(int(os.environ[protocol.PARENT]))
    if len(argv) != 4:
        print("usage: python -m hpc.node.task SWEEP_DIRECTORY SUBMISSION ARRAY INDEX", file=sys.stderr)
        return TaskExit.USAGE
    try:
        return _checked(argv, stop)
    except ImportError as error:
        if not os.environ.get(protocol.CODE_DIGEST):
            raise
        _say(f"{PROJECT_ROOT}: the code is not as it was submitted ({error}); submit again")
        return TaskExit.OUTDATED


def _log_from(level: str) -> None:
    """What the trainer logs from this level on goes to its cells' log, libraries' own remarks from INFO on."""
    logging.basicConfig(level=level)
    for name in ("matplotlib", "PIL"):
        logging.getLogger(name).setLevel(logging.INFO)


def _checked(argv: list[str], stop: StopFlag) -> int:
    """Run the task; what keeps it from training is told in one line."""
    from hpc.errors import OutdatedError, SweepError
    from hpc.node.saving import TroubleError
    from hpc.storage.store import Store

    try:
        return _run(Store(Path(argv[0])), argv, stop)
    except OutdatedError as error:
        _say(error)
        return TaskExit.OUTDATED
    except (SweepError, workers.WorkersError) as error:
        _say(error)
        return TaskExit.USAGE
    except TroubleError as error:
        _say(error)
        return error.status
    except OSError as error:
        _say(of_system(error))
        return TaskExit.STORAGE


def _say(what: object) -> None:
    """Tell people why a task ends. Its log may lie on a disk that is full, which must not change how it ends."""
    with contextlib.suppress(OSError):
        print(what, file=sys.stderr, flush=True)


def _run(store: Store, argv: list[str], stop: StopFlag) -> int:
    from hpc.storage import task_list

    submission, array, index = map(int, argv[1:])
    if token := os.environ.get(protocol.ARRAY):
        task_list.check_array(store.paths, submission, array, token)
    if why := task_list.why_void(store.paths, submission, array, index):
        _say(f"task {index} of array {array} of submission {submission} is not trained: {why}")
        return TaskExit.DONE
    if digest := os.environ.get(protocol.CODE_DIGEST):
        from hpc.trainers.snapshot import check_snapshot

        check_snapshot(digest)  # before any of it trains, or hides a library from what does
    from hpc.node.pack import PackTask

    task = PackTask.from_list(store, submission, array, index, stop)
    count = workers.wanted(len(task.cells), task.sweep.trainer.pack_mode == "concurrent")
    if count and (status := workers.run(argv, _rounds(task), count, stop)) is not None:
        return status
    return replace(task, cells=[task.cells[i] for i in workers.chosen(len(task.cells))]).run()


def _rounds(task: PackTask) -> list[list[int]]:
    """Positions of the cells still to do, in groups one after another: all at once, then alone what did not bear it."""
    from hpc.node.giving_up import futile

    left = [i for i, cell in enumerate(task.cells) if not task.store.has_result(cell.name)]
    if task.sweep.trainer.pack_mode != "concurrent":
        return [left]
    alone = [i for i in left if futile(task.store, task.cells[i], True).split]
    return [[i for i in left if i not in alone], *([i] for i in alone)]


# --- forked tasks ----------------------------------------------------------------------------------------------------


def _fork_tasks(channel_fd: str, root: str, submission: str) -> list[str] | None:
    """Fork a task for each request. Returns its arguments in the task's process, None when no more will come.

    A request is a task's index, with a descriptor for its output. Two messages answer it: index and pid once it has
    begun (0 if it cannot be forked), index, pid and exit status when it has ended.
    """
    channel = socket.socket(fileno=int(channel_fd))
    _import_for_tasks(Path(root))
    if len(os.listdir("/proc/self/task")) > 1:
        return None  # only a process of one thread can be forked at any moment
    os.environ[protocol.PARENT] = str(os.getpid())
    gc.freeze()  # or a collection in a child would touch, and so copy, every page
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(wake)
    tasks: dict[int, int] = {}
    channel.send(b"ready")
    while True:
        readable = select.select([channel.fileno(), woken], [], [])[0]
        if channel.fileno() in readable:
            message, logs, _, _ = socket.recv_fds(channel, 20, 1)
            if not message:
                return None
            if (pid := _forked() if logs else -1) == 0:
                for fd in (channel.detach(), woken, wake):
                    os.close(fd)
                _become_task(logs[0])
                return [root, submission, "0", message.decode()]
            for log in logs:
                os.close(log)
            if pid > 0:
                tasks[pid] = int(message)
            channel.send(f"{int(message)} {max(pid, 0)}".encode())
        if woken in readable:
            os.read(woken, 1000)
            _tell_ended(channel, tasks)


def _forked() -> int:
    """What os.fork returns, or -1 where there are too many processes, or there is too little memory."""
    # Blocked, not ignored: a signal that comes early waits until the task's handlers are in place.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        pid = os.fork()
    except OSError:
        pid = -1
    if pid:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    return pid


def _tell_ended(channel: socket.socket, tasks: dict[int, int]) -> None:
    """Reap the tasks that have ended, by pid, and send their exit statuses."""
    while tasks:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            break
        if pid in tasks:
            channel.send(f"{tasks.pop(pid)} {pid} {os.waitstatus_to_exitcode(status)}".encode())


def _import_for_tasks(root: Path) -> None:
    """Import what tasks will, of Holdfast and of libraries; the trainer's own code each task checks and loads."""
    from hpc.checkout import SCRIPT_TRAINER
    from hpc.node import pack  # noqa: F401
    from hpc.storage.store import Store
    from hpc.trainers.imports import imported_first
    from hpc.trainers.snapshot import user_code

    trainer = user_code(Store(root).sweep().trainer)
    if trainer.target != SCRIPT_TRAINER:  # another process imports what a script needs
        for module in imported_first(Path(trainer.path), trainer.target.rpartition(":")[2]):
            importlib.import_module(module)


def _become_task(log: int) -> None:
    """Give a forked process what one that was started by itself has."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    if "numpy.random" in sys.modules:  # trainers that do not seed it must not all draw the same
        sys.modules["numpy.random"].seed()


def _run_to_the_end(argv: list[str]) -> NoReturn:
    status = 1  # Python's own of an exception that nobody catches
    try:
        status = main(argv)
    finally:
        end_for_sure(status)
    sys.exit(status)


if __name__ == "__main__":
    _run_to_the_end(sys.argv[1:])
elif __name__ == "__mp_main__":  # a process that the trainer spawned: multiprocessing loads this module there, too
    follow_task()
