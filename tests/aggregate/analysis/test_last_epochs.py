from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.sweeps import Directory, make_sweep

from aggregate.pipeline import aggregate

CAPPED = " (at most a third of a run, not 5)</th>"
History = Callable[[int], list[float | None]]


def _last(root: Path, history: History, last_epochs: int) -> dict[str, dict[str, float | None]]:
    sweep = make_sweep({"dim": [8]}, 3)
    directory = Directory(root, sweep)
    directory.sweep = sweep
    directory.fill(lambda _: {"best_val_loss": 0.1})
    for cell in sweep.grid:
        directory.history(cell, {"val_loss": history(cell.run_id)})
    data = json.loads(directory.store.paths.sweep_file.read_text())
    data["revisions"][0]["analysis"]["last_epochs"] = last_epochs
    directory.store.paths.sweep_file.write_text(json.dumps(data))
    aggregate(root, figures=False)
    found = json.loads(directory.store.paths.statistics_file.read_bytes())
    return dict(found["conditions"]["dim_8"]["last_epochs"])


def test_the_last_epochs_are_averaged_in_each_run_and_then_over_seeds(tmp_path: Path) -> None:
    found = _last(tmp_path, lambda run: [9.0, 9.0, 9.0, 9.0, 1.0 + run, 2.0 + run], 2)["val_loss"]
    assert (found["mean"], found["n"]) == (2.5, 3)
    assert found["ci_lower"] is not None


def test_the_end_of_a_run_is_at_most_a_third_of_it_and_one_with_a_gap_there_gives_nothing(tmp_path: Path) -> None:
    histories: list[list[float | None]] = [[9.0, 9.0, 9.0, 9.0, 1.0, 3.0], [5.0, 4.0], [9.0, 9.0, 9.0, 9.0, 1.0, None]]
    found = _last(tmp_path, lambda run: histories[run], 5)["val_loss"]
    assert (found["mean"], found["n"]) == (3.0, 2)
    page = aggregate(tmp_path, figures=False).report.read_text()
    assert '<th scope="col">validation loss, mean of the last 1 to 2 epochs' + CAPPED in page


def test_the_epochs_of_a_run_that_diverged_are_not_among_those_that_were_averaged(tmp_path: Path) -> None:
    directory = Directory(tmp_path, make_sweep({"dim": [8]}, 4))
    for cell in directory.sweep.grid:
        epochs = 2 if cell.run_id == 3 else 6
        directory.history(cell, {"val_loss": [float(cell.run_id + epoch) for epoch in range(epochs)]})
        directory.finish(cell, {"best_val_loss": 0.1}, status="DIVERGED" if epochs == 2 else "COMPLETED", epochs=epochs)
    page = aggregate(tmp_path, figures=False).report.read_text()
    assert '<th scope="col">validation loss, mean of the last 2 epochs' + CAPPED in page


@pytest.mark.parametrize(
    ("epochs", "said"),
    [
        (2, "of the last epoch"),
        (6, "mean of the last 2 epochs (at most a third of a run, not 5)"),
        (40, "mean of the last 5 epochs"),
    ],
)
def test_what_is_averaged_beside_a_best_epoch_is_named_as_what_it_is(tmp_path: Path, epochs: int, said: str) -> None:
    found = _last(tmp_path, lambda run: [float(run + epoch) for epoch in range(epochs)], 5)["val_loss"]
    averaged = {2: 1, 6: 2, 40: 5}[epochs]
    assert found["mean"] == pytest.approx(1 + np.mean(range(epochs - averaged, epochs)))
    assert f"validation loss, {said}" in aggregate(tmp_path, figures=False).report.read_text()
