"""What a claim would have been after fewer epochs: from the histories, by the claim's own rule, and only if known."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from helpers.sweeps import BUILT_IN_LIKE, METRICS, Directory, make_sweep

from aggregate.pipeline import aggregate
from hpc.sweep.cell import Cell

R2, LOSS = "predictability/unique_r2", "val_loss"
EPOCHS = 6
Curve = Callable[[Cell], list[float]]


def _wobble(cell: Cell) -> float:
    return 0.01 * float(np.random.default_rng([cell.seed, int(cell.factors["dim"])]).normal())


def _turning(cell: Cell) -> list[float]:
    """R2 rises with dim after 6 epochs, and fell with it after 5 and before."""
    doublings = float(np.log2(float(cell.factors["dim"])))
    return [0.5 + _wobble(cell) + (0.1 if epoch == EPOCHS else -0.1) * doublings for epoch in range(1, EPOCHS + 1)]


def _settled(cell: Cell) -> list[float]:
    doublings = float(np.log2(float(cell.factors["dim"])))
    return [0.3 + _wobble(cell) + (0.1 + 0.01 * epoch) * doublings for epoch in range(1, EPOCHS + 1)]


def _swept(
    root: Path,
    curves: Mapping[str, Curve],
    tests: Sequence[Mapping[str, Any]],
    axes: Mapping[str, Sequence[float]] | None = None,
    **declared: Any,
) -> Directory:
    """A sweep of which each metric's value is that of the last epoch."""
    trainer = replace(BUILT_IN_LIKE, metrics={n: entry | declared.get(n, {}) for n, entry in METRICS.items()})
    sweep = make_sweep({"dim": [4, 8, 16], **(axes or {})}, 5, trainer, primary=[next(iter(curves))])
    directory = Directory(root, replace(sweep, analysis=dict(sweep.analysis) | {"tests": tests}))
    for cell in directory.sweep.grid:
        rows = {name: curve(cell) for name, curve in curves.items()}
        directory.history(cell, rows)
        epochs = len(next(iter(rows.values())))
        directory.finish(cell, {name: row[-1] for name, row in rows.items()}, epochs=epochs, best_epoch=epochs)
    aggregate(root, figures=False)
    return directory


def _epochs(directory: Directory) -> list[dict[str, Any]]:
    found = json.loads(directory.store.paths.statistics_file.read_bytes())["earlier_epochs"]
    assert len(found) == 1
    return list(found[0]["epochs"])


SLOPE = [{"metric": R2, "slope": "dim"}]


def test_half_two_thirds_and_five_sixths_of_the_epochs_give_the_claim_that_their_values_give(tmp_path: Path) -> None:
    directory = _swept(tmp_path, {R2: _settled}, SLOPE)
    found = _epochs(directory)
    assert [one["after"] for one in found] == ["epoch 3", "epoch 4", "epoch 5"]
    for one, epoch in zip(found, (3, 4, 5), strict=True):
        values = {(c.seed, c.factors["dim"]): _settled(c)[epoch - 1] for c in directory.sweep.grid}
        slopes = [
            scipy.stats.linregress([2, 3, 4], [values[seed, dim] for dim in (4, 8, 16)]).slope
            for seed in directory.sweep.grid.seeds
        ]
        interval = scipy.stats.ttest_1samp(slopes, 0).confidence_interval()
        assert [one[key] for key in ("estimate", "low", "high")] == pytest.approx([np.mean(slopes), *interval])


