"""Virtual processes over the real modules: threads that hand a baton on before every file operation.

At any moment at most one of them runs, so a schedule is repeated exactly. One that is killed raises at its next
operation and at every one after that: no handler and no ``finally`` of ours changes a file any more, as after SIGKILL.
"""

from __future__ import annotations

import builtins
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from hpc.files import atomic, directories, logs, opening, reading
from hpc.storage import named_files, permissions, published, store

# What changes the file system or looks at it. close() is the kernel's when a process dies.
OPERATIONS = ("open", "replace", "rename", "link", "unlink", "mkdir", "rmdir", "listdir", "scandir", "fsync", "write")
OPERATIONS += ("stat", "lstat", "walk")
# What Python itself reports, by whatever way it was called: so nothing in the sweep directory is done past the model.
_REPORTED = {"open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.listdir", "os.scandir"}
_REPORTED |= {"os.symlink", "os.truncate"}
# Where an event has the descriptor of the folder that a relative path starts from. "open" has none.
_FOLDER = {"os.rename": 2, "os.link": 2, "os.mkdir": 2, "os.remove": 1, "os.rmdir": 1, "os.symlink": 2}
_SOMEWHERE = "(some folder)"
_OUTSIDE = {"subprocess.Popen", "os.fork", "os.system", "socket.connect"}
_DEADLINE = 300.0
_here = threading.local()


class KilledError(BaseException):
    """SIGKILL, in the process that it reaches."""


class Process:
    """One virtual process. lagging: its listings of directories are those it saw before, as from a stale cache.

    operations: how many it has performed. at: the one before which it waits. past: what it did in ``root``, the sweep
    directory, past the model.
    """

    root = ""

    def __init__(self, name: str, body: Callable[[Process], None]) -> None:
        self.name = name
        self.stopped = self.killed = self.lagging = False
        self.done = False
        self.error: BaseException | None = None
        self.listings: dict[str, list[str]] = {}
        self._go, self._waits = threading.Semaphore(0), threading.Semaphore(0)
        self.operations = 0
        self.at = self.past = ""
        self._left, self._until = 0, ""
        self._thread = threading.Thread(target=self._run, args=(body,), name=name, daemon=True)
        self._thread.start()

    def step(self, operations: int, until: str = "") -> None:
        """Let it perform so many operations, or fewer if it ends.

        until: also stop right before one of this name; "answered": before any that hears an answer of Slurm's.
        """
        if self.done:
            return
        self._left, self._until = operations, until
        self._go.release()
        assert self._waits.acquire(timeout=_DEADLINE), f"{self.name} hangs"
        assert not self.past, f"the model does not see {self.past}, which {self.name} does"
        if self.error is not None:
            raise AssertionError(f"{self.name}: {self.error!r}") from self.error

    def finish(self) -> None:
        while not self.done:
            self.step(1_000)

    @property
    def where(self) -> str:
        """Which functions of ours it is in, for people."""
        frame, names = sys._current_frames().get(self._thread.ident or 0), []
        while frame is not None:
            if "/hpc/" in frame.f_code.co_filename:
                names.append(f"{frame.f_code.co_name}:{frame.f_lineno}")
            frame = frame.f_back
        return f"{self.name} in {' < '.join(names)}"

    def kill(self) -> None:
        self.killed = True
        self.finish()

    def before_operation(self, name: str) -> None:
        """Called in the process's own thread."""
        if self.killed:
            raise KilledError
        if self._left == 0 or name == self._until or (self._until == "answered" and name.endswith(" answered")):
            self.at = name
            self._waits.release()
            self._go.acquire()
            if self.killed:
                raise KilledError
        self._left -= 1
        self.operations += 1

    def _run(self, body: Callable[[Process], None]) -> None:
        _here.process, _here.known = self, False
        self._go.acquire()
        try:
            if not self.killed:
                body(self)
        except KilledError:
            pass
        except BaseException as error:  # for the thread that waits
            self.error = error
        self.done = True
        self._waits.release()


@contextmanager
def known() -> Iterator[None]:
    """What the current process does here in the file system is an operation of the model's."""
    before, _here.known = getattr(_here, "known", False), True
    try:
        yield
    finally:
        _here.known = before


