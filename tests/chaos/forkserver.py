"""A server that has imported the task once and forks a process for every attempt: the real code path, cheap to kill.

Run as a script with PYTHONPATH naming the code. Reads one JSON object a line: {"argv": [...], "log": path,
"environment": {...}, "frozen": bool, "module": whose main() is called}; answers `pid N` in order, and `end PID STATUS`
(as waitpid gives it) whenever one ends. A frozen process waits for SIGCONT before it begins. It ends, and kills what it
started, at the end of its input.
"""

from __future__ import annotations

import importlib
import json
import os
import selectors
import signal
import sys
import time
import traceback
from typing import Any


def serve(preload: list[str]) -> None:
    for name in ["hpc.node.task", "hpc.node.pack", "numpy.random", *preload]:
        importlib.import_module(name)
    importlib.import_module("hpc.provenance").versions()  # reads many files the first time
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(wake_write)
    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    selector.register(wake_read, selectors.EVENT_READ)
    living: set[int] = set()
    buffer = b""
    while True:
        for key, _ in selector.select():
            data = os.read(key.fd, 65536)
            if key.fd == wake_read:
                reap(living)
            elif not data:
                for pid in living:
                    os.kill(pid, signal.SIGKILL)
                return
            else:
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    pid = start(json.loads(line))
                    living.add(pid)
                    say(f"pid {pid}")


def reap(living: set[int]) -> None:
    while living:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        living.discard(pid)
        say(f"end {pid} {status}")


def start(order: dict[str, Any]) -> int:
    pid = os.fork()
    if pid == 0:
        become_task(order)
    return pid


def become_task(order: dict[str, Any]) -> None:
    """What `python -P -m hpc.node.task` does from here on, in a process of its own."""
    code = 70
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        null = os.open("/dev/null", os.O_RDONLY)
        for target, source in ((0, null), (1, log), (2, log)):
            os.dup2(source, target)
        os.closerange(3, 64)
        os.environ.update(order["environment"])
        note("begun", "-", 0)
        if "training.workspace" in sys.modules:
            watch_workspace()
        if order["frozen"]:
            os.kill(os.getpid(), signal.SIGSTOP)
        if "CHAOS_STOP_AT_RENAME" in os.environ:
            stop_at_rename(int(os.environ["CHAOS_STOP_AT_RENAME"]))
        code = importlib.import_module(order["module"]).main(order["argv"])
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def stop_at_rename(place: int) -> None:
    """Let this process stop before it gives a file its name for the ``place``-th time, once."""
    rename, left = os.replace, [place]

    def stopping(source: Any, target: Any, **folders: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGSTOP)
        rename(source, target, **folders)

    os.replace = stopping  # type: ignore[assignment]


def watch_workspace() -> None:
    """Let the built-in trainer note in CHAOS_WITNESS what the tiny one notes by itself: steps done and saved."""
    from hpc.node.training_run import TrainingRun
    from training.loop.pack import Pack

    train, write = Pack.train, TrainingRun._write

    def watched_train(self: Any, indices: Any) -> None:
        train(self, indices)
        for member in self.members:
            note("step", member.cell.name, self.step, len(indices))
        hold(self.step)

    def watched_write(self: Any, rows: Any) -> None:
        # Not what the trainer hands over, which is written beside training: a kill may come before that has ended.
        write(self, rows)
        for row in rows:
            note("saved", row.cell, row.step)

    Pack.train, TrainingRun._write = watched_train, watched_write  # type: ignore[method-assign]


def hold(step: int) -> None:
    """Wait, from the step on that the file of CHAOS_HOLD names, until the file is gone."""
    path = os.environ.get("CHAOS_HOLD", "")
    try:
        with open(path) as file:
            wanted = int(file.read())
    except FileNotFoundError:
        return
    if wanted and step >= wanted:
        open(f"{path}.reached", "w").close()
        while os.path.exists(path):
            time.sleep(0.002)


def note(what: str, cell: str, step: int, size: int = 0) -> None:
    """A line in the witness, as trainers/tiny.py writes it; `begun` stands for a process that is there."""
    if "CHAOS_WITNESS" in os.environ:
        fd = os.open(os.environ["CHAOS_WITNESS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(fd, f"{what} {cell} {step} {os.getpid()} {time.monotonic():.6f} {size}\n".encode())
        os.close(fd)


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


if __name__ == "__main__":
    serve(sys.argv[1:])
