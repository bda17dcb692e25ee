"""Asking a task to end: signal handlers that only set a flag, a watch on the parent process, and one in children.

And once it has come to its end: it does end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from functools import cache
from types import FrameType

from hpc import protocol
from hpc.checkout import PROJECT_ROOT
from hpc.processes import Process, start_time

STOP_SIGNALS = (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)
_PARENT_CHECK_SECONDS = 1.0
# How long a worker whose parent is gone may take to save: as long as Slurm waits by default between TERM and KILL
# (KillWait).
_ORPHAN_SECONDS = 30.0
# What a trainer leaves running gets as long to end by itself, what it has registered with atexit as long to be done: an
# upload takes its time, but a state that is saved is requeued before the time limit (signal_delay_s, 90 by default).
_LEFTOVERS_SECONDS, _ATEXIT_SECONDS = 10.0, 60.0


class StopFlag:
    """Set once, by a signal or a parent's death; looked at between steps."""

    def __init__(self) -> None:
        self._set = False
        self.cause = ""

    def __call__(self) -> bool:
        return self._set

    def set(self, cause: str) -> None:
        if not self._set:
            self.cause = cause
            self._set = True

    def install(self) -> None:
        """Take over the stop signals of this process. SIGUSR1 is left alone: NCCL uses it."""
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_signal)

    def follow_parent(self, parent: int) -> None:
        """Also stop once the parent process is gone, so that no worker outlives the command that started it.

        A trainer that does not save and stop then is killed with all that it has started.
        """

        def watch() -> None:
            done = threading.Event()
            while os.getppid() == parent:
                done.wait(_PARENT_CHECK_SECONDS)
            self.set("the command that started this worker is gone")
            done.wait(_ORPHAN_SECONDS)
            # The trainer hangs, and nobody is left who could end it. A group of its own holds what it has started.
            (os.killpg if os.getpgid(0) == os.getpid() else os.kill)(os.getpid(), signal.SIGKILL)

        threading.Thread(target=watch, daemon=True, name="follow-parent").start()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.set(signal.Signals(number).name)


# --- processes that a trainer starts ---------------------------------------------------------------------------------


@cache
def keep_children() -> None:
    """From here on what this process forks or spawns through multiprocessing ends once this process is gone."""
    pid = os.getpid()
    os.environ[protocol.TASK] = f"{pid}:{start_time(pid)}"
    os.register_at_fork(after_in_child=follow_task)


def load_in_spawned() -> None:
    """Let multiprocessing load our own file in what it spawns, whatever command this process began with.

    As a file: in a debug run the trainer's folder comes first on the search path, and may hold an `hpc.py`.
    """
    main = sys.modules["__main__"]
    main.__spec__, main.__file__ = None, str(PROJECT_ROOT / "holdfast.py")


def follow_task() -> None:
    """In a child: end with the task that started it, directly or not."""
    pid, _, start = os.environ.get(protocol.TASK, "").partition(":")
    if not (pid.isdecimal() and start.isdecimal()):
        return
    task = Process(int(pid), int(start))

    def watch() -> None:
        pause = threading.Event()
        while task.alive():
            pause.wait(_PARENT_CHECK_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name="follow-task").start()


# --- the end ---------------------------------------------------------------------------------------------------------


def end_for_sure(status: int) -> None:
    """From here on this process ends with this status, whatever comes and whatever a trainer has left running.

    As Python shuts down, a second signal would kill it and hide the status. And Python waits without end for threads
    that are no daemons, multiprocessing for processes: the task would keep its node, and nobody would requeue what it
    has saved.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)

    def watch() -> None:
        pause = threading.Event()
        pause.wait(_LEFTOVERS_SECONDS)
        if not (left := _left_running()):
            pause.wait(_ATEXIT_SECONDS - _LEFTOVERS_SECONDS)
            left = _left_running() or ["a function that is called at exit"]
        with contextlib.suppress(Exception):
            print(f"the task ends without what the trainer has left running: {', '.join(left)}", file=sys.stderr)
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)

    threading.Thread(target=watch, daemon=True, name="end-for-sure").start()


def _left_running() -> list[str]:
    """Threads and multiprocessing's processes that Python waits for at its end."""
    threads = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    found = [f"thread {thread.name!r}" for thread in threads if not thread.daemon]
    if multiprocessing := sys.modules.get("multiprocessing"):
        found += [f"process {child.name!r}" for child in multiprocessing.active_children()]
    return found
