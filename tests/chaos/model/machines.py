"""Login hosts and nodes of the model: each process has a pid on one of them, can be stopped, and sees only its own."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpc.files import atomic, directories
from hpc.node import attempt, trial
from hpc.processes import Place
from hpc.storage import store
from hpc.submission import arrays, cancels, intents, lock

from .processes import Process, World, known, outside, system

# The machine's own PID namespace, and that of a container.
_OWN, _CONTAINER = "pid:[4026531836]", "pid:[4026532000]"


# Operations between a command's last look at its lock and what it then does: stopped among them, nothing holds it back.
_A_MOMENT = 30


@dataclass
class Host:
    """Where commands are typed. cluster: the one whose login host it is. boots: how often it has started."""

    cluster: str
    machine: str
    namespace: str = _OWN
    boots: int = 1

    @property
    def place(self) -> Place:
        """All hosts have one name, as cloned images do."""
        return Place("login", self.machine, f"{self.machine}-boot-{self.boots}", self.namespace)


class Command(Process):
    """A process on a host. frozen: SIGSTOP. boot: the one it runs in. take_over: it may take locks over.

    verb: what was typed. asked: what it asked Slurm last; looked: how much had happened by then.
    since: number of the newest submission when its command began. trains: the cell that it trains now.
    fails: its trainer does. waits: `submit --wait`.
    told: why it was refused. said: what it waits for.
    lost_at: how many operations it had performed when its lock was taken over. void: its task was so when it started.
    """

    host: Host
    pid: int
    boot: int
    born: int
    frozen = take_over = fails = waits = False
    since = 0
    verb = asked = trains = ""
    looked = 0
    lock_file = told = said = ""
    conf: Any = None
    unanswered = void = False
    lost_at: int | None = None
    job: Any = None
    status = -1
    cancel: Any = None
    ended_at: int | None = None

    @property
    def alive(self) -> bool:
        return not self.done and self.boot == self.host.boots

    @property
    def works_without_lock(self) -> bool:
        """Whether it could have seen by now that its lock was taken over: not by a listing from before that."""
        return self.lost_at is not None and not self.lagging and self.operations - self.lost_at > _A_MOMENT


class Machines(World):
    """A world in which pids, hosts and locks are virtual, too."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.hosts = [Host("a", "one"), Host("b", "two"), Host("a", "one", _CONTAINER)]
        self.node = Host("a", "node")
        self.tick = 0
        self.owners: dict[str, Command] = {}
        self.faults: list[str] = []
        self.news: list[tuple[Any, str]] = []  # what has happened, by whom
        for name, value in {
            "os": _LockSystem(self),
            "time": Clock(self),
            "here": lambda: self.viewer.host.place,
            "start_time": self.start_time,
            "state": self.state,
            "is_hidden": lambda pid: False,
        }.items():
            self.patch(lock, name, value)
        self.patch(directories, "shutil", _Trees(self))
        self.patch(directories, "rename_directory", self._renaming(directories.rename_directory))
        self.patch(atomic, "remove", self._removing(atomic.remove))
        self.patch(arrays, "time", Clock(self))
        for module in (store, attempt, intents, cancels):
            self.patch(module, "host", lambda: self.viewer.host.place.boot)
        self.patch(store, "start_time", self.start_time)
        self.patch(trial, "start_time", self.start_time)
        self.patch(trial, "os", _LockSystem(self))
        self.patch(trial, "redirect_output", lambda path: None)

    def tell(self, what: str) -> None:
        """Something has happened that those who looked before do not know."""
        self.news.append((self.current(), what))

    def unknown_to(self, command: Command) -> set[str]:
        """What others have done since a command asked Slurm; nothing before that, for it knows nothing yet."""
        return {what for who, what in self.news[command.looked :] if command.asked and who is not command}

    @property
    def viewer(self) -> Any:
        """Whose eyes look: the current process's, or those of an onlooker on the first host."""
        return self.current() or _Onlooker(self.hosts[0])

    def start_on(self, host: Host, body: Callable[[Any], None], **about: Any) -> Any:
        process = Command(f"process {len(self.processes) + 1}", body)
        process.host, process.boot, process.born = host, host.boots, self.tick
        process.pid = 100 + len(self.processes)
        for name, value in about.items():
            setattr(process, name, value)
        return self.add(process)

    def start_time(self, pid: int) -> int | None:
        """As the viewer sees it: by the pid, on his own host and in his own namespace."""
        return pid if self._seen(pid) else None

    def state(self, pid: int) -> str:
        found = self._seen(pid)
        return "" if found is None else "T" if found.frozen else "S"

    def _seen(self, pid: int) -> Any:
        place = self.viewer.host.place
        return next((p for p in self.processes if p.pid == pid and p.alive and p.host.place == place), None)

    def _renaming(self, real: Any) -> Any:
        def rename_directory(source: Any, target: Any) -> None:
            real(source, target)
            if source.name.startswith(".lock-"):
                process = self.current()
                process.lock_file = f"owner-{source.name.removeprefix('.lock-')}.json"
                self.owners[process.lock_file] = process
                process.lost_at = None  # that was an earlier one

        return rename_directory

    def _removing(self, real: Any) -> Any:
        def remove(path: Any) -> None:
            with outside():
                there = path.exists()
            real(path)
            if there and path.parent.name == "lock":
                self.removed(path.name)

        return remove

    def removed(self, name: str) -> None:
        """A lock's file is removed: only its owner may do so, or who may take it for gone."""
        remover, owner = self.current(), self.owners.get(name)
        if owner is None or owner is remover or not owner.alive or not isinstance(remover, Command):
            return
        owner.lost_at = owner.operations
        self.tell("locked")
        unsure = owner.frozen or owner.host.place != remover.host.place
        if not (remover.take_over and unsure):
            self.faults.append(f"{remover.name} took the lock of {owner.name}, which lives")


@dataclass
class _Onlooker:
    host: Host


class _LockSystem:
    """The module os with the pids of the world."""

    def __init__(self, world: Machines) -> None:
        self._world, self._system = world, system(world)

    def getpid(self) -> int:
        return int(self._world.viewer.pid)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._system, name)


class _Trees:
    """shutil.rmtree as one operation."""

    def __init__(self, world: World) -> None:
        self._world = world

    def rmtree(self, path: Any, ignore_errors: bool = False, dir_fd: int | None = None) -> None:
        self._world.operation("rmtree")
        with known():
            shutil.rmtree(path, ignore_errors=ignore_errors, dir_fd=dir_fd)


class Clock:
    """The module time: who sleeps lets others run."""

    def __init__(self, world: World) -> None:
        self._world = world

    def sleep(self, seconds: float) -> None:
        self._world.operation("sleep")

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)
