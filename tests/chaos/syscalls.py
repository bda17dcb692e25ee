"""Faults at the level of system calls: strace makes the N-th call of a kind fail or kills the task in front of it.

A first run without faults is recorded; every call in it that changes the sweep directory is then a place to strike.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers.waiting import PATIENCE, wait_until

from .attempts import Attempt, ForkServer, wait_stopped
from .bench import Bench

# What is called instead where a folder is given by its descriptor, as hpc.files.atomic does; arm64 knows nothing else.
VARIANTS = {"linkat": "link", "renameat": "rename", "renameat2": "rename", "mkdirat": "mkdir", "unlinkat": "unlink"}
CHANGING = ("openat", "write", "fsync", "rename", "link", "mkdir", "unlink", *VARIANTS)
FAULTS = ("KILL", "EIO", "ENOSPC", "EDQUOT")
_CALL = re.compile(r"(?P<thread>\d+) +(?P<name>[a-z0-9_]+)\((?P<arguments>.*?)(?:\) += -?\d+| <unfinished)")
_PATH = re.compile(r'(?:(?:AT_FDCWD|\d+)<(?P<base>[^>]*)>, )?"(?P<path>[^"]*)"')
_STORAGE, _DONE = 3, 0


def missing() -> str:
    """Why strace cannot be used here; empty if it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(["strace", "-e", "trace=none", "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else "tracing processes is not permitted here"


@dataclass(frozen=True)
class Call:
    """One system call of a trace. ordinal: its number among its thread's calls of that name, from 1."""

    name: str
    ordinal: int
    arguments: str
    thread: int

    @property
    def kind(self) -> str:
        """What it does, by the shortest of the names for it."""
        return VARIANTS.get(self.name, self.name)

    @property
    def paths(self) -> list[str]:
        """The paths that it is given; one that begins in a folder's descriptor, from that folder on."""
        return [os.path.join(found["base"] or "", found["path"]) for found in _PATH.finditer(self.arguments)]

    def changes(self, root: Path) -> bool:
        """Whether it changes something below a directory."""
        return str(root) in self.arguments and (self.name != "openat" or "O_CREAT" in self.arguments)


def read_trace(path: Path) -> list[Call]:
    """The calls of a trace, in the order in which they began."""
    numbers: Counter[tuple[int, str]] = Counter()
    calls = []
    for line in path.read_text(errors="replace").splitlines():
        found = _CALL.match(line)
        if found:
            thread, name = int(found["thread"]), found["name"]
            numbers[thread, name] += 1
            calls.append(Call(name, numbers[thread, name], found["arguments"], thread))
    return calls


@contextlib.contextmanager
def attach(pid: int, trace: Path, inject: str, names: Iterable[str]) -> Iterator[None]:
    """Trace a stopped process of one's own while the block runs it."""
    # ? in front: no error where the machine has no such call.
    options = [f"--trace={','.join(f'?{name}' for name in names)}", *(["-e", f"inject={inject}"] if inject else [])]
    command = ["strace", "-f", "-qq", "-y", "-s", "0", "-o", str(trace), *options, "-p", str(pid)]
    tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: is_traced(pid), "strace to attach", pause=0.002)
        yield
    finally:
        try:
            tracer.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            tracer.kill()
            tracer.wait()


def traced(bench: Bench, server: ForkServer, task: int, trace: Path, inject: str = "") -> Attempt:
    """Run a task under strace, from its first own instruction to its end."""
    attempt = bench.start(server, task, frozen=True)
    wait_stopped(attempt.pid)
    try:
        with attach(attempt.pid, trace, inject, CHANGING):
            attempt.signal(signal.SIGCONT)
            attempt.wait()
    finally:
        attempt.signal(signal.SIGKILL)
    return attempt


def is_traced(pid: int) -> bool:
    return "TracerPid:\t0" not in Path(f"/proc/{pid}/status").read_text()


@dataclass
class Strike:
    """One fault at one call."""

    call: Call
    fault: str

    @property
    def inject(self) -> str:
        how = "signal=KILL" if self.fault == "KILL" else f"error={self.fault}"
        return f"{self.call.name}:{how}:when={self.call.ordinal}"


def places(bench: Bench, server: ForkServer, trace: Path) -> list[Call]:
    """Run task 0 undisturbed and return the calls that change its sweep directory."""
    attempt = traced(bench, server, 0, trace)
    assert attempt.wait() == _DONE, bench.text(0)
    return [call for call in read_trace(trace) if call.changes(bench.store.paths.root)]


def strike(bench: Bench, server: ForkServer, trace: Path, chosen: Strike) -> str:
    """Run task 0 with a fault, then again without. Returns what the fault did: killed, stopped, ignored or missed."""
    code = traced(bench, server, 0, trace, chosen.inject).wait()
    # Before the sweep directory is touched, other files may be read in another number: then the fault fell there.
    injected = [line for line in trace.read_text(errors="replace").splitlines() if "INJECTED" in line]
    struck = code == -signal.SIGKILL or any(str(bench.store.paths.root) in line for line in injected)
    allowed = (-signal.SIGKILL,) if chosen.fault == "KILL" else (_DONE, _STORAGE)
    assert not struck or code in allowed, f"{chosen.inject}: ended with {code}: {bench.text(0)}"
    bench.check_results(bench.tasks[0])
    if code == _STORAGE and struck:
        assert str(bench.store.paths.root) in bench.text(0), (
            f"{chosen.inject}: the message names no path: {bench.text(0)}"
        )
    assert not bench.failures(), f"{chosen.inject}: blamed on a cell: {bench.failures()[0].read_text()}"
    again = bench.start(server, 0).wait()
    assert again == _DONE, f"after {chosen.inject} the task ended with {again}: {bench.text(0)}"
    return "missed" if not struck else {_DONE: "ignored", _STORAGE: "stopped"}.get(code, "killed")


def strikes(calls: Sequence[Call]) -> list[Strike]:
    return [Strike(call, fault) for fault in FAULTS for call in calls]


def small(root: Path) -> Bench:
    """A task of two cells with a few generations each: some 150 calls that change something."""
    return Bench.make(root, factors={"width": [1, 2]}, pack=2, options={"steps": 6, "epoch": 3, "save": 2})


def large(root: Path) -> Bench:
    """The same with states that are written beside training."""
    options = {"steps": 6, "epoch": 3, "save": 2, "ballast": 250_000}
    return Bench.make(root, factors={"width": [1, 2]}, pack=2, options=options)


def campaign(directory: Path, server: ForkServer, every: int = 1) -> Counter[str]:
    """Strike at every ``every``-th place with each fault; each strike has a sweep directory of its own."""
    calm = small(directory / "calm")
    calls = places(calm, server, directory / "trace")
    return _strike_all(directory, server, calm, small, strikes(calls)[::every])


def beside_training(directory: Path, server: ForkServer) -> Counter[str]:
    """Strike at every call of the threads that write beside training.

    strace counts each thread's calls for itself: the training thread's call with that number is struck, too.
    """
    calm = large(directory / "calm")
    calls = places(calm, server, directory / "trace")
    training = calls[0].thread
    chosen = {(call.name, call.ordinal): call for call in calls if call.thread != training}
    assert chosen, "nothing was written beside training"
    return _strike_all(directory, server, calm, large, strikes(list(chosen.values())))


def _strike_all(
    directory: Path, server: ForkServer, calm: Bench, make: Callable[[Path], Bench], chosen: Iterable[Strike]
) -> Counter[str]:
    counts: Counter[str] = Counter()
    for number, one in enumerate(chosen):
        bench = make(directory / f"struck-{number}")
        did = strike(bench, server, directory / "trace", one)
        bench.check_equal(calm)
        counts[f"{one.fault}: {did}"] += 1
        counts["strikes"] += did != "missed"
        shutil.rmtree(bench.store.paths.root)
    return counts
