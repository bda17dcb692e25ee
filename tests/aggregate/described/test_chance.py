"""Runs at chance: what they make of a slope, and which of them training left too early."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.sweeps import ACCURACY, Directory, make_sweep

from aggregate.described.chance import leaves_by_noise
from aggregate.pipeline import aggregate
from hpc.sweep.cell import Cell

# Accuracy goes from 0.125 to 1, so that a run below 0.16875 is at chance.
TESTS = [{"metric": ACCURACY, "slope": "dim"}]


def _slope_report(root: Path, accuracy: Callable[[int, int], float], seeds: int = 5) -> str:
    """accuracy: of a run, by dimension and number of the run; a thousandth of noise is added."""
    sweep = make_sweep({"dim": [4, 8, 16], "scale": [0.5, 1.0]}, seeds, primary=[ACCURACY])
    directory = Directory(root, replace(sweep, analysis=dict(sweep.analysis) | {"tests": TESTS}))

    def metrics(cell: Cell) -> dict[str, float | None]:
        noise = float(np.random.default_rng([cell.seed, int(10 * float(cell.factors["scale"]))]).normal())
        return {ACCURACY: accuracy(int(cell.factors["dim"]), cell.run_id) + 0.001 * noise * int(cell.factors["dim"])}

    directory.fill(metrics)
    return aggregate(root, figures=False).report.read_text()


def test_a_slope_that_counts_runs_that_learnt_is_called_a_step_and_what_the_others_reach_is_said(
    tmp_path: Path,
) -> None:
    report = _slope_report(tmp_path, lambda dim, run: 0.125 if dim == 4 or (dim == 8 and run < 2) else 0.85)
    assert "rises with workspace dimension, within 3 epochs of training, mostly as a step from guessing to" in report
    told = re.search(
        r"Runs above chance at workspace dimension 4, 8 and 16: 0, 6 and 10 of 10, with means of -, 0\.8\d+ and 0\.8\d+"
        r"\. Mostly it is how many runs learnt at all, not how well they did: (\d+) % of the slope is left",
        report,
    )
    assert told is not None
    assert 95 <= int(told[1]) <= 105


def test_a_slope_among_runs_that_learnt_is_not_called_a_step_though_one_run_is_at_chance(tmp_path: Path) -> None:
    learnt = {4: 0.4, 8: 0.6, 16: 0.8}
    report = _slope_report(tmp_path, lambda dim, run: 0.125 if (dim, run) == (4, 0) else learnt[dim])
    assert "Runs above chance at workspace dimension 4, 8 and 16: 8, 10 and 10 of 10" in report
    assert "from guessing to having learnt" not in report


def test_of_a_slope_without_runs_at_chance_nothing_is_said_of_chance(tmp_path: Path) -> None:
    report = _slope_report(tmp_path, lambda dim, _: {4: 0.4, 8: 0.6, 16: 0.8}[dim])
    assert "synergy accuracy rises with workspace dimension" in report
    assert "above chance" not in report


NOISE = [0.12, 0.13, 0.118, 0.131]  # the first two thirds of six epochs, all at chance


@pytest.mark.parametrize(
    ("history", "leaving"),
    [
        ([*NOISE, 0.14, 0.36], "1 run had only just begun"),  # above chance, and only just
        ([*NOISE, 0.135, 0.155], "1 run may have begun"),  # at chance still, but beyond all that noise did before
        ([*NOISE, 0.125, 0.138], ""),  # the best, but by less than noise varies
        ([*NOISE, 0.36, 0.2], ""),  # not improving at its end
        ([0.12, 0.13, 0.3, 0.4, 0.5, 0.6], ""),  # left chance in time
        ([0.12, 0.13, 0.118, 0.131, 0.36], ""),  # too few epochs to tell
    ],
)
def test_a_run_that_only_began_to_leave_chance_at_its_end_is_named(
    tmp_path: Path, history: list[float], leaving: str
) -> None:
    sweep = make_sweep({"dim": [4, 8]}, 3, primary=[ACCURACY])
    directory = Directory(tmp_path, replace(sweep, analysis=dict(sweep.analysis) | {"tests": TESTS}))
    for cell in sweep.grid:
        late = cell.name == "dim_4_run_1"
        values = history if late else [0.12 + 0.01 * (i % 2) for i in range(len(history))]
        values = (
            values if cell.factors["dim"] == 4 else [0.6 + 0.01 * i + 0.001 * cell.run_id for i in range(len(history))]
        )
        directory.finish(cell, {ACCURACY: values[-1]}, epochs=len(history))
        directory.history(cell, {ACCURACY: values})
    problems = aggregate(tmp_path, figures=False).problems
    told = [line for line in problems if "to leave chance when training ended" in line]
    assert len(told) == bool(leaving)
    assert all(leaving in line for line in told)
    # Three runs end at chance, the late one among them: 1 - (1 - 0.0267)^3 is 7.8 %.
    by_noise = "2.7 % look so by noise, and of 3 runs that ended at chance at least one does in 7.8 % of sweeps"
    assert all((by_noise in line) == ("may" in leaving) for line in told)
    assert all(f"workspace dimension 4, seed 43 ({history[-1]:.3g})" in line for line in told)


@pytest.mark.parametrize("epochs", [6, 7, 10])
def test_how_often_noise_looks_like_leaving_chance_is_what_a_simulation_counts(epochs: int) -> None:
    drawn = np.random.default_rng(epochs).normal(size=(200_000, epochs))
    early = drawn[:, : 2 * epochs // 3]
    jumps = drawn[:, -1] - early.max(axis=1) > early.max(axis=1) - early.min(axis=1)
    counted = float((jumps & (drawn[:, -1] == drawn.max(axis=1))).mean())
    assert leaves_by_noise(epochs) == pytest.approx(counted, abs=4 * np.sqrt(counted / 200_000))


def test_an_error_that_falls_leaves_chance_as_a_score_that_rises(tmp_path: Path) -> None:
    error = {"error": {"kind": "positive", "better": "lower", "chance": 2.0, "error": "cross entropy"}}
    sweep = make_sweep({"dim": [4, 8]}, 3, primary=["error"])
    sweep = replace(sweep, trainer=replace(sweep.trainer, metrics=error))
    directory = Directory(
        tmp_path, replace(sweep, analysis=dict(sweep.analysis) | {"tests": [{"metric": "error", "slope": "dim"}]})
    )
    for cell in sweep.grid:
        values = [2.0, 1.99, 2.01, 2.0, 1.99, 1.5 if cell.name == "dim_4_run_1" else 2.0 + 0.001 * cell.run_id]
        directory.finish(cell, {"error": values[-1]}, epochs=6)
        directory.history(cell, {"error": values})
    told = [line for line in aggregate(tmp_path, figures=False).problems if "begun to leave chance" in line]
    assert len(told) == 1
    assert "error: 1 run had only just" in told[0]
    assert "workspace dimension 4, seed 43 (1.5)" in told[0]
