"""SIGKILL at events drawn at random, again and again, half of the time with two copies of a task live.

An event is what a process notes in its witness: that it is there, a step, an acknowledged save, a finished cell. How
fast they follow each other is the machine's affair; which of them is a process's last is not.
"""

from __future__ import annotations

import random
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from helpers.waiting import PATIENCE

from hpc.node.attempt import PackAttempt

from .attempts import Attempt, ForkServer
from .bench import Bench, causes

MOST_ATTEMPTS = 400
# A quota is reached by going on, with the same sweep in another directory; on any machine it takes one to three.
MOST_SWEEPS = 12
# Ten generations in some 200 ms.
STEADY = {"steps": 30, "epoch": 6, "save": 3, "seconds": 0.005}
# Twice as large as what is written beside training.
LARGE = STEADY | {"ballast": 250_000}
# A kill falls up to so many seconds after its event: before, into and after the save that a step may be followed by.
_SCATTER = 0.01


class Witness:
    """The events of each process that came since this was made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = path.stat().st_size if path.exists() else 0
        self._counts: Counter[int] = Counter()

    def events(self, pid: int) -> int:
        self._read_on()
        return self._counts[pid]

    def _read_on(self) -> None:
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._read)
                for line in file:
                    if not line.endswith(b"\n"):
                        return  # across two pages of memory: its end is still being written
                    self._counts[int(line.split()[3])] += 1
                    self._read += len(line)


@dataclass
class Victim:
    """A process and the number of events after which it is killed; 0: it is left alone."""

    attempt: Attempt
    last_event: int
    scatter: float
    struck: float | None = None

    def strike(self, witness: Witness) -> None:
        if self.struck is None and self.last_event and witness.events(self.attempt.pid) >= self.last_event:
            self.struck = time.monotonic() + self.scatter
        if self.struck is not None and time.monotonic() >= self.struck:
            self.attempt.signal(signal.SIGKILL)


@dataclass
class Campaign:
    """Kill the tasks of a sweep until every cell has its result.

    reach: events within which a process is killed. quota: kills a task endures before it is left alone.
    """

    bench: Bench
    server: ForkServer
    generator: random.Random
    quota: int
    reach: int
    abreast: int = 4
    counts: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> Counter[str]:
        seeds = [self.generator.random() for _ in self.bench.tasks]
        with ThreadPoolExecutor(self.abreast) as pool:
            for _ in pool.map(self._torment, range(len(seeds)), seeds):
                pass
        return self.counts

    def _torment(self, task: int, seed: float) -> None:
        generator = random.Random(seed)
        endured = 0
        for number in range(MOST_ATTEMPTS):
            if self.bench.done(task):
                break
            copies = 2 if number % 2 else 1
            endured += self._once(task, generator, copies, kill=endured < self.quota)
        assert self.bench.done(task), f"task {task} has no result after {MOST_ATTEMPTS} attempts"
        with self._lock:
            trained = {who for what, _, _, who in self._notes(task) if what == "step"}
            self.counts["attempts that trained"] += len(trained)

    def _once(self, task: int, generator: random.Random, copies: int, kill: bool) -> int:
        """Start the copies, kill each at an event of its own, and look at what they leave. Returns the kills."""
        living = [victim.attempt for victim in self._endanger(task, generator, copies, kill)]
        codes = [attempt.wait() for attempt in living]
        killed = codes.count(-signal.SIGKILL)
        with self._lock:
            self._count(task, killed, copies, codes)
        if copies == 1:
            self._check_kept(task, living[0].pid)
        return killed

    def _endanger(self, task: int, generator: random.Random, copies: int, kill: bool) -> list[Victim]:
        """Start the copies, the second when the first has some events behind it, and strike until all have ended."""
        witness, path = Witness(self._witness(task)), str(self._witness(task))
        head_start = generator.randint(0, self.reach // 4)
        deadline = time.monotonic() + PATIENCE
        victims: list[Victim] = []
        while len(victims) < copies or not all(victim.attempt.over for victim in victims):
            if len(victims) < copies and all(
                victim.attempt.over or witness.events(victim.attempt.pid) >= head_start for victim in victims
            ):
                attempt = self.bench.start(self.server, task, environment={"CHAOS_WITNESS": path})
                last_event = generator.randint(1, self.reach) if kill else 0
                victims.append(Victim(attempt, last_event, generator.uniform(0, _SCATTER)))
            for victim in victims:
                victim.strike(witness)
            time.sleep(0.001)
            assert time.monotonic() < deadline, f"task {task} does not end: {self.bench.text(task)}"
        return victims

    def _check_kept(self, task: int, pid: int) -> None:
        """The next attempt goes on from what the last one was told is saved; of what any one was told, some is left."""
        notes = self._notes(task)
        for cell in self.bench.tasks[task]:
            saved = [(step, who) for what, name, step, who in notes if (what, name) == ("saved", cell.name)]
            if saved and not self.bench.store.has_result(cell.name):
                row = PackAttempt(self.bench.store, self.bench.sweep, 0, {cell: 0}, {"submission": 0}).restore(cell)
                assert row is not None, f"{cell.name}: step {saved[-1][0]} was saved, nothing is left"
                own = max((step for step, who in saved if who == pid), default=0)
                assert row.step >= own, f"{cell.name}: step {own} was saved, step {row.step} is left"

    def _notes(self, task: int) -> list[tuple[str, str, int, int]]:
        """What a task's processes did and were told: what, cell, step, process."""
        witness = self._witness(task)
        lines = witness.read_text().splitlines() if witness.exists() else []
        return [(what, name, int(step), int(who)) for what, name, step, who, *_ in map(str.split, lines)]

    def _witness(self, task: int) -> Path:
        return self.bench.store.paths.root.with_name(f"{self.bench.store.paths.root.name}-witness-{task}")

    def _count(self, task: int, killed: int, copies: int, codes: list[int]) -> None:
        self.counts["kills"] += killed
        self.counts["kills with two copies live"] += killed if copies == 2 else 0
        self.counts["attempts"] += copies
        odd = [code for code in codes if code not in (0, 1, -signal.SIGKILL)]
        assert not odd, f"a task ended with {odd}: {self.bench.text(task)}"
        self.bench.check_results(self.bench.tasks[task])
        given_up = [cell for cell in self.bench.tasks[task] if self.bench.failed_here(cell)]
        if given_up:
            other = [cause for cause in causes(self.bench) if "without progress" not in cause]
            assert not other, f"a task failed by itself: {other[0]}"
            self.counts["cells given up after three kills without progress"] += len(given_up)
            self.bench.submit()  # as --include-failed does


