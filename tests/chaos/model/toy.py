"""What the model's tasks train, and what may therefore be believed of a sweep."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep
from hpc.sweep.states import CONFLICT
from training.contract import Checkpoint

STEPS = 3


def value(cell: Cell, step: int) -> float:
    """What training gives: by the cell and the step alone."""
    return 100.0 * int(cell.factors["width"]) + step


@dataclass(frozen=True)
class Way:
    """How a process trains: by which code and numerics, and how far its numbers are from those of others."""

    code: str = "1"
    kernel: str = "A"
    noise: float = 0.0


class Witness:
    """What a process is told, for those who check it; this one lets it pass. submission: which it is a task of."""

    submission = 0

    def begins(self, cell: Cell, since: int) -> None:
        """The cell's newest state is restored, of a training that a task of this submission began from nothing."""

    def trains(self, cell: Cell) -> None:
        """The cell is trained one step further."""

    def saved(self, cell: Cell) -> None:
        """A state of the cell counts as saved."""

    def dropped(self, cell: Cell) -> None:
        """The cell is taken from the process."""

    def finished(self, cell: Cell, outcome: float, by: Sequence[Sequence[str]]) -> None:
        """The cell has ended with this outcome, trained by these codes and numerics one after another."""


PLAIN, UNSEEN = Way(), Witness()


def train_cell(run: Any, cell: Cell, way: Way = PLAIN, witness: Witness = UNSEEN) -> None:
    """A trainer of three steps that saves after each."""
    run.numerics(kernel=way.kernel)
    saved = run.restore(cell)
    step, noise, by, since = 0, way.noise, [], witness.submission
    if saved:
        step, noise, by = saved.step, saved.values["noise"], [list(part) for part in saved.values["by"]]
        since = saved.values["since"]
        assert saved.values["x"] == value(cell, step) + noise, "a state that no attempt saved"
    if by[-1:] != [[way.code, way.kernel]]:
        by.append([way.code, way.kernel])
    witness.begins(cell, since)
    while step < STEPS:
        stopping = run.stop
        if not stopping:
            witness.trains(cell)
            step += 1
            run.epoch(cell, step, STEPS, {"loss": value(cell, step) + noise})
        state = {"x": value(cell, step) + noise, "noise": noise, "by": by, "since": since}
        if cell in run.save({cell: Checkpoint(step, values=state)}):
            witness.dropped(cell)
            return
        witness.saved(cell)
        if stopping:
            return
    final = value(cell, STEPS) + noise
    run.finish(cell, {"loss": final}, weights={"w": np.array([final])})
    witness.finished(cell, final, by)


def check_believed(store: Store, cells: Iterable[Cell], sweep: Sweep, noises: Collection[float] = (0.0,)) -> None:
    """Raise AssertionError unless each result that counts is whole and right, with the files beside it."""
    for status, result in store.outcomes(cells, sweep):
        assert status.state != CONFLICT or status.cause
        if result is None:
            continue
        cell, paths = status.cell, store.paths
        noise = result["metrics"]["loss"] - value(cell, STEPS)
        assert noise in noises, "believed: numbers that no training gave"
        rows = "".join(f"{i},{value(cell, i) + noise!r}\n" for i in range(1, STEPS + 1))
        if paths.history_file(cell).exists():
            believed = paths.history_file(cell).read_text()
            assert believed == f"epoch,loss\n{rows}", "believed: a history of something else"
        if paths.weights_file(cell).exists():
            believed_bytes = paths.weights_file(cell).read_bytes()[-8:]
            assert believed_bytes == np.array([value(cell, STEPS) + noise]).tobytes(), (
                "believed: weights of something else"
            )
