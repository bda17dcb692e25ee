"""Power cuts: an ext4 file system on a loop device is shut down at a random event, what was not on disk is lost.

The ioctl EXT4_IOC_SHUTDOWN with the flag "no log flush" ends all writing at once, as a power cut does. After mounting
again, everything that a task was told is safe must be there: the witness of the tiny trainer lies on another file
system and says what that was.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import shutil
import signal
import struct
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from helpers.waiting import wait_until

from .attempts import ForkServer
from .bench import Bench

_SHUTDOWN, _NO_LOG_FLUSH = 0x8004587D, 2
_LOST = (-signal.SIGKILL, 0, 1, 3, 70)  # whatever a task says while its disk goes away
# Of the 164 that four tasks note: 30 steps, 10 saves and an end each.
_MOST_EVENTS = 120
_OPTIONS = {"steps": 30, "epoch": 6, "save": 3, "seconds": 0.002}


class NotPermittedError(Exception):
    """Power cuts cannot be played here; the message says why."""


@dataclass
class Disk:
    """A file system in a file."""

    image: Path
    place: Path

    @classmethod
    def make(cls, directory: Path) -> Disk:
        if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
            raise NotPermittedError("mounting needs root and mkfs.ext4")
        disk = cls(directory / "disk.img", directory / "disk")
        disk.place.mkdir()
        with disk.image.open("wb") as file:
            file.truncate(48 * 2**20)
        _call("mkfs.ext4", "-q", str(disk.image))
        disk.mount()
        return disk

    def mount(self) -> None:
        # As ext4 comes, but for the long wait before data goes out by itself: cuts should find some on its way.
        _call("mount", "-o", "loop,commit=300", str(self.image), str(self.place))

    def cut(self) -> None:
        fd = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        except OSError as error:
            raise NotPermittedError(f"the kernel does not shut a file system down: {error.strerror}") from None
        finally:
            os.close(fd)

    def unmount(self) -> None:
        """Returns once the file system is gone everywhere.

        As long as another process's mount namespace has a copy, mounting again would show the one that was shut down.
        """
        command = ["umount", str(self.place)]
        wait_until(lambda: subprocess.run(command, capture_output=True, check=False).returncode == 0, "umount")
        command = ["losetup", "--associated", str(self.image)]
        wait_until(lambda: not subprocess.run(command, capture_output=True, check=True).stdout, "the loop device's end")


def _call(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotPermittedError(f"{words[0]}: {done.stderr.strip()}")


@contextlib.contextmanager
def disk(directory: Path) -> Iterator[Disk]:
    made = Disk.make(directory)
    try:
        yield made
    finally:
        subprocess.run(["umount", "-l", str(made.place)], capture_output=True, check=False)


@dataclass
class Acknowledged:
    """What the trainer was told is safe. saved: the last step of each cell; finished: cells."""

    saved: dict[str, int]
    finished: set[str]

    @classmethod
    def read(cls, witness: Path) -> Acknowledged:
        found = cls({}, set())
        for line in witness.read_text().splitlines() if witness.exists() else []:
            what, cell, step = line.split()[:3]
            if what == "saved":
                found.saved[cell] = max(int(step), found.saved.get(cell, 0))
            elif what == "finished":
                found.finished.add(cell)
        return found


def cut_once(disk: Disk, bench: Bench, server: ForkServer, witness: Path, events: int) -> None:
    """Start all tasks that are not done, cut the power when they have noted so many events, mount what is left."""
    open_tasks = [task for task in range(len(bench.tasks)) if not bench.done(task)]
    environment, before = {"CHAOS_WITNESS": str(witness)}, _events(witness)
    attempts = [server.start(bench.arguments(task), witness.with_name("tasks.log"), environment) for task in open_tasks]
    wait_until(
        lambda: _events(witness) - before >= events or all(attempt.over for attempt in attempts),
        f"{events} events",
        pause=0.002,
    )
    disk.cut()
    for attempt in attempts:
        attempt.signal(signal.SIGKILL)
    codes = [attempt.wait() for attempt in attempts]
    assert set(codes) <= set(_LOST), codes
    disk.unmount()
    disk.mount()


def _events(witness: Path) -> int:
    """Lines of a witness but those that only say that a process is there."""
    lines = witness.read_text().splitlines() if witness.exists() else []
    return sum(not line.startswith("begun") for line in lines)


def check(bench: Bench, told: Acknowledged) -> None:
    """Everything that was acknowledged is there: results whole, and of every other cell the last saved step."""
    from hpc.node.attempt import PackAttempt

    for cell in bench.sweep.grid:
        if cell.name in told.finished:
            assert bench.store.has_result(cell.name), f"{cell.name}: an acknowledged result was lost"
        if bench.store.has_result(cell.name):
            bench.check_results((cell,))
            continue
        row = PackAttempt(bench.store, bench.sweep, 0, {cell: 0}, {"submission": 0}).restore(cell)
        step = row.step if row else 0
        wanted = told.saved.get(cell.name, 0)
        assert step >= wanted, f"{cell.name}: step {wanted} was acknowledged as saved, step {step} is what is left"
    bench.check_clean()


def campaign(directory: Path, server: ForkServer, seed: int, cuts: int) -> Counter[str]:
    """Cut the power `cuts` times under sweeps of four cells. Returns what was counted."""
    generator = random.Random(seed)
    counts: Counter[str] = Counter()

    def make(root: Path) -> Bench:
        return Bench.make(root, factors={"width": [1, 2]}, runs=2, options=_OPTIONS)

    calm = make(directory / "calm")
    calm.run_all(server)
    with disk(directory) as made:
        while counts["power cuts"] < cuts:
            number = counts["sweeps"]
            bench = make(made.place / f"out-{number}")
            os.sync()
            witness = directory / f"witness-{number}"
            while not all(map(bench.done, range(len(bench.tasks)))) and counts["power cuts"] < cuts:
                cut_once(made, bench, server, witness, generator.randrange(_MOST_EVENTS))
                check(bench, Acknowledged.read(witness))
                counts["power cuts"] += 1
                if bench.failures():
                    bench.submit()
            for task in range(len(bench.tasks)):
                bench.start(server, task).wait()
            bench.check_equal(calm)
            counts["sweeps"] += 1
            counts["acknowledged steps and results"] += _events(witness)
    return counts
