"""Virtual processes over the real modules: threads that hand a baton on before every file operation.

At any moment at most one of them runs, so a schedule is repeated exactly. One that is killed raises at its next
operation and at every one after that: no handler and no ``finally`` of ours changes a file any more, as after SIGKILL.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from hpc.storage import files, opening, published, results

# What changes the file system or looks at it. close() is the kernel's when a process dies.
OPERATIONS = ("open", "replace", "rename", "link", "unlink", "mkdir", "rmdir", "listdir", "fsync", "write", "stat")
_DEADLINE = 300.0


class KilledError(BaseException):
    """SIGKILL, in the process that it reaches."""


class Process:
    """One virtual process. lagging: its listings of directories are those it saw before, as from a stale cache.

    operations: how many it has performed.
    """

    def __init__(self, name: str, body: Callable[[Process], None]) -> None:
        self.name = name
        self.stopped = self.killed = self.lagging = False
        self.done = False
        self.error: BaseException | None = None
        self.listings: dict[str, list[str]] = {}
        self._go, self._waits = threading.Semaphore(0), threading.Semaphore(0)
        self.operations = 0
        self._left, self._until = 0, ""
        self._thread = threading.Thread(target=self._run, args=(body,), name=name, daemon=True)
        self._thread.start()

    def step(self, operations: int, until: str = "") -> None:
        """Let it perform so many operations, or fewer if it ends. until: also stop right before one of this name."""
        if self.done:
            return
        self._left, self._until = operations, until
        self._go.release()
        assert self._waits.acquire(timeout=_DEADLINE), f"{self.name} hangs"
        if self.error is not None:
            raise AssertionError(f"{self.name}: {self.error!r}") from self.error

    def finish(self) -> None:
        while not self.done:
            self.step(1_000)

    def kill(self) -> None:
        self.killed = True
        self.finish()

    def before_operation(self, name: str) -> None:
        """Called in the process's own thread."""
        if self.killed:
            raise KilledError
        if self._left == 0 or name == self._until:
            self._waits.release()
            self._go.acquire()
            if self.killed:
                raise KilledError
        self._left -= 1
        self.operations += 1

    def _run(self, body: Callable[[Process], None]) -> None:
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


class World:
    """All processes of a schedule; in other threads file operations are left alone."""

    def __init__(self) -> None:
        self.processes: list[Process] = []
        self._patch = pytest.MonkeyPatch()
        proxy = system(self)
        for module in (files, opening, published, results):
            self.patch(module, "os", proxy)

    def patch(self, owner: Any, name: str, value: Any) -> None:
        """Replace what an owner calls, until close()."""
        self._patch.setattr(owner, name, value, raising=False)

    def operation(self, name: str) -> None:
        """Where the current process may be stopped or killed; nothing in threads that are none of the model's."""
        process = self.current()
        if process is not None:
            process.before_operation(name)

    def start(self, body: Callable[[Process], None]) -> Process:
        process = Process(f"process {len(self.processes) + 1}", body)
        self.processes.append(process)
        return process

    @property
    def live(self) -> list[Process]:
        return [process for process in self.processes if not process.done]

    def current(self) -> Process | None:
        thread = threading.current_thread()
        return next((process for process in reversed(self.processes) if process._thread is thread), None)

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
            if name == "listdir":
                return self._listing(process, arguments[0])
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
