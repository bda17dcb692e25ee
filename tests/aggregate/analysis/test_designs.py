"""Statistics of designs that are no full product: by hand, on the combinations that a factor can be compared in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from helpers.sweeps import ACCURACY, LOSS, Directory, make_sweep
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregate.analysis.claims import UNTESTABLE, make_claims
from aggregate.analysis.curves import by_level, curves
from aggregate.analysis.fixed_analysis import Analysis, Compared, Slope
from aggregate.analysis.summary import Summary, summarise_arrays
from aggregate.answers.combinations import averaged_over
from aggregate.pipeline import aggregate
from aggregate.reading.declared import Factor, Metric
from aggregate.report.claim_tables import claims as claims_table
from aggregate.report.forest import forest
from hpc.storage.revisions import write_sweep
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep
from hpc.sweep.grid import Axis, Grid, Rules
from hpc.sweep.states import COMPLETED

AXES = (Axis("a", (1, 2, 4)), Axis("b", (0.5, 1.0)), Axis("c", ("u", "v")))
FACTORS = tuple(
    Factor(axis.name, axis.name, axis.name, axis.name, axis.values, axis.name == "a", axis.name != "c") for axis in AXES
)
SCORE = Metric("score", "score", "score", "real", "higher", None)
POINTS = [point for _, point in Grid(AXES, (0,)).conditions()]


def summary(chosen: list[int], values: np.ndarray) -> Summary:
    """Of some conditions of the product. values: shape (all conditions of the product, seeds)."""
    conditions = [(str(i), POINTS[i]) for i in chosen]
    states = np.full((len(chosen), values.shape[1]), COMPLETED)
    seeds = tuple(range(values.shape[1]))
    found = [(SCORE, values[chosen])]
    return summarise_arrays("", FACTORS, conditions, seeds, states, found, primary=(SCORE,), level=0.95, complete=True)


def whole(chosen: list[int], name: str, levels: tuple[Any, ...]) -> list[dict[Any, int]]:
    """Level -> condition, for every combination of the other factors in which all these levels are."""
    places: dict[tuple[Any, ...], dict[Any, int]] = {}
    for i in chosen:
        rest = tuple(pair for pair in POINTS[i] if pair[0] != name)
        places.setdefault(rest, {})[dict(POINTS[i])[name]] = i
    return [found for found in places.values() if set(levels) <= set(found)]


DESIGNS = st.lists(st.integers(0, len(POINTS) - 1), min_size=2, unique=True).map(sorted)


@settings(max_examples=60)
@given(DESIGNS, st.integers(0, 2**32))
def test_slopes_and_comparisons_are_those_of_the_combinations_that_have_all_levels(
    chosen: list[int], seed: int
) -> None:
    values = np.random.default_rng(seed).normal(size=(len(POINTS), 5))
    tests = (Slope("score", "a"), Slope("score", "b"), Compared("score", "c", ("v", "u")))
    planned = np.ones(len(chosen), dtype=bool)
    claims = make_claims(summary(chosen, values), Analysis(primary=("score",), tests=tests), planned)
    for claim, test in zip(claims.family, tests, strict=True):
        axis = next(axis for axis in AXES if axis.name == test.factor)
        levels = tuple(value for value in axis.values if any(dict(POINTS[i])[axis.name] == value for i in chosen))
        if isinstance(test, Compared):
            levels = test.levels
        combinations = whole(chosen, axis.name, levels) if len(levels) > 1 else []
        if not combinations:
            assert claim.status == UNTESTABLE
            assert claim.reason
            continue
        if isinstance(test, Compared):
            expected = np.mean([values[found["v"]] - values[found["u"]] for found in combinations], axis=0)
        else:
            x = [np.log2(level) if axis.name == "a" else level for level in levels]
            lines = [
                [scipy.stats.linregress(x, [values[found[level], run] for level in levels]).slope for run in range(5)]
                for found in combinations
            ]
            expected = np.mean(lines, axis=0)
        assert claim.test.per_seed == pytest.approx(expected)
        assert claim.test.p == pytest.approx(scipy.stats.ttest_1samp(expected, 0).pvalue)
        assert len(claim.pieces) == (len(combinations) if len(combinations) > 1 else 0)
        used = {i for found in combinations for level, i in found.items() if level in levels}
        assert {chosen[i] for i in claim.question.conditions} == used
        rest = {tuple(pair for pair in POINTS[i] if pair[0] != axis.name) for i in chosen}
        assert ("combinations of the other factors" in claim.reason) == (len(combinations) < len(rest))


@pytest.mark.parametrize(
    ("dropped", "over"),
    [
        ([], "6 combinations"),
        ([0], "5 of 6 combinations"),
        ([0, 2, 4, 6], "a 4, b 0.5; a 4, b 1"),
    ],
)
def test_combinations_of_several_factors_are_counted_or_told_apart(dropped: list[int], over: str) -> None:
    """POINTS go by a, then b, then c: dropping one leaves its combination of a and b with one level of c."""
    values = 0.01 * np.random.default_rng(1).normal(size=(len(POINTS), 5)) + np.arange(len(POINTS))[:, None]
    analysis = Analysis(primary=("score",), tests=(Compared("score", "c", ("v", "u")),))
    seen = summary([i for i in range(len(POINTS)) if i not in dropped], values)
    (claim,) = made = make_claims(seen, analysis, np.ones(len(seen.points), dtype=bool)).family
    assert averaged_over(claim) == f"on average over {over}"
    table = claims_table(seen, made, "after Holm")
    assert table.rows[0][list(table.head).index("averaged over")] == over
    drawn = forest(claim)
    assert drawn is not None
    assert drawn.rows[0].label == f"average over {over}"


@settings(max_examples=40)
@given(DESIGNS, DESIGNS, st.integers(0, 2**32))
def test_a_design_that_grew_tests_what_it_tested_before(first: list[int], more: list[int], seed: int) -> None:
    """The claims of the family are those of the first revision, digit by digit, whatever conditions came later."""
    values = np.random.default_rng(seed).normal(size=(len(POINTS), 4))
    grown = sorted({*first, *more})
    analysis = Analysis(primary=("score",), tests=(Slope("score", "b"), Compared("score", "c", ("v", "u"))))
    before = make_claims(summary(first, values), analysis, np.ones(len(first), dtype=bool))
    after = make_claims(summary(grown, values), analysis, np.array([i in first for i in grown]))
    for old, new in zip(before.family, after.family, strict=True):
        np.testing.assert_array_equal(old.test.per_seed, new.test.per_seed)
        assert (old.status, old.question.levels) == (new.status, new.question.levels)


@settings(max_examples=40)
@given(DESIGNS, st.integers(0, 2**32))
def test_curves_of_a_factors_levels_are_averaged_where_all_levels_are(chosen: list[int], seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(len(POINTS), 3))
    found = summary(chosen, values).crossings.of(2)
    where = found.whole(range(2))
    if not where.any():
        assert not whole(chosen, "c", ("u", "v"))
        return
    position = np.arange(3 * len(chosen))
    made = curves(position, np.ones_like(position), values[chosen].ravel(), np.ones((len(chosen), 3), dtype=bool))
    levels = by_level(made, found.conditions[:, where])
    for i, level in enumerate(("u", "v")):
        expected = np.mean([values[places[level]] for places in whole(chosen, "c", ("u", "v"))], axis=0)
        assert levels.values[i, :, 0] == pytest.approx(expected)


# --- from a directory -----------------------------------------------------------------------------------------------


def design(sweep: Sweep, rules: Rules, **analysis: Any) -> Sweep:
    return replace(sweep, grid=replace(sweep.grid, rules=rules), analysis=dict(sweep.analysis) | analysis)


def metrics(cell: Cell) -> dict[str, float | None]:
    random = np.random.default_rng([cell.seed, int(cell.factors["dim"]), int(10 * float(cell.factors["scale"]))])
    return {ACCURACY: 0.5 + 0.01 * float(cell.factors["dim"]) + 0.05 * float(random.random()), LOSS: random.random()}


def statistics(directory: Directory) -> dict[str, Any]:
    aggregate(directory.store.paths.root, figures=False)
    return dict(json.loads(directory.store.paths.statistics_file.read_bytes()))


WITHOUT = Rules(((("dim", (16,)), ("scale", (1.0, 10.0))),))
TESTS = [{"metric": ACCURACY, "slope": "dim"}, {"metric": ACCURACY, "slope": "scale"}]


def test_a_claim_says_on_which_combinations_it_was_tested(tmp_path: Path) -> None:
    sweep = design(make_sweep({"dim": [4, 8, 16], "scale": [0.1, 1.0, 10.0]}, 4), WITHOUT, tests=TESTS)
    directory = Directory(tmp_path, sweep)
    directory.fill(metrics)
    document = statistics(directory)
    dim, scale = document["claims"]["family"]
    assert (
        "workspace dimension 4, 8, 16 are all there in 1 of 3 combinations of the other factors: "
        "synergy loss scale 0.1" in dim["reason"]
    )
    assert (
        "are all there in 2 of 3 combinations of the other factors: workspace dimension 4; workspace dimension 8"
        in (scale["reason"])
    )
    page = (tmp_path / "report.html").read_text()
    assert "At synergy loss scale 0.1: synergy accuracy rises with workspace dimension" in page
    assert "averaged over workspace dimension 4 and 8" in page
    assert document["completeness"]["planned"] == 4 * 7
    assert set(json.loads((tmp_path / "aggregated_results.json").read_bytes())) == {
        name for name, _ in sweep.grid.conditions()
    }


def test_growth_keeps_results_and_claims_and_adds_exploratory_ones(tmp_path: Path) -> None:
    axes = {"dim": [4, 8, 16], "scale": [0.1, 1.0, 10.0]}
    directory = Directory(tmp_path, design(make_sweep(axes, 4), WITHOUT, tests=TESTS))
    directory.fill(metrics)
    before = statistics(directory)["claims"]["family"]
    results = {path: path.read_bytes() for path in tmp_path.rglob("results.json")}
    write_sweep(directory.store, design(make_sweep(axes, 4), Rules(), tests=TESTS), {})
    directory.sweep = directory.store.sweep()
    for cell in directory.sweep.grid:
        if not directory.store.paths.result_file(cell).exists():
            directory.finish(cell, metrics(cell))
    after = statistics(directory)["claims"]
    told = ("estimate", "low", "high", "p", "per_seed", "status", "levels")
    assert [[claim[key] for key in told] for claim in after["family"]] == [[c[key] for key in told] for c in before]
    again = [c for c in after["exploratory"] if c["metric"] == ACCURACY and c["factors"] == ["dim"]]
    assert len(again) == 1
    assert again[0]["reason"] is None
    assert {path: path.read_bytes() for path in results} == results


def test_what_is_not_explored_for_want_of_combinations_is_said(tmp_path: Path) -> None:
    diagonal = Rules(((("dim", (4,)), ("scale", (1.0,))), (("dim", (8,)), ("scale", (0.1,)))))
    directory = Directory(tmp_path, design(make_sweep({"dim": [4, 8], "scale": [0.1, 1.0]}, 4), diagonal, tests=TESTS))
    directory.fill(metrics)
    document = statistics(directory)
    assert [claim["status"] for claim in document["claims"]["family"]] == [UNTESTABLE, UNTESTABLE]
    why = "no combination of the other factors has workspace dimension 4, 8"
    assert document["claims"]["family"][0]["reason"] == why
    assert document["claims"]["exploratory"] == []
    page = (tmp_path / "report.html").read_text()
    assert why in page


def _fails_where_wide(lab: Directory) -> list[dict[str, Any]]:
    for cell in lab.sweep.grid:
        if int(cell.factors["dim"]) >= 64 and cell.run_id % 2:
            lab.fail(cell, "killed")
        else:
            lab.finish(cell, metrics(cell))
    return list(statistics(lab)["missingness"])


def test_failures_are_held_against_a_factor_only_where_all_its_levels_are(tmp_path: Path) -> None:
    """Wide cells fail, and the low scale was never run wide: that is no dependence on the scale."""
    never = Rules(((("dim", (64, 256)), ("scale", (0.1,))),))
    sweep = design(make_sweep({"dim": [1, 4, 64, 256], "scale": [0.1, 1.0]}, 12), never)
    by_dim, by_scale = _fails_where_wide(Directory(tmp_path, sweep))
    assert [(level["failed"], level["ended"]) for level in by_dim["levels"]] == [(0, 12), (0, 12), (6, 12), (6, 12)]
    assert by_dim["p"] < 0.01
    assert [(level["failed"], level["ended"]) for level in by_scale["levels"]] == [(0, 24), (0, 24)]
    assert by_scale["p"] is None
    told = [line for line in aggregate(tmp_path, figures=False).problems if line.startswith("failures depend on")]
    assert len(told) == 1
    assert "workspace dimension" in told[0]
    assert "in the 1 of 2 combinations of the other factors with every level" in (tmp_path / "report.html").read_text()


def test_failures_are_not_compared_where_levels_share_no_combination(tmp_path: Path) -> None:
    apart = Rules(((("dim", (64,)), ("scale", (0.1,))), (("dim", (1,)), ("scale", (1.0,)))))
    sweep = design(make_sweep({"dim": [1, 64], "scale": [0.1, 1.0]}, 12), apart)
    for entry in _fails_where_wide(Directory(tmp_path, sweep)):
        assert entry["p"] is None
    assert not [line for line in aggregate(tmp_path, figures=False).problems if line.startswith("failures depend on")]
    page = (tmp_path / "report.html").read_text()
    assert page.count("not compared") == 2
