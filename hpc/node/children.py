"""Processes that a trainer starts end with its task, also where the task is killed and can ask nobody to stop."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import threading
from functools import cache

from hpc import protocol
from hpc.processes import Process, start_time

_CHECK_SECONDS = 1.0


@cache
def keep_children() -> None:
    """From here on what this process forks or spawns through multiprocessing ends once this process is gone."""
    pid = os.getpid()
    os.environ[protocol.TASK] = f"{pid}:{start_time(pid)}"
    os.register_at_fork(after_in_child=follow_task)


def load_in_spawned() -> None:
    """Let multiprocessing load the task's module in what it spawns, not the command that this process began with."""
    sys.modules["__main__"].__spec__ = importlib.util.find_spec("hpc.node.task")


def follow_task() -> None:
    """In a child: end with the task that started it, directly or not."""
    pid, _, start = os.environ.get(protocol.TASK, "").partition(":")
    if not (pid.isdecimal() and start.isdecimal()):
        return
    task = Process(int(pid), int(start))

    def watch() -> None:
        pause = threading.Event()
        while task.alive():
            pause.wait(_CHECK_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name="follow-task").start()
