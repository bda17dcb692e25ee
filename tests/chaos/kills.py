"""SIGKILL at random moments, again and again, half of the time with two copies of a task live."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from hpc.node.attempt import PackAttempt

from .attempts import PATIENCE, Attempt, ForkServer, readable
from .bench import Bench, causes

MOST_ATTEMPTS = 400
# Ten generations in some 200 ms: long enough beside a task's start that most kills fall into training.
STEADY = {"steps": 30, "epoch": 6, "save": 3, "seconds": 0.005}
# Twice as large as what is written beside training.
LARGE = STEADY | {"ballast": 250_000}


@dataclass
class Campaign:
    """Kill the tasks of a sweep until `kills` took effect and every cell has its result.

    reach: seconds from its start within which a task is killed. quota: kills it endures before it is left alone.
    """

    bench: Bench
    server: ForkServer
    generator: random.Random
    quota: int
    reach: float
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
        """Start the copies, kill each at a moment of its own, and look at what they leave. Returns the kills."""
        living: list[tuple[float, Attempt]] = []
        for _ in range(copies):
            attempt = self.bench.start(self.server, task, environment={"CHAOS_WITNESS": str(self._witness(task))})
            living.append((time.monotonic() + (generator.uniform(0, self.reach) if kill else PATIENCE), attempt))
            time.sleep(generator.uniform(0, self.reach / 4) if copies > 1 else 0)
        for moment, attempt in sorted(living, key=lambda pair: pair[0]):
            if not attempt.over and not readable([attempt.handle], max(0.0, moment - time.monotonic())):
                attempt.signal(signal.SIGKILL)
        killed = [attempt.wait() for _, attempt in living].count(-signal.SIGKILL)
        with self._lock:
            self._count(task, killed, copies, [attempt.wait() for _, attempt in living])
        if copies == 1:
            self._check_kept(task, living[0][1].pid)
        return killed

    def _check_kept(self, task: int, pid: int) -> None:
        """The next attempt goes on from what the last one was told is saved; of what any one was told, some is left."""
        notes = self._notes(task)
        for cell in self.bench.tasks[task]:
            saved = [(step, who) for what, name, step, who in notes if (what, name) == ("saved", cell.name)]
            if saved and not self.bench.store.has_result(cell.name):
                row = PackAttempt(self.bench.store, self.bench.sweep, 0, {cell: 0}, 0).restore(cell)
                assert row is not None, f"{cell.name}: step {saved[-1][0]} was saved, nothing is left"
                own = max((step for step, who in saved if who == pid), default=0)
                assert row.step >= own, f"{cell.name}: step {own} was saved, step {row.step} is left"

    def _notes(self, task: int) -> list[tuple[str, str, int, int]]:
        """What a task's processes did and were told: what, cell, step, process."""
        witness = self._witness(task)
        lines = witness.read_text().splitlines() if witness.exists() else []
        return [(what, name, int(step), int(who)) for what, name, step, who, *_ in map(str.split, lines)]

    def _witness(self, task: int) -> Path:
        return self.bench.store.root.with_name(f"{self.bench.store.root.name}-witness-{task}")

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
    *,
    quota: int = 40,
    share: float = 0.4,
    abreast: int = 4,
) -> Counter[str]:
    """A sweep under kills, compared with the same sweep undisturbed. Returns what was counted.

    share: of an undisturbed task's time, in which kills fall; the smaller, the more of them until the task is done.
    """
    bench, calm = make(directory / "killed"), make(directory / "calm")
    started = time.monotonic()
    calm.run_all(server)
    reach = share * (time.monotonic() - started) / len(calm.tasks)
    counts = Campaign(bench, server, random.Random(seed), quota, reach, abreast).run()
    bench.check_equal(calm)
    counts["cells"] = len(bench.sweep.grid)
    return counts