def test_an_answer_that_was_another_before_the_last_epochs_is_said_at_once_and_beside_the_claim(tmp_path: Path) -> None:
    report = _swept(tmp_path, {R2: _turning}, SLOPE).store.paths.report_file.read_text()
    limits = re.search(r'<ul class="limits">(.*?)</ul>', report, re.DOTALL)
    assert limits is not None
    assert (
        "Read after epoch 3, 4 or 5 instead of at the end, the same runs say otherwise: the slope is negative (the "
        "interval leaves out 0); that would be: detected, the other way."
    ) in limits[1]
    said = (
        r"after epoch 3, 4 or 5, the same runs say otherwise \(described, not tested; numbers of epoch 5\): the slope "
        r"is negative \(the interval leaves out 0\): -0\.\d+ per doubling"
    )
    assert re.search(said, report)
    assert "<summary>At earlier epochs</summary>" in report


def test_an_answer_that_had_settled_is_not_doubted(tmp_path: Path) -> None:
    report = _swept(tmp_path, {R2: _settled}, SLOPE).store.paths.report_file.read_text()
    assert "the same runs say otherwise" not in report
    rows = re.findall(r'<tr><td class="word">(epoch \d|the end \(the claim\))</td><td>([^<]*)</td></tr>', report)
    assert [row[0] for row in rows] == ["epoch 3", "epoch 4", "epoch 5", "the end (the claim)"]
    assert all(re.match(r"\+0\.1\d+ \[\+0\.\d+, \+0\.\d+\]", row[1]) for row in rows)


def _flat_before(last: int) -> Curve:
    """R2 rises with dim at the last epoch; at the epochs from ``last`` on to it, it does not depend on dim."""

    def curve(cell: Cell) -> list[float]:
        doublings = float(np.log2(float(cell.factors["dim"])))
        rises = [0.1 if epoch == EPOCHS or epoch < last else 0.0 for epoch in range(1, EPOCHS + 1)]
        return [0.5 + _wobble(cell) + rise * doublings for rise in rises]

    return curve


@pytest.mark.parametrize(("last", "after"), [(5, "epoch 5"), (4, "epoch 4 or 5")])
def test_epochs_that_say_the_same_are_named_together_with_what_the_verdict_would_be(
    tmp_path: Path, last: int, after: str
) -> None:
    report = _swept(tmp_path, {R2: _flat_before(last)}, SLOPE).store.paths.report_file.read_text()
    said = "the same runs say otherwise: the interval includes 0; that would be: not detected."
    assert f"Read after {after} instead of at the end, {said}" in report


def test_runs_of_different_lengths_are_read_at_the_same_part_of_each(tmp_path: Path) -> None:
    directory = _swept(tmp_path, {R2: lambda cell: _settled(cell) * (1 + cell.run_id % 2)}, SLOPE)
    assert [one["after"] for one in _epochs(directory)] == [
        f"{part} of each run's epochs" for part in ("half", "two thirds", "five sixths")
    ]


@pytest.mark.parametrize("case", ["another rule", "no history", "one epoch", "a gap"])
def test_where_the_value_is_not_known_at_an_earlier_epoch_nothing_is_said(tmp_path: Path, case: str) -> None:
    length = 1 if case == "one epoch" else EPOCHS
    directory = _swept(tmp_path, {R2: lambda cell: _turning(cell)[-length:]}, SLOPE)
    for cell in directory.sweep.grid:
        path = directory.store.paths.history_file(cell)
        if case == "another rule":  # the value is of no epoch
            path.write_text("epoch," + R2 + "\n" + "".join(f"{n},0.{n}\n" for n in range(1, EPOCHS + 1)))
        elif case == "no history" and cell.run_id == 1:
            path.unlink()
        elif case == "a gap" and cell.run_id == 1:
            lines = path.read_text().splitlines()
            path.write_text("\n".join([*lines[:3], "3,", "4,", "5,", lines[-1]]) + "\n")
    aggregate(tmp_path, figures=False)
    assert _epochs(directory) == []
    assert "At earlier epochs" not in directory.store.paths.report_file.read_text()


