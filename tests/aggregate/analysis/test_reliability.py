from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from helpers.sweeps import ACCURACY, LOSS, Directory, make_sweep

from aggregate.analysis.reliability import NORMALITY, flags
from aggregate.analysis.summary import Summary, summarise_arrays
from aggregate.arrays import Floats
from aggregate.pipeline import aggregate
from aggregate.reading.declared import factors_of, metrics_of
from aggregate.wording import p_equals
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep
from hpc.sweep.states import COMPLETED

R2 = "predictability/unique_r2"
RANDOM = np.random.default_rng(3)


def test_accuracies_just_below_their_ceiling_are_not_taken_for_two_groups() -> None:
    sweep = make_sweep({"dim": list(range(1, 13))}, 10)
    clean = RANDOM.beta(58, 2, (400, 12, 10))
    assert np.mean([bool(flags(_summary(sweep, values))) for values in clean]) < 0.05 + 3.5 * 0.011


def _summary(sweep: Sweep, accuracies: Floats) -> Summary:
    conditions, seeds = list(sweep.grid.conditions()), sweep.grid.seeds
    states = np.full(accuracies.shape, COMPLETED)
    values = [(metrics_of(sweep, [ACCURACY])[0], accuracies)]
    return summarise_arrays(
        "", factors_of(sweep), conditions, seeds, states, values, primary=(), level=0.95, complete=True
    )


def test_seeds_that_may_be_two_groups_are_shown_beside_the_claim_with_how_little_that_proves(tmp_path: Path) -> None:
    directory = Directory(tmp_path, make_sweep({"dim": [4, 8, 16]}, 5, primary=[R2]))
    apart = dict(zip(range(42, 47), [0.122, 0.2, 0.743, 0.835, 0.845], strict=True))

    def metrics(cell: Cell) -> dict[str, float | None]:
        noise = float(np.random.default_rng([cell.seed, int(cell.factors["dim"])]).normal(0, 0.01))
        return {R2: apart[cell.seed] if cell.factors["dim"] == 4 else 0.85 + noise}

    directory.fill(metrics)
    outcome = aggregate(tmp_path, figures=False)
    report = outcome.report.read_text()
    told = (
        "unique features, R2: 2 of 5 seeds (0.122, 0.2) lie apart from the other 3 (0.743, 0.835, 0.845) at workspace "
        "dimension 4; guessing gives 0. These may be two groups; so few seeds cannot settle it: of sweeps of 3 "
        "conditions without groups, with normally varying seeds, up to "
    )
    assert told in report
    assert "the p value and the intervals assume seeds that vary normally, and seeds in two groups do not" in report
    assert re.search(r"by changing signs, which needs symmetry, not normality, gives p = 0\.\d+", report)
    assert not json.loads(directory.store.paths.statistics_file.read_bytes())["unreliable"]


@pytest.mark.parametrize("conditions", [3, 12])
def test_a_gap_that_many_clean_sweeps_have_is_no_alarm_beside_a_claim(tmp_path: Path, conditions: int) -> None:
    """The chance of as wide a gap in one condition is about 3 %: in any of 3 it is 10 %, in any of 12 it is 40 %."""
    directory = Directory(tmp_path, make_sweep({"dim": list(range(4, 4 + conditions))}, 5, primary=[R2]))
    apart = dict(zip(range(42, 47), [0.122, 0.2, 0.743, 0.835, 0.845], strict=True))

    def metrics(cell: Cell) -> dict[str, float | None]:
        noise = float(np.random.default_rng([cell.seed, int(cell.factors["dim"])]).normal(0, 0.01))
        return {R2: apart[cell.seed] if cell.factors["dim"] == 4 else 0.85 + noise}

    directory.fill(metrics)
    report = aggregate(tmp_path, figures=False).report.read_text()
    claim, told = report[report.index("<article") : report.index("</article>")], "These may be two groups"
    assert report.count(told) == 1
    assert (told in claim) == (conditions == 3)
    assert ("assume seeds that vary normally" in claim) == (conditions == 3)


