"""How much training is thrown away: a cell under stops and kills, with every step noted outside the sweep directory."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from .attempts import ForkServer, readable, wait_for
from .bench import Bench


@dataclass(frozen=True)
class Note:
    """One line of a witness. size: steps that were done since the one before."""

    what: str
    step: int
    pid: int
    at: float
    size: int


def read_notes(witness: Path) -> list[Note]:
    lines = witness.read_text().splitlines() if witness.exists() else []
    return [
        Note(what, int(step), int(pid), float(at), int(size)) for what, _, step, pid, at, size in map(str.split, lines)
    ]


@dataclass
class Ended:
    """One attempt and what of it was lost.

    how: KILL, TERM or done. steps: done in it. lost: steps after the last that was saved. trained, wasted: seconds.
    stopped_after: seconds from the signal to the end of the process.
    """

    how: str
    steps: int
    lost: int
    trained: float
    wasted: float
    stopped_after: float = 0.0


@dataclass
class Waste:
    """All attempts at a cell. needed: steps of the whole training."""

    attempts: list[Ended]
    needed: int

    @property
    def done(self) -> int:
        return sum(attempt.steps for attempt in self.attempts)

    @property
    def effective(self) -> float:
        """Share of the time from each attempt's first step to its end that went into steps which counted."""
        trained = sum(attempt.trained for attempt in self.attempts)
        return 1 - sum(attempt.wasted for attempt in self.attempts) / trained

    def lost(self, how: str) -> list[int]:
        return [attempt.lost for attempt in self.attempts if attempt.how == how]

    def wasted(self, how: str) -> list[float]:
        return [attempt.wasted for attempt in self.attempts if attempt.how == how]

    def __str__(self) -> str:
        return (
            f"{len(self.attempts) - 1} faults, {self.done} steps done for {self.needed} needed, "
            f"lost at stops {self.lost('TERM')}, at kills {self.lost('KILL')} steps "
            f"({', '.join(f'{seconds:.2f}' for seconds in self.wasted('KILL'))} s); "
            f"{100 * self.effective:.1f} % of training time effective"
        )


def measure(
    bench: Bench, server: ForkServer, witness: Path, moments: Sequence[float], ways: Sequence[str], needed: int
) -> Waste:
    """Train task 0, of one cell, with a fault at each moment (seconds after an attempt's first step)."""
    ended = []
    for moment, way in [*zip(moments, ways, strict=True), (0.0, "")]:
        seen = len(read_notes(witness))
        attempt = bench.start(server, 0, environment={"CHAOS_WITNESS": str(witness)})
        if way:
            wait_for(lambda seen=seen: len(read_notes(witness)) > seen, "the first step", pause=0.01)
            assert not readable([attempt.handle], moment), f"over before the fault: {bench.text(0)}"
            attempt.signal(signal.SIGKILL if way == "KILL" else signal.SIGTERM)
        struck = time.monotonic()
        code = attempt.wait(300)
        assert code == {"KILL": -signal.SIGKILL, "TERM": 85, "": 0}[way], f"{code}: {bench.text(0)}"
        notes = [note for note in read_notes(witness) if note.pid == attempt.pid]
        ended.append(_account(notes, way, struck if way == "KILL" else notes[-1].at, time.monotonic() - struck))
    return Waste(ended, needed)


def _account(notes: Sequence[Note], way: str, end: float, took: float) -> Ended:
    steps = [note for note in notes if note.what == "step"]
    kept = [note for note in notes if note.what in ("saved", "finished")]
    first = steps[0].step - steps[0].size
    last_kept = steps[-1].step if not way else kept[-1].step if kept else first
    began = steps[0].at
    # What was not saved is lost, and so is the time that saving took.
    lost_seconds = end - (kept[-1].at if kept else began) if way == "KILL" else 0.0
    saving = sum(
        max(0.0, note.at - before.at)
        for before, note in pairwise(notes)
        if note.what == "saved" and before.what == "step"
    )
    lost = steps[-1].step - last_kept
    return Ended(way or "done", steps[-1].step - first, lost, end - began, lost_seconds + saving, took if way else 0.0)


def four_faults(generator: random.Random, seconds: float) -> tuple[list[float], list[str]]:
    """Moments within the first `seconds` of four attempts, two of which are stopped and two killed, in random order."""
    ways = ["KILL", "TERM", "KILL", "TERM"]
    generator.shuffle(ways)
    return [generator.uniform(0.1, 0.2) * seconds for _ in ways], ways


def tiny(directory: Path, server: ForkServer, seed: int) -> Waste:
    """The small form: a training of five seconds, checkpointed every tenth of one."""
    options = {"steps": 500, "epoch": 100, "seconds": 0.01}
    bench = Bench.make(directory / "wasted", options=options, checkpoint_seconds=0.1)
    moments, ways = four_faults(random.Random(seed), 5.0)
    return measure(bench, server, directory / "witness", moments, ways, needed=500)


def builtin(directory: Path, seed: int, seconds: float, interval: float) -> Waste:
    """One cell of the built-in trainer that trains for that long, checkpointed every `interval` seconds."""
    from .builtin import PRELOAD, make_data, workspace

    data, steps_an_epoch, trial = make_data(directory), 100, 20
    with ForkServer(preload=PRELOAD) as server:
        bench = workspace(directory / "trial", data, epochs=trial, interval=interval, hidden=256)
        measured = measure(bench, server, directory / "trial-witness", [], [], needed=trial * steps_an_epoch)
        epochs = max(4, round(seconds * trial / measured.attempts[0].trained))
        bench = workspace(directory / "wasted", data, epochs=epochs, interval=interval, hidden=256)
        moments, ways = four_faults(random.Random(seed), seconds)
        return measure(bench, server, directory / "witness", moments, ways, needed=epochs * steps_an_epoch)