def _retained(final: Mapping[int, float], before: Mapping[int, float]) -> Curve:
    """0.9 of the variance at dimension 16, and shares of that at others: before the last epoch, and then."""

    def curve(cell: Cell) -> list[float]:
        dim, own = int(cell.factors["dim"]), _wobble(cell) / 10
        shares = [before] * (EPOCHS - 1) + [final]
        return [0.9 * share[dim] + own for share in shares]

    return curve


def test_a_retention_is_told_in_both_units_at_earlier_epochs_too(tmp_path: Path) -> None:
    low, high = {4: 0.3, 8: 0.5, 16: 1.0}, {4: 0.8, 8: 0.9, 16: 1.0}
    error = _retained(high, low)
    tests = [
        {"retention": {"kept": LOSS, "other": R2, "factor": "dim", "kept_chance": 2.0, "other_chance": 0.0}},
    ]
    kinds = {LOSS: {"error": "cross entropy"}, R2: {"error": "squared"}}
    curves = {LOSS: lambda cell: [2 * (1 - value) for value in error(cell)], R2: _retained(low, high)}
    directory = _swept(tmp_path, curves, tests, **kinds)
    statistics = json.loads(directory.store.paths.statistics_file.read_bytes())
    (claim,), found = statistics["claims"]["family"], _epochs(directory)
    assert claim["low"] > 0
    assert found[-1]["high"] < 0
    assert found[-1]["in_nats"]["low"] < found[-1]["in_nats"]["estimate"] < found[-1]["in_nats"]["high"]
    assert found[-1]["in_nats"]["estimate"] != pytest.approx(found[-1]["estimate"])
    report = directory.store.paths.report_file.read_text()
    assert "the same runs say otherwise: in shares, the interval is in favour of" in report
    told = (
        r"\(described, not tested[^)]*\): in shares, the interval is in favour of unique features, R2: -\d+.*?; in "
        r"nats, the interval "
    )
    assert re.search(told, report)


@pytest.mark.parametrize("scales", [(2.0,), (0.5, 2.0)])
def test_an_epoch_at_which_a_part_of_the_claim_was_not_learnt_yet_has_no_number(
    tmp_path: Path, scales: tuple[float, ...]
) -> None:
    """At scale 2 it is learnt after 4 epochs, at another from the first: an average over less is another question."""
    low, high = {4: 0.3, 8: 0.5, 16: 1.0}, {4: 0.8, 8: 0.9, 16: 1.0}

    def late(cell: Cell) -> list[float]:
        learnt = [2 * (1 - value) for value in _retained(high, high)(cell)]
        return learnt if cell.factors["scale"] == 0.5 else [2.0 + _wobble(cell)] * 4 + learnt[-2:]

    tests = [
        {"retention": {"kept": LOSS, "other": R2, "factor": "dim", "kept_chance": 2.0, "other_chance": 0.0}},
    ]
    found = _epochs(_swept(tmp_path, {LOSS: late, R2: _retained(low, low)}, tests, {"scale": scales}))
    assert [one["estimate"] is None for one in found] == [True, True, False]
    assert "had not been learnt then" in found[0]["reason"]


def _equal_before(cell: Cell) -> list[float]:
    """Every run had the very same value up to epoch 5, and R2 rises with dim after epoch 6."""
    return [0.5] * (EPOCHS - 1) + [_settled(cell)[-1]]


def _the_same_slope_before(cell: Cell) -> list[float]:
    doublings = float(np.log2(float(cell.factors["dim"])))
    return [0.25 + doublings / 16] * (EPOCHS - 1) + [_settled(cell)[-1]]


@pytest.mark.parametrize("curve", [_equal_before, _the_same_slope_before])
def test_epochs_at_which_seeds_did_not_differ_say_nothing_of_whether_the_answer_has_settled(
    tmp_path: Path, curve: Curve
) -> None:
    directory = _swept(tmp_path, {R2: curve}, SLOPE)
    assert _epochs(directory)[-1]["low"] is None
    assert "the same runs say otherwise" not in directory.store.paths.report_file.read_text()