@contextmanager
def outside() -> Iterator[None]:
    """An onlooker's eyes in the current process's thread: nothing it does is an operation."""
    before, _here.process = getattr(_here, "process", None), None
    try:
        yield
    finally:
        _here.process = before


# Since Python 3.13 a traceback parses its lines, and the error of one that is no Python by itself looks for this file.
_NO_FILE = "<unknown>"


@cache
def _listen() -> None:
    """Have every process noted that touches its sweep directory past the model. Python keeps such a hook for good."""
    sys.addaudithook(_heard)


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    process = getattr(_here, "process", None)
    if process is None or process.killed or process.past or _here.known:
        return
    if event in _OUTSIDE:
        process.past = f"{event} of {arguments[0]}"
    if event not in _REPORTED or arguments[0] == _NO_FILE:
        return
    with known():
        path = _place(event, arguments)
    if path.startswith((process.root, _SOMEWHERE)):
        process.past = f"{event} of {path}"


def _place(event: str, arguments: tuple[Any, ...]) -> str:
    """Path of what an event is about; beginning with _SOMEWHERE if it is in a folder that Python does not report."""
    place = arguments[0]
    if isinstance(place, int):
        return os.readlink(f"/proc/self/fd/{place}")
    path = os.fsdecode(place or ".")
    if os.path.isabs(path):
        return path
    if event not in _FOLDER:
        return f"{_SOMEWHERE}/{path}"
    folder = arguments[_FOLDER[event]]
    return os.path.join(os.getcwd() if folder == -1 else os.readlink(f"/proc/self/fd/{folder}"), path)


class World:
    """All processes of a schedule in a sweep directory; in other threads file operations are left alone."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.processes: list[Process] = []
        self._patch = pytest.MonkeyPatch()
        proxy = system(self)
        for module in (atomic, directories, logs, opening, reading, permissions, named_files, published, store):
            self.patch(module, "os", proxy)
        _listen()

    def patch(self, owner: Any, name: str, value: Any) -> None:
        """Replace what an owner calls, until close(). Raises AttributeError if it calls nothing of that name."""
        self._patch.setattr(owner, name, value, raising=name not in vars(builtins))

    def operation(self, name: str) -> None:
        """Where the current process may be stopped or killed; nothing in threads that are none of the model's."""
        process = self.current()
        if process is not None:
            process.before_operation(name)

    def start(self, body: Callable[[Process], None]) -> Process:
        return self.add(Process(f"process {len(self.processes) + 1}", body))

    def add(self, process: Any) -> Any:
        """One more process, which has not begun."""
        process.root = f"{self.root}/"
        self.processes.append(process)
        return process

    @property
    def live(self) -> list[Process]:
        return [process for process in self.processes if not process.done]

    def current(self) -> Process | None:
        return getattr(_here, "process", None)

    def close(self) -> None:
        for process in self.live:
            process.kill()
        self._patch.undo()


def system(world: World) -> Any:
    """The module os in this world."""
    return _System(world)


class _System:
    """The module os as our modules see it."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in OPERATIONS:
            return real

        def operation(*arguments: Any, **options: Any) -> Any:
            process = self._world.current()
            if process is None:
                return real(*arguments, **options)
            process.before_operation(name)
            with known():
                if name == "listdir":
                    return self._listing(process, arguments[0])
                if name == "scandir":
                    return self._entries(process, arguments[0])
                if name == "walk":
                    return list(real(*arguments, **options))  # of folders that no process changes: one operation
                if name == "fsync":
                    return None  # what it is for, power cuts, is for real disks (chaos/powercut.py)
                return real(*arguments, **options)

        return operation

    @staticmethod
    def _listing(process: Process, directory: Any) -> list[str]:
        path = os.readlink(f"/proc/self/fd/{directory}") if isinstance(directory, int) else str(directory)
        if not (process.lagging and path in process.listings):
            process.listings[path] = os.listdir(path)
        return list(process.listings[path])

    def _entries(self, process: Process, directory: Any) -> Any:
        names = self._listing(process, directory)
        with os.scandir(directory) as found:
            return nullcontext([entry for entry in found if entry.name in names])