def campaign(
    directory: Path,
    server: ForkServer,
    seed: int,
    make: Callable[[Path], Bench],
    wanted: Mapping[str, int] | None = None,
    *,
    quota: int = 40,
    share: float = 0.3,
    abreast: int = 4,
) -> Counter[str]:
    """Sweeps under kills, compared with the same sweep undisturbed, one after another until the counts are as wanted.

    share: of an undisturbed task's events, within which kills fall; the smaller, the more of them until the task is
    done. Returns what was counted.
    """
    generator, counts = random.Random(seed), Counter[str]()
    calm = make(directory / "calm")
    calm.run_all(server, environment={"CHAOS_WITNESS": str(directory / "calm-witness")})
    events = len((directory / "calm-witness").read_text().splitlines()) / len(calm.tasks)
    for number in range(MOST_SWEEPS):
        bench = make(directory / f"killed-{number}")
        counts += Campaign(bench, server, generator, quota, round(share * events), abreast).run()
        bench.check_equal(calm)
        counts["cells"] += len(bench.sweep.grid)
        shutil.rmtree(bench.store.paths.root)
        if all(counts[what] >= least for what, least in (wanted or {}).items()):
            return counts
    raise AssertionError(f"{MOST_SWEEPS} sweeps were not enough for {dict(wanted or {})}: {dict(counts)}")