def test_a_retention_whose_nats_are_not_known_at_an_earlier_epoch_is_not_told_to_be_another_there(
    tmp_path: Path,
) -> None:
    """No error at all up to epoch 5: the same shares as at the end, and infinitely many nats."""
    low, high = {4: 0.3, 8: 0.5, 16: 1.0}, {4: 0.8, 8: 0.9, 16: 1.0}

    def perfect(cell: Cell) -> list[float]:
        *before, final = _retained(low, low)(cell)
        return [1.0 if cell.factors["dim"] == 16 else value for value in before] + [final]

    def loss(cell: Cell) -> list[float]:
        return [2 * (1 - value) for value in _retained(high, high)(cell)]

    tests = [
        {"retention": {"kept": LOSS, "other": R2, "factor": "dim", "kept_chance": 2.0, "other_chance": 0.0}},
    ]
    kinds = {LOSS: {"error": "cross entropy"}, R2: {"error": "squared"}}
    directory = _swept(tmp_path, {LOSS: loss, R2: perfect}, tests, **kinds)
    last = _epochs(directory)[-1]
    assert last["low"] > 0
    assert last["in_nats"] is None or last["in_nats"]["low"] is None
    assert "the same runs say otherwise" not in directory.store.paths.report_file.read_text()


def _with_one_diverged(root: Path, curve: Curve, epochs: int) -> Directory:
    """One of the runs diverged after so many epochs."""
    directory = _swept(root, {R2: curve}, SLOPE)
    cell = next(iter(directory.sweep.grid))
    directory.history(cell, {R2: curve(cell)[:epochs]})
    directory.store.paths.result_file(cell).unlink()
    directory.finish(cell, {R2: None}, status="DIVERGED", epochs=epochs, best_epoch=1)
    aggregate(root, figures=False)
    return directory


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_run_that_diverged_does_not_decide_what_is_read_of_the_others(tmp_path: Path, epochs: int) -> None:
    directory = _with_one_diverged(tmp_path, _turning, epochs)
    assert [one["after"] for one in _epochs(directory)] == ["epoch 3", "epoch 4", "epoch 5"]


def _wider_at_the_end(cell: Cell) -> list[float]:
    """The slope is much the same all along; seeds spread more in the last epoch, so that its interval includes 0."""
    doublings = float(np.log2(float(cell.factors["dim"])))
    own = float(np.random.default_rng([7, cell.seed]).normal())
    return [0.4 + (0.03 + (0.08 if epoch == EPOCHS else 0.01) * own) * doublings for epoch in range(1, EPOCHS + 1)]


def test_an_interval_that_has_come_to_include_0_is_no_other_answer_where_the_estimate_is_the_same(
    tmp_path: Path,
) -> None:
    directory = _swept(tmp_path, {R2: _wider_at_the_end}, SLOPE)
    found = json.loads(directory.store.paths.statistics_file.read_bytes())
    (claim,), last = found["claims"]["family"], _epochs(directory)[-1]
    assert claim["low"] < 0 < last["low"]  # the premise
    values = {(c.seed, c.factors["dim"]): _wider_at_the_end(c) for c in directory.sweep.grid}
    changes = [
        scipy.stats.linregress([2, 3, 4], [values[s, d][-1] - values[s, d][-2] for d in (4, 8, 16)]).slope
        for s in directory.sweep.grid.seeds
    ]
    low, high = scipy.stats.ttest_1samp(changes, 0).confidence_interval()
    assert low < 0 < high
    report = directory.store.paths.report_file.read_text()
    assert "say otherwise" not in report
    said = (
        r"After epoch 3, 4 or 5, the estimate did not differ detectably from that at the end, though the interval left "
        r"out 0: \+0\.\d+, \+0\.\d+, \+0\.\d+, and \+0\.\d+ at the end; that would be: detected\."
    )
    assert re.search(said, report)
    assert "not corrected for looking so often" in report
