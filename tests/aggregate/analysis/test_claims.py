"""From a sweep directory to claims: what is tested, what is withheld, and what is only exploratory."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from helpers.sweeps import ACCURACY, LOSS, Directory, make_sweep

from aggregate.pipeline import aggregate
from hpc.storage.revisions import write_sweep
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep, Trainer
from hpc.sweep.grid import Axis, Grid

R2 = "predictability/unique_r2"
Metrics = Callable[[Cell], dict[str, float | None]]


def _statistics(directory: Directory) -> dict[str, Any]:
    aggregate(directory.store.paths.root, figures=False)
    document: dict[str, Any] = json.loads(directory.store.paths.statistics_file.read_bytes())
    return document


def _filled(root: Path, sweep: Sweep, metrics: Metrics, **analysis: Any) -> Directory:
    directory = Directory(root, replace(sweep, analysis=dict(sweep.analysis) | analysis))
    directory.fill(metrics)
    return directory


def _claim(statistics: dict[str, Any], metric: str, *factors: str, family: str = "family") -> dict[str, Any]:
    found = [c for c in statistics["claims"][family] if (c["metric"], tuple(c["factors"])) == (metric, factors)]
    assert len(found) == 1
    return dict(found[0])


def _linear(cell: Cell) -> dict[str, float | None]:
    """Loss falls by 0.1 a doubling of dim and rises by 0.02 a doubling of scale, with an interaction of 0.01."""
    d, s = np.log2(float(cell.factors["dim"])), np.log2(float(cell.factors["scale"]))
    wobble = 0.001 * (cell.run_id - 1)
    return {LOSS: float(2 - (0.1 + wobble) * d + (0.02 + wobble) * s + (0.01 + wobble) * d * s), ACCURACY: None, R2: d}


GRID: dict[str, Sequence[int | float | str]] = {"dim": [4, 8, 16], "scale": [0.5, 1.0, 2.0]}


def test_slopes_are_per_doubling_and_the_interaction_is_the_product(tmp_path: Path) -> None:
    statistics = _statistics(_filled(tmp_path, make_sweep(GRID, 3), _linear))
    # At the mean of log2 scale (0) the slope on dim is its own; at the mean of log2 dim (3) that on scale gains .03.
    for factors, slope in ((("dim",), -0.1), (("scale",), 0.05), (("dim", "scale"), 0.01)):
        assert _claim(statistics, LOSS, *factors)["estimate"] == pytest.approx(slope)
    assert _claim(statistics, LOSS, "dim")["per"] == "doubling of workspace dimension"


def test_a_slope_is_scipys_regression_per_seed_and_its_test_scipys_t(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    values = {cell.name: float(random.random()) for cell in make_sweep({"dim": [4, 8, 32]}, 5).grid}
    sweep = make_sweep({"dim": [4, 8, 32]}, 5, primary=[LOSS])
    directory = _filled(tmp_path, sweep, lambda cell: {LOSS: values[cell.name]})
    slopes = [
        scipy.stats.linregress([2, 3, 5], [values[f"dim_{dim}_run_{run}"] for dim in (4, 8, 32)]).slope
        for run in range(5)
    ]
    found = _claim(_statistics(directory), LOSS, "dim")
    expected = scipy.stats.ttest_1samp(slopes, 0)
    assert found["per_seed"] == pytest.approx(slopes)
    assert found["p"] == found["adjusted"] == pytest.approx(expected.pvalue)
    assert (found["low"], found["high"]) == pytest.approx(tuple(expected.confidence_interval()))
    table = [[values[f"dim_{dim}_run_{run}"] for dim in (4, 8, 32)] for run in range(5)]
    one_sided = [scipy.stats.page_trend_test(t).pvalue for t in (table, [row[::-1] for row in table])]
    assert found["page_p"] == pytest.approx(min(1.0, 2 * min(one_sided)))


def test_the_family_is_all_primary_metrics_together_even_if_one_cannot_be_tested(tmp_path: Path) -> None:
    statistics = _statistics(_filled(tmp_path, make_sweep(GRID, 3), _linear))
    family = statistics["claims"]["family"]
    assert [(c["metric"], c["kind"]) for c in family] == [
        (metric, kind) for metric in (ACCURACY, LOSS) for kind in ("slope", "slope", "interaction")
    ]
    smallest = min((c for c in family if c["p"] is not None), key=lambda c: c["p"])
    assert smallest["adjusted"] == pytest.approx(6 * smallest["p"])
    assert {c["status"] for c in family if c["metric"] == ACCURACY} == {"untestable"}
    assert all(c["confirmatory"] for c in family)


def test_bonferroni_is_there_for_who_asks(tmp_path: Path) -> None:
    statistics = _statistics(_filled(tmp_path, make_sweep(GRID, 3), _linear, correction="bonferroni"))
    for claim in (c for c in statistics["claims"]["family"] if c["p"] is not None):
        assert claim["adjusted"] == pytest.approx(min(1.0, 6 * claim["p"]))


def test_other_metrics_are_exploratory(tmp_path: Path) -> None:
    statistics = _statistics(_filled(tmp_path, make_sweep(GRID, 3), _linear))
    found = _claim(statistics, R2, "dim", family="exploratory")
    assert not found["confirmatory"]
    assert found["status"] == "untestable"
    assert "every seed gave the same number" in found["reason"]


def test_a_failed_cell_costs_its_seed_and_is_counted_as_worst_beside(tmp_path: Path) -> None:
    directory = Directory(tmp_path, make_sweep({"dim": [4, 8]}, 4, primary=[LOSS]))
    for cell in directory.sweep.grid:
        if cell.name == "dim_8_run_3":
            directory.fail(cell, "killed")
        else:
            directory.finish(cell, {LOSS: (1.0 if cell.factors["dim"] == 4 else 0.5) + 0.01 * cell.run_id**2})
    found = _claim(_statistics(directory), LOSS, "dim")
    assert (found["seeds"], found["planned_seeds"]) == (3, 4)
    assert found["estimate"] == pytest.approx(-0.5)
    assert found["status"] == "untestable"  # three seeds with the same slope
    assert found["failed_as_worst"]["cells"] == 1
    # The failed cell takes the largest loss seen, 1.09, which is that of its own seed at dim 4.
    assert found["failed_as_worst"]["estimate"] == pytest.approx(-0.375)


def test_a_claim_whose_sign_turns_on_the_failures_is_withheld_and_says_why(tmp_path: Path) -> None:
    directory = Directory(tmp_path, make_sweep({"dim": [4, 8]}, 6, primary=[LOSS]))
    for cell in directory.sweep.grid:
        narrow = cell.factors["dim"] == 4
        if not narrow and cell.run_id > 2:
            directory.finish(cell, {LOSS: None}, status="DIVERGED")
        else:
            directory.finish(cell, {LOSS: (0.5 if narrow else 0.49) + 0.001 * cell.run_id * (1 + narrow)})
        if narrow and cell.run_id == 5:
            directory.finish(cell, {LOSS: 3.0})
    found = _claim(_statistics(directory), LOSS, "dim")
    assert found["estimate"] < 0 < found["failed_as_worst"]["estimate"]
    assert found["adjusted"] <= 0.05
    assert found["status"] == "withheld"
    assert "counting 3 failed cells as worst turns" in found["reason"]


def test_cells_still_to_run_are_not_counted_as_failures(tmp_path: Path) -> None:
    directory = Directory(tmp_path, make_sweep({"dim": [4, 8]}, 4, primary=[LOSS]))
    for cell in directory.sweep.grid:
        if cell.run_id < 3:
            directory.finish(cell, _noise(cell))
    found = _claim(_statistics(directory), LOSS, "dim")
    assert found["seeds"] == 3
    assert found["failed_as_worst"] is None


def _noise(cell: Cell) -> dict[str, float | None]:
    random = np.random.default_rng([cell.seed, zlib.crc32(cell.condition.encode())])
    return {LOSS: float(random.random()), ACCURACY: float(random.random()), R2: float(random.random())}


def test_scale_zero_is_left_out_of_the_slope_and_said(tmp_path: Path) -> None:
    def metrics(cell: Cell) -> dict[str, float | None]:
        scale = float(cell.factors["scale"])
        return {LOSS: 9.0 if scale == 0 else float(1 + (0.1 + 0.01 * cell.run_id) * np.log2(scale))}

    sweep = make_sweep({"scale": [0.0, 0.5, 1.0, 2.0]}, 3, primary=[LOSS])
    found = _claim(_statistics(_filled(tmp_path, sweep, metrics)), LOSS, "scale")
    assert found["estimate"] == pytest.approx(0.11)
    assert "scale 0.0 has no logarithm" in found["reason"]


def test_a_trainers_own_factors_get_contrasts_that_suit_them(tmp_path: Path) -> None:
    factors = {"rate": {"kind": "real"}, "optimizer": {"kind": "word"}, "size": {"kind": "word", "ordered": True}}
    trainer = Trainer("t.py:train", "", factors, {"m": {"kind": "real", "better": "lower"}})
    axes: dict[str, Sequence[int | float | str]] = {
        "rate": [0.0, 0.1, 0.4],
        "optimizer": ["adam", "sgd"],
        "size": ["small", "large"],
    }

    def metrics(cell: Cell) -> dict[str, float | None]:
        return {"m": (3 + cell.run_id) * float(cell.factors["rate"]) + (cell.factors["size"] == "large") * cell.run_id}

    statistics = _statistics(_filled(tmp_path, make_sweep(axes, 3, trainer, ["m"]), metrics))
    assert _claim(statistics, "m", "rate")["estimate"] == pytest.approx(4.0)
    assert _claim(statistics, "m", "rate")["per"] == "unit of rate"
    assert _claim(statistics, "m", "size")["estimate"] == pytest.approx(1.0)
    assert {tuple(c["factors"]) for c in statistics["claims"]["family"]} == {("rate",), ("size",), ("rate", "size")}


def test_comparisons_with_the_reference_are_paired_by_seed(tmp_path: Path) -> None:
    sweep = make_sweep({"dim": [4, 8, 16]}, 5, primary=[LOSS])
    directory = _filled(tmp_path, sweep, _noise, reference={"dim": 16}, equivalence_margin={LOSS: 0.5})
    found = _statistics(directory)["comparisons"][LOSS]
    assert (found["reference"], found["stamp"], sorted(found["conditions"])) == (
        "dim_16",
        "exploratory",
        ["dim_4", "dim_8"],
    )
    seeds = {dim: [_noise(cell)[LOSS] for cell in sweep.grid if cell.factors["dim"] == dim] for dim in (4, 8, 16)}
    for dim in (4, 8):
        expected = scipy.stats.ttest_rel(seeds[dim], seeds[16])
        entry = found["conditions"][f"dim_{dim}"]
        assert entry["p"] == pytest.approx(expected.pvalue)
        assert (entry["ci_lower"], entry["ci_upper"]) == pytest.approx(tuple(expected.confidence_interval()))
        u = scipy.stats.mannwhitneyu(seeds[dim], seeds[16]).statistic
        assert entry["probability_of_improvement"] == pytest.approx(1 - u / 25)
        assert 0 < entry["equivalence_p"] < 1


RATIO = {
    "numerator": LOSS,
    "denominator": ACCURACY,
    "numerator_chance": 2.0,
    "denominator_chance": 0.875,
    "factor": "dim",
}


def test_the_declared_ratio_is_tested_within_the_family(tmp_path: Path) -> None:
    def metrics(cell: Cell) -> dict[str, float | None]:
        """log(loss / 2) - log((1 - accuracy) / .875) rises by (3 + run / 10) / 10 a doubling of dim."""
        step = (3 + cell.run_id / 10) / 10 * np.log2(float(cell.factors["dim"]))
        return {LOSS: float(2 * 0.4 * np.exp(step)), ACCURACY: 1 - 0.875 * 0.4}

    directory = _filled(tmp_path, make_sweep({"dim": [1, 2, 4], "scale": [0.5, 1.0]}, 3), metrics, ratio=RATIO)
    found = _statistics(directory)["claims"]["family"][-1]
    assert (found["kind"], found["factors"]) == ("ratio", ["dim"])
    assert found["per_seed"] == pytest.approx([0.3, 0.31, 0.32])
    assert found["estimate"] == pytest.approx(0.31)
    assert found["status"] == "shown"


def test_a_run_without_error_has_no_ratio_and_costs_its_seed(tmp_path: Path) -> None:
    directory = Directory(tmp_path, replace(make_sweep({"dim": [1, 2]}, 3), analysis={"ratio": RATIO}))
    directory.fill(lambda cell: {LOSS: 0.0 if cell.name == "dim_2_run_1" else 0.5 + 0.1 * cell.run_id, ACCURACY: 0.5})
    found = _statistics(directory)["claims"]["family"][-1]
    assert (found["seeds"], found["planned_seeds"]) == (2, 3)


def test_levels_added_later_are_exploratory(tmp_path: Path) -> None:
    sweep = make_sweep({"dim": [4, 8]}, 4, primary=[LOSS])
    directory = Directory(tmp_path, sweep)
    grown = replace(sweep, grid=Grid((Axis("dim", (4, 8, 16)),), sweep.grid.seeds))
    write_sweep(directory.store, grown, {})
    directory.sweep = grown
    directory.fill(_linear_dim)
    statistics = _statistics(directory)
    assert _claim(statistics, LOSS, "dim")["estimate"] == pytest.approx(-0.15)
    assert _claim(statistics, LOSS, "dim", family="exploratory")["estimate"] == pytest.approx(4.8)


def _linear_dim(cell: Cell) -> dict[str, float | None]:
    """Falls by .1 + .1 run / 3 from 4 to 8, then jumps to 10."""
    if cell.factors["dim"] == 16:
        return {LOSS: 10.0 - cell.run_id / 15}
    return {LOSS: 0.5 - (cell.factors["dim"] == 8) * (0.1 + cell.run_id / 30) - 0.2}


def test_failures_that_hang_on_a_factor_are_noticed(tmp_path: Path) -> None:
    directory = Directory(tmp_path, make_sweep({"dim": [4, 8], "scale": [0.5, 1.0]}, 5))
    for cell in directory.sweep.grid:
        if cell.factors["dim"] == 4 and cell.run_id < 4:
            directory.fail(cell, "killed")
        else:
            directory.finish(cell, _noise(cell))
    by_dim, by_scale = _statistics(directory)["missingness"]
    assert by_dim["p"] == pytest.approx(scipy.stats.fisher_exact([[8, 2], [0, 10]]).pvalue)
    assert by_dim["levels"] == [{"value": 4, "failed": 8, "ended": 10}, {"value": 8, "failed": 0, "ended": 10}]
    assert by_scale["p"] == 1.0
    assert any("failures hang on workspace dimension" in line for line in aggregate(tmp_path, figures=False).problems)


@pytest.mark.parametrize("seeds", [1, 2])
def test_the_smallest_sweeps_have_claims_that_say_what_they_lack(tmp_path: Path, seeds: int) -> None:
    family = _statistics(_filled(tmp_path, make_sweep(GRID, seeds), _noise))["claims"]["family"]
    assert len(family) == 6
    if seeds == 1:
        assert {(c["status"], c["reason"]) for c in family} == {("untestable", "one seed")}


def test_a_factor_without_any_effect_is_not_tested_on_the_rounding_of_sums(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    by_dim = {(dim, run): float(random.random()) for dim in (4, 8, 16) for run in range(5)}
    sweep = make_sweep({"dim": [4, 8, 16], "scale": [0.1, 0.3, 1.0, 7.0]}, 5, primary=[LOSS])
    directory = _filled(tmp_path, sweep, lambda cell: {LOSS: by_dim[int(cell.factors["dim"]), cell.run_id]})
    statistics = _statistics(directory)
    for factors in (("scale",), ("dim", "scale")):
        found = _claim(statistics, LOSS, *factors)
        assert found["per_seed"] == [0.0] * 5
        assert found["status"] == "untestable"
    assert _claim(statistics, LOSS, "dim")["p"] is not None


def test_seeds_that_agree_but_for_rounding_say_nothing_of_chance(tmp_path: Path) -> None:
    sweep = make_sweep({"dim": [4, 8, 16]}, 5, primary=[LOSS])
    values = {4: 0.3, 8: 0.2, 16: 0.1}
    directory = _filled(tmp_path, sweep, lambda cell: {LOSS: values[int(cell.factors["dim"])] + 0.1 * cell.run_id})
    found = _claim(_statistics(directory), LOSS, "dim")
    assert found["estimate"] == pytest.approx(-0.1)
    assert (found["p"], found["status"]) == (None, "untestable")


@pytest.mark.parametrize("learned", [True, False])
def test_a_hypothesis_about_what_was_never_learned_is_withheld_and_says_why(tmp_path: Path, learned: bool) -> None:
    ratio = {"numerator": LOSS, "denominator": "val_loss", "numerator_chance": 2.0, "denominator_chance": 1.0}

    def metrics(cell: Cell) -> dict[str, float | None]:
        noise = float(np.random.default_rng(cell.seed).random()) * np.log2(float(cell.factors["dim"]))
        best = 1.0 if learned and cell.factors["dim"] == 16 else 2.0
        return {LOSS: best + 0.001 * cell.run_id, "val_loss": 0.9 / float(cell.factors["dim"]) + 0.001 * noise}

    sweep = make_sweep({"dim": [4, 8, 16]}, 5, primary=[LOSS])
    directory = _filled(tmp_path, sweep, metrics, ratio=ratio | {"factor": "dim"})
    found = next(claim for claim in _statistics(directory)["claims"]["family"] if claim["kind"] == "ratio")
    assert found["status"] == ("shown" if learned else "withheld")
    said = "best validation loss is nowhere shown to be better than guessing"
    assert (said in str(found["reason"])) is not learned
    assert (f"The hypothesis: withheld, because {said}" in directory.store.paths.report_file.read_text()) is not learned


def test_a_primary_metric_that_is_null_in_every_result_is_named_and_keeps_its_label(tmp_path: Path) -> None:
    directory = _filled(tmp_path, make_sweep({"dim": [4, 8]}, 3), lambda cell: {LOSS: 0.1 * cell.seed, ACCURACY: None})
    found = _claim(_statistics(directory), ACCURACY, "dim")
    assert (found["label"], found["reason"]) == ("synergy accuracy", "no seed has every condition")
    said = f"{ACCURACY}: none of 6 completed cells has a finite value"
    assert any(said in line for line in aggregate(tmp_path, figures=False).problems)
    report = directory.store.paths.report_file.read_text()
    assert "How synergy accuracy and best validation loss depend on workspace dimension" in report


def test_no_other_metric_stands_in_for_a_primary_one_without_values(tmp_path: Path) -> None:
    sweep = make_sweep({"dim": [4, 8]}, 3, primary=[ACCURACY])
    directory = _filled(tmp_path, sweep, lambda cell: {LOSS: 0.1 * cell.seed, ACCURACY: None})
    report = aggregate(directory.store.paths.root).report.read_text()
    primary = report[report.index("<h2>Primary metrics") : report.index("<h2>Other metrics")]
    assert "best validation loss" not in primary
    assert "No result has a value of one yet." in primary


def test_a_difference_that_is_the_same_in_every_seed_but_for_rounding_is_not_tested(tmp_path: Path) -> None:
    sweep = make_sweep({"dim": [4, 8]}, 5, primary=[LOSS])
    values = {4: 0.3, 8: 0.1}
    directory = _filled(
        tmp_path,
        sweep,
        lambda cell: {LOSS: values[int(cell.factors["dim"])] + 0.7 * cell.run_id},
        reference={"dim": 4},
    )
    found = _statistics(directory)["comparisons"][LOSS]["conditions"]["dim_8"]
    assert found["difference"] == pytest.approx(-0.2)
    assert (found["p"], found["dz_hedges"]) == (None, None)
