"""How much training is thrown away: a cell under stops and kills, with every step noted outside the sweep directory."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from .attempts import ForkServer, Hold
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

    how: KILL, TERM or done. steps: done in it. lost: those that the next attempt had to do again. unsaved: those after
    the last acknowledged save. overdue: those after which a save was due and did not come. trained, wasted: seconds.
    longest_gap: seconds from one save, or the first step, to the next.
    """

    how: str
    steps: int
    lost: int
    unsaved: int
    overdue: list[int]
    trained: float
    wasted: float
    longest_gap: float


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

    def unsaved(self, how: str) -> list[int]:
        return [attempt.unsaved for attempt in self.attempts if attempt.how == how]

    def wasted(self, how: str) -> list[float]:
        return [attempt.wasted for attempt in self.attempts if attempt.how == how]

    @property
    def longest_gap(self) -> float:
        """The longest time from one save to the next of an attempt that was not killed."""
        return max(attempt.longest_gap for attempt in self.attempts if attempt.how != "KILL")

    @property
    def overdue(self) -> list[int]:
        return [step for attempt in self.attempts for step in attempt.overdue]

    def __str__(self) -> str:
        return (
            f"{len(self.attempts) - 1} faults, {self.done} steps done for {self.needed} needed, "
            f"lost at stops {self.lost('TERM')}, at kills {self.lost('KILL')} steps "
            f"({', '.join(f'{seconds:.2f}' for seconds in self.wasted('KILL'))} s); "
            f"{100 * self.effective:.1f} % of training time effective"
        )


def measure(bench: Bench, server: ForkServer, witness: Path, faults: Sequence[tuple[str, int]], needed: int) -> Waste:
    """Train task 0, of one cell, under faults, each with the step at which it strikes."""
    lives = []
    for way, step in [*faults, ("", 0)]:
        hold = Hold.at(witness.with_name(f"{witness.name}-hold-{step}"), step)
        attempt = bench.start(server, 0, environment={"CHAOS_WITNESS": str(witness)} | hold.environment)
        if way:
            hold.reached(attempt)
            attempt.signal(signal.SIGKILL if way == "KILL" else signal.SIGTERM)
            hold.release()
        struck = time.monotonic()
        code = attempt.wait()
        assert code == {"KILL": -signal.SIGKILL, "TERM": 85, "": 0}[way], f"{way}: {code}: {bench.text(0)}"
        notes = [note for note in read_notes(witness) if note.pid == attempt.pid and note.what != "begun"]
        lives.append(Life(way or "done", notes, struck if way == "KILL" else notes[-1].at))
    every, begins = bench.sweep.checkpoint_seconds, [life.first for life in lives[1:]] + [needed]
    return Waste([_account(life, resumed, every) for life, resumed in zip(lives, begins, strict=True)], needed)


@dataclass
class Life:
    """One attempt as its witness tells it. how: KILL, TERM or done. end: when it ended, or was struck dead."""

    how: str
    notes: list[Note]
    end: float

    @property
    def steps(self) -> list[Note]:
        return [note for note in self.notes if note.what == "step"]

    @property
    def kept(self) -> list[Note]:
        return [note for note in self.notes if note.what in ("saved", "finished")]

    @property
    def first(self) -> int:
        """The step it went on from."""
        return self.steps[0].step - self.steps[0].size


def _account(life: Life, resumed: int, every: float) -> Ended:
    """resumed: the step that the next attempt went on from, which alone says what this one has lost."""
    last, began = life.steps[-1].step, life.steps[0].at
    kept = life.kept[-1].step if life.kept else life.first
    assert resumed >= kept, (
        f"step {kept} was acknowledged as saved before a {life.how}, step {resumed} is what was left"
    )
    # What was not saved is lost, and so is the time that saving took.
    lost_seconds = life.end - (life.kept[-1].at if life.kept else began) if life.how == "KILL" else 0.0
    saving = sum(
        max(0.0, note.at - before.at)
        for before, note in pairwise(life.notes)
        if note.what == "saved" and before.what == "step"
    )
    steps = sum(note.size for note in life.steps)
    overdue = _overdue(life.notes, every)
    saves = [began, *(note.at for note in life.kept)]
    longest_gap = max((then - save for save, then in pairwise(saves)), default=0.0)
    wasted = lost_seconds + saving
    return Ended(life.how, steps, last - resumed, last - kept, overdue, life.end - began, wasted, longest_gap)


def _overdue(notes: Sequence[Note], every: float) -> list[int]:
    """Steps after which a save was due and did not come, of a trainer that is held up by its saves.

    It looks once a step whether one is due: as configured, and on storage so slow that saves would take more than two
    hundredths of the time, when fifty times the last one's time has passed.
    """
    found, since, interval = [], notes[0].at, every
    for note, then in pairwise(notes):
        if note.what == "saved":
            since = note.at
        elif then.what == "saved":
            interval = max(every, 50 * (then.at - note.at))
        elif then.what == "step" and note.at - since >= interval:
            found.append(note.step)
    return found


def four_faults(generator: random.Random, steps: int) -> list[tuple[str, int]]:
    """Two stops and two kills in random order, one somewhere in each of the first four fifths of a training."""
    ways = ["KILL", "TERM", "KILL", "TERM"]
    generator.shuffle(ways)
    return [
        (way, generator.randint(1 + fifth * steps // 5, (fifth + 1) * steps // 5)) for fifth, way in enumerate(ways)
    ]


def tiny(directory: Path, server: ForkServer, seed: int, save: int = 10**9, interval: float = 1e9) -> Waste:
    """The small form: five hundred steps, saved every `save` of them or every `interval` seconds."""
    options = {"steps": 500, "epoch": 100, "seconds": 0.002, "save": save}
    bench = Bench.make(directory / "wasted", options=options, checkpoint_seconds=interval)
    return measure(bench, server, directory / "witness", four_faults(random.Random(seed), 500), needed=500)


def builtin(directory: Path, seed: int, interval: float, epochs: int, seconds: float = 0.0) -> Waste:
    """One cell of the built-in trainer, checkpointed every `interval` seconds.

    epochs: at least so many, and as many as take `seconds` undisturbed.
    """
    from .builtin import PRELOAD, make_data, workspace

    data, steps_an_epoch = make_data(directory), 100
    with ForkServer(preload=PRELOAD) as server:
        if seconds:
            bench = workspace(directory / "trial", data, epochs=epochs, interval=interval, hidden=256)
            measured = measure(bench, server, directory / "trial-witness", [], needed=epochs * steps_an_epoch)
            epochs = max(epochs, round(seconds * epochs / measured.attempts[0].trained))
        bench = workspace(directory / "wasted", data, epochs=epochs, interval=interval, hidden=256)
        steps = epochs * steps_an_epoch
        return measure(bench, server, directory / "witness", four_faults(random.Random(seed), steps), needed=steps)