def test_a_flag_stands_beside_the_claim_that_it_touches(tmp_path: Path) -> None:
    directory = Directory(tmp_path, make_sweep({"dim": [4, 8, 16]}, 5, primary=[LOSS]))

    def metrics(cell: Cell) -> dict[str, float | None]:
        noise = float(np.random.default_rng([cell.seed, int(cell.factors["dim"])]).normal(0, 0.01))
        return {LOSS: float(np.exp(noise + 3 * (cell.name == "dim_8_run_2")))}

    directory.fill(metrics)
    report = aggregate(tmp_path, figures=False).report.read_text()
    claim = report[report.index("<article") : report.index("</article>")]
    assert "best validation loss: seed 44 at workspace dimension 8 lies far from the other seeds" in claim
    assert "the p value and the intervals assume seeds that vary normally" in claim
    assert "a collapse that none of them shows is not counted" in claim
    assert "a collapse that none of these seeds shows is not allowed for" in report  # with a flag or without
    own = json.loads(directory.store.paths.statistics_file.read_bytes())["claims"]["family"][0]["per_seed"]
    expected = scipy.stats.permutation_test((own,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    said = "best validation loss: a test by changing signs, which needs symmetry, not normality, gives"
    assert f"{said} {p_equals(expected)}" in claim
    without = re.search(
        r"without seed 44 the estimate would be (\S+) % \[(\S+), (\S+)\] instead of (\S+) \[(\S+), (\S+)\] \(described",
        claim,
    )
    assert without is not None
    tests = [scipy.stats.ttest_1samp(values, 0).confidence_interval() for values in (np.delete(own, 2), own)]
    numbers = [
        n for values, test in zip((np.delete(own, 2), own), tests, strict=True) for n in (np.mean(values), *test)
    ]
    assert [float(value) for value in without.groups()] == pytest.approx([100 * np.expm1(n) for n in numbers], rel=0.06)
    assert "guessing" not in claim


def test_what_the_report_says_of_false_detections_is_what_was_measured() -> None:
    """The sentence beside a flagged claim gives a number of the tables in docs/statistics.md."""
    table = (Path(__file__).parents[3] / "docs/statistics.md").read_text()
    measured = re.search(r"\| family-wise error \| collapsing \| 5 \| <= 5 \| ([\d.]+) \|", table)
    assert measured is not None
    assert f"one run in ten collapses, {measured[1]} % detect one" in NORMALITY


@pytest.mark.parametrize("doubt", ["", "at the bound", "outlying", "another metric outlying"])
def test_intervals_are_called_too_narrow_only_where_seeds_of_theirs_are_outlying(tmp_path: Path, doubt: str) -> None:
    directory = Directory(tmp_path, make_sweep({"dim": [4, 8, 16, 32]}, 5, primary=[ACCURACY]))
    odd = {
        "at the bound": {f"dim_4_run_{run}": {ACCURACY: 1.0} for run in range(5)},
        "outlying": {"dim_8_run_2": {ACCURACY: 0.1}},
        "another metric outlying": {"dim_8_run_2": {LOSS: 3.5}},
    }

    def metrics(cell: Cell) -> dict[str, float | None]:
        noise = float(np.random.default_rng([cell.seed, int(cell.factors["dim"])]).normal(0, 0.01))
        return {ACCURACY: 0.95 + noise / 10, LOSS: 0.5 + noise, **odd.get(doubt, {}).get(cell.name, {})}

    directory.fill(metrics)
    page = aggregate(tmp_path, figures=False).report.read_text()
    reasons = {flag["reason"] for flag in json.loads(directory.store.paths.statistics_file.read_bytes())["unreliable"]}
    expected = {"": set(), "at the bound": {"seeds at the bound"}}.get(doubt, {"seeds in two groups"})
    assert reasons == expected
    assert ("some of them outlying, they are too narrow" in page) == (doubt == "outlying")


def test_unreliable_intervals_are_flagged_in_the_statistics_and_said(tmp_path: Path) -> None:
    directory = Directory(tmp_path, make_sweep({"dim": [4, 8, 16, 32]}, 5))

    def metrics(cell: Cell) -> dict[str, float | None]:
        noise = float(np.random.default_rng([cell.seed, int(cell.factors["dim"])]).normal(0, 0.01))
        collapsed = cell.name == "dim_8_run_2"
        return {ACCURACY: 1.0 if cell.name == "dim_4_run_0" else 0.95 + noise / 10, LOSS: 0.5 + noise + 3 * collapsed}

    directory.fill(metrics)
    problems = aggregate(tmp_path, figures=False).problems
    found = json.loads(directory.store.paths.statistics_file.read_bytes())["unreliable"]
    assert {"metric": LOSS, "reason": "seeds in two groups", "conditions": ["dim_8"], "seeds": [[44]]} in found
    assert {"metric": ACCURACY, "reason": "seeds at the bound", "conditions": ["dim_4"], "seeds": []} in found
    assert "best validation loss: seed 44 at workspace dimension 8 lies far from the other seeds" in problems
    at_bound = (
        "synergy accuracy: some seeds lie exactly at the bound 1 at workspace dimension 4: what lies beyond it "
        "cannot be seen, and no interval is to be trusted"
    )
    assert at_bound in problems


def test_different_epoch_budgets_are_said(tmp_path: Path) -> None:
    directory = Directory(tmp_path, make_sweep({"dim": [8]}, 3))
    for cell in directory.sweep.grid:
        directory.finish(cell, {LOSS: 0.1}, epochs=3 + cell.run_id)
    assert any("trained from 3 to 5 epochs" in line for line in aggregate(tmp_path, figures=False).problems)


@pytest.mark.parametrize(("still", "said"), [(4, True), (3, False)])
def test_runs_that_were_still_improving_are_said_where_they_are_most(tmp_path: Path, still: int, said: bool) -> None:
    directory = Directory(tmp_path, make_sweep({"dim": [8]}, 6))
    for cell in directory.sweep.grid:
        directory.finish(cell, {LOSS: 0.1 + 0.01 * cell.run_id}, epochs=9, best_epoch=9 if cell.run_id < still else 5)
    problems = aggregate(tmp_path, figures=False).problems
    assert (
        any(f"of 6 completed runs with a best epoch on record, {still} had it last" in line for line in problems)
        == said
    )
