"""What the model's tasks train, and what may therefore be believed of a sweep."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from hpc.sweep.states import CONFLICT
from training.contract import Checkpoint

STEPS = 3


def value(cell: Cell, step: int) -> float:
    """What training gives: by the cell and the step alone."""
    return 100.0 * int(cell.factors["width"]) + step


def train_cell(run: Any, cell: Cell, acknowledged: Callable[[Cell], object] = lambda cell: None) -> None:
    """A trainer of three steps that saves after each. acknowledged: called with a cell whose state counts as saved."""
    saved = run.restore(cell)
    step = saved.step if saved else 0
    if saved is not None:
        assert saved.values == {"x": value(cell, step)}, "a state that no attempt saved"
    while step < STEPS:
        stopping = run.stop
        if not stopping:
            step += 1
            run.epoch(cell, step, STEPS, {"loss": value(cell, step)})
        if cell in run.save({cell: Checkpoint(step, values={"x": value(cell, step)})}):
            return
        acknowledged(cell)
        if stopping:
            return
    final = value(cell, STEPS)
    run.finish(cell, {"loss": final}, weights={"w": np.array([final])})


def check_believed(store: Store, cells: Iterable[Cell], config_digest: str) -> None:
    """Raise AssertionError unless each result that counts is whole and right, with the files beside it."""
    for status, result in store.outcomes(cells, config_digest):
        assert status.state != CONFLICT or status.cause
        if result is None:
            continue
        cell, paths = status.cell, store.paths
        final = value(cell, STEPS)
        assert result["metrics"] == {"loss": final}, "believed: numbers that no training gave"
        rows = "".join(f"{i},{value(cell, i)!r}\n" for i in range(1, STEPS + 1))
        if paths.history_file(cell).exists():
            believed = paths.history_file(cell).read_text()
            assert believed == f"epoch,loss\n{rows}", "believed: a history of something else"
        if paths.weights_file(cell).exists():
            believed_bytes = paths.weights_file(cell).read_bytes()[-8:]
            assert believed_bytes == np.array([final]).tobytes(), "believed: weights of something else"
