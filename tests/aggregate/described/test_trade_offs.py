"""Metrics that trade off within a condition are described, and noise is not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from helpers.sweeps import ACCURACY, LOSS, Directory, make_sweep

from aggregate.analysis.study import study
from aggregate.described.trade_offs import trade_off_lines, trade_offs
from aggregate.pipeline import aggregate
from aggregate.reading.sweep import read
from hpc.sweep.cell import Cell

RETENTION = {"kept": LOSS, "other": ACCURACY, "factor": "dim", "kept_chance": 2.0, "other_chance": 0.2}
KEPT = [0.1, 0.5, 0.12, 0.52, 0.3]


def _filled(root: Path, sign: float, tests: Sequence[dict[str, Any]]) -> Directory:
    """At dimension 4, the accuracy follows the loss of the same run; elsewhere both vary by themselves."""
    sweep = make_sweep({"dim": [4, 8, 16]}, 5, primary=[LOSS, ACCURACY])
    directory = Directory(root, replace(sweep, analysis=dict(sweep.analysis) | {"tests": list(tests)}))

    def metrics(cell: Cell) -> dict[str, float | None]:
        a, b = np.random.default_rng([cell.seed, int(cell.factors["dim"])]).normal(0, 0.01, 2)
        if cell.factors["dim"] == 4:
            return {LOSS: KEPT[cell.run_id], ACCURACY: 0.5 + sign * 0.5 * (KEPT[cell.run_id] - 0.3) + 0.1 * a}
        return {LOSS: 0.3 + a, ACCURACY: 0.7 + b}

    directory.fill(metrics)
    return directory


@pytest.mark.parametrize("tests", [[{"retention": RETENTION}], []], ids=["sides of a retention", "primary metrics"])
def test_two_metrics_of_which_one_is_paid_for_with_the_other_are_named_with_their_condition(
    tmp_path: Path, tests: list[dict[str, Any]]
) -> None:
    """A higher loss is worse and a higher accuracy better: a positive correlation is a trade-off."""
    directory = _filled(tmp_path, 1.0, tests)
    report = aggregate(tmp_path, figures=False).report.read_text()
    statistics = json.loads(directory.store.paths.statistics_file.read_bytes())
    (found,) = statistics["trade_offs"]
    assert (found["condition"], found["seeds"], found["tried"]) == ("dim_4", 5, 3)
    cells = {cell.seed: cell for cell in directory.sweep.grid if cell.factors["dim"] == 4}
    results = [json.loads(directory.store.paths.result_file(cell).read_bytes())["metrics"] for cell in cells.values()]
    expected = scipy.stats.pearsonr([r[LOSS] for r in results], [r[ACCURACY] for r in results])
    assert found["correlation"] == pytest.approx(expected.statistic)
    assert found["adjusted"] == pytest.approx(3 * expected.pvalue)
    told = (
        "trade off between runs of one condition, the better in the one the worse in the other: at workspace dimension "
        f"4 (r = {expected.statistic:.2f} over 5 seeds"
    )
    assert told in report
    assert "looked for after the fact, corrected by Holm&#39;s method over 3 correlations" in report
    assert "0.52 and" in report[report.index(told) :][:400]  # the ends, by seed


def test_metrics_that_are_good_together_are_no_trade_off(tmp_path: Path) -> None:
    directory = _filled(tmp_path, -1.0, [{"retention": RETENTION}])
    assert not trade_offs(study(read(directory.store)))


def test_one_seed_far_from_the_others_makes_no_trade_off(tmp_path: Path) -> None:
    """Pearson's p takes two groups of unrelated seeds for a line. By permutation, every fifth order has the far one of
    both metrics in one seed."""
    sweep = make_sweep({"dim": [4, 8, 16]}, 5, primary=[LOSS, ACCURACY])
    directory = Directory(tmp_path, sweep)

    def metrics(cell: Cell) -> dict[str, float | None]:
        a, b = np.random.default_rng([cell.seed, int(cell.factors["dim"])]).normal(0, 0.01, 2)
        if cell.factors["dim"] == 4:
            one, other = [0, 1, 2, 3, 5000][cell.run_id], [2, 0, 3, 1, 5000][cell.run_id]
            return {LOSS: 0.3 + 0.001 * one, ACCURACY: 0.4 + 0.0001 * other}
        return {LOSS: 0.3 + a, ACCURACY: 0.7 + b}

    directory.fill(metrics)
    made = study(read(directory.store))
    assert any(flag.reason == "seeds in two groups" and 0 in flag.conditions for flag in made.flags)
    assert 3 * scipy.stats.pearsonr(*[entry.values[0] for entry in made.summary.primary_metrics()]).pvalue < 0.001
    assert not trade_offs(made)


def test_a_trade_off_that_so_few_seeds_cannot_show_is_said_to_be_unjudged(tmp_path: Path) -> None:
    """Two of five seeds at chance: p is that of a permutation, of which 5 seeds have 120, for 12 conditions."""
    sweep = make_sweep({"dim": list(range(1, 13))}, 5, primary=[LOSS, ACCURACY])
    directory = Directory(tmp_path, sweep)

    def metrics(cell: Cell) -> dict[str, float | None]:
        a, b = np.random.default_rng([cell.seed, int(cell.factors["dim"])]).normal(0, 0.01, 2)
        if cell.factors["dim"] == 1:
            learnt = [0.0, 0.001, 0.4, 0.45, 0.5][cell.run_id]
            return {LOSS: 0.3 + learnt + 0.1 * a, ACCURACY: 0.125 + learnt}
        return {LOSS: 0.3 + a, ACCURACY: 0.7 + b}

    directory.fill(metrics)
    made = study(read(directory.store))
    x, y = (entry.values[0] for entry in made.summary.primary_metrics())
    expected = scipy.stats.pearsonr(x, y)
    assert 12 * expected.pvalue < 0.05
    assert not trade_offs(made)
    report = aggregate(tmp_path, figures=False).report.read_text()
    assert f"at workspace dimension 1 (r = {expected.statistic:.2f} over 5 seeds) cannot be judged" in report
    assert "gives no p below 0.1 after correction for 12 correlations" in report


def test_a_condition_that_the_claim_leaves_out_is_called_so(tmp_path: Path) -> None:
    directory = _filled(tmp_path, 1.0, [{"retention": RETENTION}])
    made = study(read(directory.store))
    (one,) = trade_offs(made)
    (line,) = trade_off_lines(made.summary, (one,), {1, 2})
    assert "workspace dimension 4" in line
    assert ", which the claim leaves out; looked for after the fact" in line
    assert "leaves out" not in trade_off_lines(made.summary, (one,), {0})[0]


def test_unrelated_metrics_are_rarely_called_a_trade_off(tmp_path: Path) -> None:
    """At most one sweep in twenty, over all its conditions; half of the correlations have the other sign."""
    sweep = make_sweep({"dim": list(range(1, 13))}, 5, primary=[LOSS, ACCURACY])
    directory = Directory(tmp_path, sweep)
    directory.fill(lambda cell: {LOSS: 0.5 + 0.01 * cell.run_id, ACCURACY: 0.5 - 0.02 * (cell.run_id % 3)})
    found, random = study(read(directory.store)), np.random.default_rng(0)
    entries = found.summary.primary_metrics()
    wrong = 0
    for _ in range(400):
        drawn = [replace(entry, values=random.normal(size=entry.values.shape)) for entry in entries]
        wrong += bool(trade_offs(replace(found, summary=replace(found.summary, metrics=tuple(drawn)))))
    assert wrong / 400 < 0.025 + 3.5 * 0.008
