"""From a sweep directory to claims: what is tested, what is withheld, and what is only exploratory."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from helpers.sweeps import ACCURACY, BUILT_IN_LIKE, LOSS, METRICS, Directory, make_sweep

from aggregate.analysis.claims import SCALES_DISAGREE, Claim, _judge
from aggregate.analysis.retention import Retained
from aggregate.pipeline import aggregate
from hpc.storage.revisions import write_sweep
from hpc.sweep.cell import Cell
from hpc.sweep.definition import DeclaredTrainer, Sweep
from hpc.sweep.grid import Axis, Grid

R2 = "predictability/unique_r2"
Metrics = Callable[[Cell], dict[str, float | None]]


def _statistics(directory: Directory) -> dict[str, Any]:
    aggregate(directory.store.paths.root, figures=False)
    document: dict[str, Any] = json.loads(directory.store.paths.statistics_file.read_bytes())
    return document


def _declared(sweep: Sweep, **analysis: Any) -> Sweep:
    return replace(sweep, analysis=dict(sweep.analysis) | analysis)


def _filled(root: Path, sweep: Sweep, metrics: Metrics, **analysis: Any) -> Directory:
    directory = Directory(root, _declared(sweep, **analysis))
    directory.fill(metrics)
    return directory


def _claim(statistics: dict[str, Any], metric: str, *factors: str, family: str = "family") -> dict[str, Any]:
    found = [c for c in statistics["claims"][family] if (c["metric"], tuple(c["factors"])) == (metric, factors)]
    assert len(found) == 1
    return dict(found[0])


def _linear(cell: Cell) -> dict[str, float | None]:
    """The logarithm of the loss falls by 0.1 per doubling of dim and rises by 0.02 per doubling of scale."""
    d, s = np.log2(float(cell.factors["dim"])), np.log2(float(cell.factors["scale"]))
    wobble = 0.001 * (cell.run_id - 1)
    return {LOSS: float(np.exp(-(0.1 + wobble) * d + (0.02 + wobble) * s)), ACCURACY: None, R2: d}


GRID: dict[str, Sequence[int | float | str]] = {"dim": [4, 8, 16], "scale": [0.5, 1.0, 2.0]}


def test_slopes_are_per_doubling_and_those_of_a_positive_metric_are_of_its_logarithm(tmp_path: Path) -> None:
    statistics = _statistics(_filled(tmp_path, make_sweep(GRID, 3), _linear))
    for factor, slope in (("dim", -0.1), ("scale", 0.02)):
        assert _claim(statistics, LOSS, factor)["estimate"] == pytest.approx(slope)
    found = _claim(statistics, LOSS, "dim")
    assert (found["per"], found["scale"], found["levels"]) == ("doubling of workspace dimension", "log", [4, 8, 16])


def test_a_slope_is_scipys_regression_per_seed_and_its_test_scipys_t(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    values = {cell.name: float(random.random()) for cell in make_sweep({"dim": [4, 8, 32]}, 5).grid}
    sweep = make_sweep({"dim": [4, 8, 32]}, 5, primary=[ACCURACY])
    directory = _filled(tmp_path, sweep, lambda cell: {ACCURACY: values[cell.name]})
    slopes = [
        scipy.stats.linregress([2, 3, 5], [values[f"dim_{dim}_run_{run}"] for dim in (4, 8, 32)]).slope
        for run in range(5)
    ]
    found = _claim(_statistics(directory), ACCURACY, "dim")
    expected = scipy.stats.ttest_1samp(slopes, 0)
    assert found["per_seed"] == pytest.approx(slopes)
    assert found["p"] == found["adjusted"] == pytest.approx(expected.pvalue)
    assert (found["low"], found["high"]) == pytest.approx(tuple(expected.confidence_interval()))
    assert (found["degrees_of_freedom"], found["complete_seeds"]) == (4, 5)


def test_the_family_is_what_was_declared_even_if_one_test_cannot_be_made(tmp_path: Path) -> None:
    tests = [{"metric": m, "slope": f} for m, f in ((ACCURACY, "dim"), (LOSS, "dim"), (LOSS, "scale"))]
    statistics = _statistics(_filled(tmp_path, make_sweep(GRID, 3), _linear, tests=tests))
    family = statistics["claims"]["family"]
    assert [(c["metric"], *c["factors"]) for c in family] == [tuple(test.values()) for test in tests]
    smallest = min((c for c in family if c["p"] is not None), key=lambda c: c["p"])
    assert smallest["adjusted"] == pytest.approx(3 * smallest["p"])
    assert family[0]["status"] == "untestable"
    assert all(c["confirmatory"] for c in family)


def test_each_interval_leaves_out_0_exactly_if_its_test_detects(tmp_path: Path) -> None:
    """Holm holds the k-th of m p values against alpha / (m - k + 1); all after the first failure against its own."""
    tests = [{"metric": R2, "slope": f} for f in ("a", "b", "c", "d")]
    random = np.random.default_rng(5)
    noise = {cell.name: random.normal() for cell in make_sweep({key: [1, 2] for key in "abcd"}, 6).grid}
    trainer = DeclaredTrainer("t.py:train", "", {}, {R2: {"kind": "real", "better": "higher"}})

    def metrics(cell: Cell) -> dict[str, float | None]:
        effect = sum(size * float(cell.factors[f]) for f, size in zip("abcd", (2.0, 1.0, 0.6, 0.0), strict=True))
        return {R2: effect + noise[cell.name]}

    sweep = make_sweep({key: [1, 2] for key in "abcd"}, 6, trainer, [R2])
    family = _statistics(_filled(tmp_path, sweep, metrics, tests=tests))["claims"]["family"]
    by_p = sorted(family, key=lambda c: c["p"])
    detected = [c["status"] == "shown" for c in by_p]
    assert detected[0]
    assert not detected[-1]
    steps = [4 - k for k in range(4)]
    first = detected.index(False)
    for k, found in enumerate(by_p):
        assert found["level"] == pytest.approx(1 - 0.05 / steps[min(k, first)])
        assert (found["low"] > 0 or found["high"] < 0) is detected[k]


def test_a_claim_not_detected_says_what_it_is_compatible_with_and_what_would_have_been(tmp_path: Path) -> None:
    directory = _filled(tmp_path, make_sweep({"dim": [4, 8]}, 5, primary=[ACCURACY]), _noise)
    found = _claim(_statistics(directory), ACCURACY, "dim")
    assert found["status"] == "not shown"
    spread = np.std(found["per_seed"], ddof=1)
    assert found["detectable"] == pytest.approx(1.682 * spread, rel=1e-3)  # d_z of 5 seeds at 80 % power
    report = directory.store.paths.report_file.read_text()
    assert "Synergy accuracy and workspace dimension, within 3 epochs of training: not detected.</p>" in report
    assert re.search(r"<p>Estimated: [+-]0\.\d+ per doubling of workspace dimension \[", report)
    # The spread of 5 seeds is known within 0.599 to 2.874 of itself (chi square with 4 degrees of freedom).
    low, high = (f"{factor * found['detectable']:.2g}" for factor in (0.5991, 2.8736))
    assert f"detected with 80 % power; 5 seeds determine this only roughly ({low} to {high})." in report


def test_other_metrics_are_exploratory(tmp_path: Path) -> None:
    statistics = _statistics(_filled(tmp_path, make_sweep(GRID, 3), _linear))
    found = _claim(statistics, R2, "dim", family="exploratory")
    assert not found["confirmatory"]
    assert found["status"] == "untestable"
    assert "every seed gave the same number" in found["reason"]


def test_a_seed_that_lacks_a_cell_counts_with_those_it_has_and_the_claim_is_stamped(tmp_path: Path) -> None:
    directory = Directory(tmp_path, make_sweep({"dim": [4, 8]}, 4, primary=[R2]))
    values = {4: [0.1, 0.3, 0.2, 0.4], 8: [0.5, 0.9, 0.8]}
    for cell in directory.sweep.grid:
        if cell.name == "dim_8_run_3":
            directory.fail(cell, "killed")
        else:
            directory.finish(cell, {R2: values[int(cell.factors["dim"])][cell.run_id]})
    found = _claim(_statistics(directory), R2, "dim")
    assert (found["seeds"], found["complete_seeds"], found["planned_seeds"]) == (4, 3, 4)
    assert found["estimate"] == pytest.approx(np.mean(values[8]) - np.mean(values[4]))
    assert "3 of 4 seeds have every condition" in found["reason"]
    # The failed cell takes the lowest value seen, 0: guessing, which is worse than any.
    assert found["failed_as_worst"]["cells"] == 1
    assert found["failed_as_worst"]["estimate"] == pytest.approx(np.mean([*values[8], 0.0]) - np.mean(values[4]))


def test_a_claim_that_does_not_hold_with_failures_as_worst_is_withheld_and_says_why(tmp_path: Path) -> None:
    directory = Directory(tmp_path, make_sweep({"dim": [4, 8]}, 6, primary=[R2]))
    for cell in directory.sweep.grid:
        wide = cell.factors["dim"] == 8
        if wide and cell.run_id > 3:
            directory.finish(cell, {R2: None}, status="DIVERGED")
        else:
            directory.finish(cell, {R2: 0.5 + 0.1 * wide + 0.01 * cell.run_id * (1 + wide)})
    found = _claim(_statistics(directory), R2, "dim")
    assert found["adjusted"] <= 0.05 < found["failed_as_worst"]["p"]
    assert found["status"] == "withheld"
    assert "does not hold if the 2 failed cells had the worst value seen" in found["reason"]


def test_a_level_that_always_diverges_is_left_out_and_said_and_costs_no_claim(tmp_path: Path) -> None:
    directory = Directory(tmp_path, make_sweep({"dim": [4, 8, 16], "scale": [0.5, 1.0]}, 4, primary=[R2]))
    for cell in directory.sweep.grid:
        if cell.factors["scale"] == 1.0 or cell.factors["dim"] == 16:
            directory.finish(cell, {R2: None}, status="DIVERGED")
        else:
            directory.finish(cell, {R2: float(cell.factors["dim"]) + 0.1 * cell.run_id})
    found = _claim(_statistics(directory), R2, "dim")
    assert found["levels"] == [4, 8]
    assert found["estimate"] == pytest.approx(4.0)
    assert "workspace dimension 16 is left out: fewer than two of its runs have a result" in found["reason"]
    assert "synergy loss scale 1 is left out" in found["reason"]


def test_there_is_no_verdict_while_cells_have_not_run(tmp_path: Path) -> None:
    directory = Directory(tmp_path, make_sweep({"dim": [4, 8]}, 4, primary=[LOSS]))
    for cell in directory.sweep.grid:
        if cell.run_id < 3:
            directory.finish(cell, _noise(cell))
    found = _claim(_statistics(directory), LOSS, "dim")
    assert found["seeds"] == 3
    assert found["failed_as_worst"] is None
    assert found["status"] == "withheld"
    assert "2 cells of it have not run yet" in found["reason"]


def _noise(cell: Cell) -> dict[str, float | None]:
    random = np.random.default_rng([cell.seed, zlib.crc32(cell.condition.encode())])
    return {LOSS: float(random.random()), ACCURACY: float(random.random()), R2: float(random.random())}


def test_scale_zero_is_left_out_of_the_slope_and_said(tmp_path: Path) -> None:
    def metrics(cell: Cell) -> dict[str, float | None]:
        scale = float(cell.factors["scale"])
        return {LOSS: 9.0 if scale == 0 else float(np.exp((0.1 + 0.01 * cell.run_id) * np.log2(scale)))}

    sweep = make_sweep({"scale": [0.0, 0.5, 1.0, 2.0]}, 3, primary=[LOSS])
    found = _claim(_statistics(_filled(tmp_path, sweep, metrics)), LOSS, "scale")
    assert found["estimate"] == pytest.approx(0.11)
    assert "scale 0 has no logarithm" in found["reason"]


def test_a_trainers_own_factors_get_contrasts_that_suit_them(tmp_path: Path) -> None:
    factors = {"rate": {"kind": "real"}, "optimizer": {"kind": "word"}, "size": {"kind": "word", "ordered": True}}
    trainer = DeclaredTrainer("t.py:train", "", factors, {"m": {"kind": "real", "better": "lower"}})
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
    assert {tuple(c["factors"]) for c in statistics["claims"]["family"]} == {("rate",), ("size",)}


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
        expected = scipy.stats.ttest_rel(np.log(seeds[dim]), np.log(seeds[16]))
        entry = found["conditions"][f"dim_{dim}"]
        assert entry["p"] == pytest.approx(expected.pvalue)
        assert (entry["ci_lower"], entry["ci_upper"]) == pytest.approx(tuple(expected.confidence_interval()))
        u = scipy.stats.mannwhitneyu(seeds[dim], seeds[16]).statistic
        assert entry["probability_of_improvement"] == pytest.approx(1 - u / 25)
        low, high = (entry[f"probability_of_improvement_{end}"] for end in ("low", "high"))
        assert 0 <= low < entry["probability_of_improvement"] < high <= 1
        difference = np.array(seeds[dim]) - np.array(seeds[16])
        near = (0.5 - abs(difference.mean())) / (difference.std(ddof=1) / np.sqrt(5))
        assert entry["equivalence_p"] == pytest.approx(scipy.stats.t.sf(near, 4))


def test_two_words_are_compared_by_seed_within_each_combination_of_the_others(tmp_path: Path) -> None:
    factors = {"method": {"kind": "word"}, "size": {"kind": "integer"}}
    trainer = DeclaredTrainer("t.py:train", "", factors, {"m": {"kind": "real", "better": "higher"}})
    random = np.random.default_rng(2)
    axes: dict[str, Sequence[int | float | str]] = {"method": ["base", "other", "ours"], "size": [1, 2]}
    sweep = make_sweep(axes, 6, trainer, ["m"])
    values = {cell.name: random.normal(2.0 * (cell.factors["method"] == "ours"), 0.5) for cell in sweep.grid}
    tests = [{"metric": "m", "compare": {"method": ["ours", "base"]}}]
    directory = _filled(tmp_path, sweep, lambda cell: {"m": values[cell.name]}, tests=tests)
    (found,) = _statistics(directory)["claims"]["family"]
    table = {
        (m, s): np.array([values[f"method_{m}_size_{s}_run_{run}"] for run in range(6)])
        for m in ("ours", "base")
        for s in (1, 2)
    }
    difference = np.mean([table["ours", s] - table["base", s] for s in (1, 2)], axis=0)
    expected = scipy.stats.ttest_1samp(difference, 0)
    assert (found["estimate"], found["p"]) == pytest.approx((difference.mean(), expected.pvalue))
    u = np.mean([scipy.stats.mannwhitneyu(table["ours", s], table["base", s]).statistic / 36 for s in (1, 2)])
    assert found["probability_of_improvement"]["estimate"] == pytest.approx(u)
    assert found["probability_of_improvement"]["low"] < u
    assert [entry["where"] for entry in found["combinations"]] == ["size 1", "size 2"]
    assert (
        "On average over size 1 and 2: method ours does better than base in m, within 3 epochs of training."
        in directory.store.paths.report_file.read_text()
    )


# Information is 1 - loss / 2 and (accuracy - 0.2) / 0.8.
RETENTION = {"kept": LOSS, "other": ACCURACY, "factor": "dim", "kept_chance": 2.0, "other_chance": 0.2}
KEPT, OTHER = {4: 0.6, 8: 0.9, 16: 1.0}, {4: 0.1, 8: 0.7, 16: 1.0}


def _informed(cell: Cell, kept: dict[int, float] = KEPT, other: dict[int, float] = OTHER) -> dict[str, float | None]:
    """0.8 and 0.9 are learnt at the widest level; a thousandth of noise makes seeds differ."""
    dim, wobble = int(cell.factors["dim"]), 0.001 * float(np.random.default_rng([cell.seed, 7]).normal())
    left, rest = 0.8 * kept[dim] + wobble * dim, 0.9 * other[dim] - wobble * dim
    return {LOSS: 2 * (1 - left), ACCURACY: 0.2 + 0.8 * rest}


def _retention(directory: Directory) -> dict[str, Any]:
    return dict(next(c for c in _statistics(directory)["claims"]["family"] if c["kind"] == "retention"))


def _with_hypothesis(root: Path, metrics: Metrics, seeds: int = 5, **axes: Sequence[float]) -> Directory:
    sweep = make_sweep({"dim": [4, 8, 16], **axes}, seeds, primary=[LOSS])
    return _filled(root, sweep, metrics, tests=[{"retention": RETENTION}])


def test_retention_is_the_mean_over_narrower_levels_of_the_difference_of_shares(tmp_path: Path) -> None:
    directory = _with_hypothesis(tmp_path, _informed)
    found = _retention(directory)
    assert found["estimate"] == pytest.approx(np.mean([0.6 - 0.1, 0.9 - 0.7]), abs=0.01)
    shares = []
    for seed in directory.sweep.grid.seeds:
        values = {c.factors["dim"]: _informed(c) for c in directory.sweep.grid if c.seed == seed}
        kept = {dim: 1 - float(v[LOSS] or 0) / 2 for dim, v in values.items()}
        other = {dim: (float(v[ACCURACY] or 0) - 0.2) / 0.8 for dim, v in values.items()}
        shares.append(np.mean([kept[d] / kept[16] - other[d] / other[16] for d in (4, 8)]))
    assert found["per_seed"] == pytest.approx(shares)
    assert (found["status"], found["levels"]) == ("shown", [4, 8, 16])
    assert (
        "Yes, a larger share of best validation loss is retained than of synergy accuracy"
        in directory.store.paths.report_file.read_text()
    )


def test_what_is_lost_first_is_a_no(tmp_path: Path) -> None:
    directory = _with_hypothesis(tmp_path, lambda cell: _informed(cell, OTHER, KEPT))
    assert _retention(directory)["estimate"] < 0
    assert (
        "No, the reverse: a larger share of synergy accuracy is retained than of best validation loss"
        in directory.store.paths.report_file.read_text()
    )


def test_what_was_not_learnt_at_the_widest_level_is_withheld_there_and_left_out_of_the_average(tmp_path: Path) -> None:
    def metrics(cell: Cell) -> dict[str, float | None]:
        found = _informed(cell)
        return found | {ACCURACY: 0.2 + 0.01 * (cell.run_id - 2)} if cell.factors["scale"] == 2.0 else found

    directory = _with_hypothesis(tmp_path / "one", metrics, scale=[0.5, 2.0])
    found = _retention(directory)
    learnt, not_learnt = found["combinations"]
    assert found["estimate"] == pytest.approx(learnt["estimate"])
    assert not_learnt["estimate"] is None
    # Information is 0.0125 times -2, -1, 0, 1 and 2: t of 4 degrees of freedom times its standard error is 0.02454.
    why = (
        "even at workspace dimension 16, the information on synergy accuracy is -0.02 to 0.02 over seeds "
        "(95 % interval [-0.02, 0.02])"
    )
    assert not_learnt["reason"] == f"{why}, not reliably above 0, the level of guessing"
    report = directory.store.paths.report_file.read_text()
    rule = "by Holdfast&#39;s own rule, which is the same for every sweep: both must be learnt at the widest level"
    assert f"Synergy loss scale 2 is left out {rule}, where the interval over seeds for the information on" in report
    assert f'<td class="detail">{why}' in report
    assert '<td class="word">synergy loss scale 0.5; left out: synergy loss scale 2</td>' in report
    none = _retention(_with_hypothesis(tmp_path / "none", metrics, scale=[2.0]))
    assert none["status"] == "withheld"
    assert "what was not learnt cannot be lost" in none["reason"]


def test_combinations_that_differ_in_sign_are_told_one_by_one(tmp_path: Path) -> None:
    def metrics(cell: Cell) -> dict[str, float | None]:
        return _informed(cell, OTHER, KEPT) if cell.factors["scale"] == 0.5 else _informed(cell)

    directory = _with_hypothesis(tmp_path, metrics, scale=[0.5, 2.0])
    low, high = _retention(directory)["combinations"]
    assert low["estimate"] < 0 < high["estimate"]
    report = directory.store.paths.report_file.read_text()
    first = re.search(r"<article(.*?)</article>", report, re.DOTALL)
    assert first is not None
    # The verdict is about the average and comes first; then, as a description, which way it goes where.
    parts = (
        r"on average over synergy loss scale 0\.5 and 2, where the estimates differ in sign",
        r"synergy loss scale 0\.5</th>\s*<td class=\"said\">-3[\d.]+ percentage points \[[^]]*\]",
        r"synergy loss scale 2</th>\s*<td class=\"said\">\+3[\d.]+ percentage points \[[^]]*\]",
        r"By synergy loss scale, described after the fact \(that synergy loss scale matters to it was not declared and "
        r"is not tested\): estimated in favour of synergy accuracy at synergy loss scale 0\.5; estimated in favour of "
        r"best validation loss at synergy loss scale 2\.",
    )
    assert re.search(".*?".join(parts), first[1], re.DOTALL | re.IGNORECASE)


def test_a_retention_says_what_it_counts_and_in_which_unit(tmp_path: Path) -> None:
    directory = _with_hypothesis(tmp_path, _informed)
    _retention(directory)
    report = directory.store.paths.report_file.read_text()
    assert "<dt>information</dt><dd>1 - (best validation loss) / 2 for best validation loss and ((synergy acc" in report
    assert re.search(r"information at workspace dimension 16: 0\.\d\d to 0\.\d\d for best validation loss and", report)
    assert '<td class="word">percentage points of the information at workspace dimension 16</td>' in report


def test_a_named_hypothesis_says_what_it_predicts_and_what_its_kinds_of_information_are_read_from(
    tmp_path: Path,
) -> None:
    named = RETENTION | {"name": "width hypothesis", "kept_name": "detail"}
    sweep = make_sweep({"dim": [4, 8, 16]}, 5, primary=[LOSS])
    directory = _filled(tmp_path, sweep, _informed, tests=[{"retention": named}])
    assert _retention(directory)["status"] == "shown"
    report = directory.store.paths.report_file.read_text()
    asked = "Width hypothesis (predicts yes): as workspace dimension narrows from 16 to 4, is a larger share of detail"
    assert f'<p class="asked">{asked} retained than of synergy accuracy, within 3 epochs of training?</p>' in report
    assert '<p class="names soft">Detail: read from best validation loss.</p>' in report
    assert '<td class="word">retention, detail minus synergy accuracy: over workspace dimension</td>' in report
    answer = (
        r'<p class="answer">Detected: a larger share of detail is retained\. Averaged over workspace dimension 4 and '
    )
    answer += r"8, the shares retained \(detail minus synergy accuracy\) differ by \+[\d.]+ percentage points \(95 % "
    answer += r"interval \[[^]]*\]\), counted in shares \(no other unit was checked\)\.</p>"
    assert re.search(answer, report)
    assert "<dt>detail</dt><dd>information on it is read from best validation loss: " in report
    assert "what the trained model decodes: 0 may mean lost, or not yet learnt to decode" in report
    assert "each run is trained from scratch, and nothing is removed from a trained one" in report


def _counted_in_nats(
    root: Path, kept: dict[int, float], other: dict[int, float], errors: tuple[str, str] = ("cross entropy", "squared")
) -> Directory:
    """errors: what the two metrics are declared as. Of the other, 0.99 of the variance is explained at dimension 16."""
    kinds = dict(zip((LOSS, R2), errors, strict=True))
    metrics = {name: entry | ({"error": kinds[name]} if kinds.get(name) else {}) for name, entry in METRICS.items()}
    sweep = make_sweep({"dim": [4, 8, 16]}, 5, replace(BUILT_IN_LIKE, metrics=metrics), primary=[LOSS])

    asked = {"kept": LOSS, "other": R2, "factor": "dim", "kept_chance": 2.0, "other_chance": 0.0}
    return _filled(root, sweep, lambda cell: {**_losing(cell, kept, other)}, tests=[{"retention": asked}])


def _losing(cell: Cell, kept: dict[int, float], other: dict[int, float]) -> dict[str, float]:
    dim, wobble = int(cell.factors["dim"]), 0.002 * float(np.random.default_rng([cell.seed, 7]).normal())
    return {LOSS: 2 * (1 - 0.8 * kept[dim] - wobble), R2: 0.99 * other[dim] - wobble / 10}


# Shares 0.7 and 0.9 of 0.99 of the variance are a quarter and a half of its nats; 0.6 lies between.
BETWEEN, SHARES = {4: 0.6, 8: 0.6, 16: 1.0}, {4: 0.7, 8: 0.9, 16: 1.0}


def test_a_retention_whose_sign_is_another_in_nats_has_no_verdict_and_both_answers_are_given(tmp_path: Path) -> None:
    directory = _counted_in_nats(tmp_path, BETWEEN, SHARES)
    found = _retention(directory)
    assert (found["status"], found["reason"]) == ("withheld", SCALES_DISAGREE)
    assert found["estimate"] < 0 < found["in_nats"]["low"]
    shares = []
    for seed in directory.sweep.grid.seeds:
        rows = {c.factors["dim"]: _losing(c, BETWEEN, SHARES) for c in directory.sweep.grid if c.seed == seed}
        kept = {dim: 2.0 - row[LOSS] for dim, row in rows.items()}
        other = {dim: 0.5 * np.log(1 / (1 - row[R2])) for dim, row in rows.items()}
        shares.append(np.mean([kept[d] / kept[16] - other[d] / other[16] for d in (4, 8)]))
    expected = scipy.stats.ttest_1samp(shares, 0)
    assert (found["in_nats"]["estimate"], found["in_nats"]["p"]) == pytest.approx((np.mean(shares), expected.pvalue))
    interval = expected.confidence_interval()
    assert (found["in_nats"]["low"], found["in_nats"]["high"]) == pytest.approx((interval.low, interval.high))
    report = directory.store.paths.report_file.read_text()
    number = r"[\d.]+ percentage points \(95 % interval \[[^]]*\]"
    answers = (
        r'<p class="answer">No verdict: the unit of information decides\. Averaged over workspace dimension 4 and 8, '
    )
    answers += r"the shares retained \(best validation loss minus unique features, R2\) differ by "
    answers += rf"-20{number}\) counted as a share of the error of guessing and \+2{number}, uncorrected\) counted in "
    answers += r"nats \(logarithmic\)\.</p>"
    assert re.search(answers, report)
    beside = (
        "in shares, the interval is in favour of unique features, R2; in nats, the interval is in favour of best "
        "validation loss."
    )
    assert beside in report
    told = (
        r"60 % \(from \d+ % to \d+ % by condition\) of the information on best validation loss at workspace dimension "
    )
    told += r"16 is retained and 80 % \(from \d+ % to \d+ % by condition\) of that on "
    told += (
        r"unique features, R2: -20[\d.]* percentage points .*? In nats: 60 % and 3\d %, \+2[\d.]+ percentage points \["
    )
    assert re.search(told, report)
    assert "uncorrected" in report


def test_where_the_unit_decides_the_average_alone_the_headline_says_that_the_combinations_differ_in_sign(
    tmp_path: Path,
) -> None:
    """In neither combination does the sign depend on the unit: what the unit weighs is their average."""
    kinds = {LOSS: "cross entropy", R2: "squared"}
    metrics = {name: entry | ({"error": kinds[name]} if name in kinds else {}) for name, entry in METRICS.items()}
    sweep = make_sweep(
        {"dim": [8, 16], "scale": [0.5, 2.0]}, 5, replace(BUILT_IN_LIKE, metrics=metrics), primary=[LOSS]
    )
    asked = {"kept": LOSS, "other": R2, "factor": "dim", "kept_chance": 2.0, "other_chance": 0.0}
    kept, other = {0.5: 0.6, 2.0: 0.9}, {0.5: 0.95, 2.0: 0.7}

    def values(cell: Cell) -> dict[str, float | None]:
        scale = float(cell.factors["scale"])
        return _losing(cell, {8: kept[scale], 16: 1.0}, {8: other[scale], 16: 1.0})

    directory = _filled(tmp_path, sweep, values, tests=[{"retention": asked}])
    found = _retention(directory)
    assert (found["status"], found["reason"]) == ("withheld", SCALES_DISAGREE)
    for piece in found["combinations"]:
        assert piece["estimate"] * piece["in_nats"] > 0
        assert piece["in_nats_low"] < piece["in_nats"] < piece["in_nats_high"]
    report = directory.store.paths.report_file.read_text()
    beside = (
        "on average over synergy loss scale 0.5 and 2, where the estimates differ in sign: in shares, the interval "
        "is in favour of unique features, R2; in nats, the interval is in favour of best validation loss."
    )
    assert beside in report
    one_sided = (
        "never less in favour of best validation loss than in shares, as long as the information on unique features"
    )
    assert one_sided in report
    taken = "can overturn a &#34;no&#34; or a &#34;not detected&#34;, but hardly ever a &#34;yes&#34;."
    assert f"the check in nats {taken}" in report
    assert "In nats: the estimate if information is counted in nats, with an uncorrected p" in report
    assert "failed as worst" not in report.lower()
    low, high = (found["combinations"][0][f"in_nats_{end}"] for end in ("low", "high"))
    assert ("in nats, the interval at synergy loss scale 0.5 includes 0" in report) == (low < 0 < high)
    assert "counted in nats, +6" in report


def test_what_a_retention_would_be_without_a_seed_that_lies_apart_is_said_in_both_units(tmp_path: Path) -> None:
    kinds = {LOSS: "cross entropy", R2: "squared"}
    metrics = {name: entry | ({"error": kinds[name]} if name in kinds else {}) for name, entry in METRICS.items()}
    sweep = make_sweep({"dim": [4, 8, 16]}, 5, replace(BUILT_IN_LIKE, metrics=metrics), primary=[LOSS])
    asked = {"kept": LOSS, "other": R2, "factor": "dim", "kept_chance": 2.0, "other_chance": 0.0}

    def values(cell: Cell) -> dict[str, float | None]:
        lost = {LOSS: 2.0} if cell.name == "dim_8_run_2" else {}
        return _losing(cell, BETWEEN, SHARES) | lost

    directory = _filled(tmp_path, sweep, values, tests=[{"retention": asked}])
    found = _retention(directory)
    expected = []
    for seed in (42, 43, 45, 46):
        rows = {c.factors["dim"]: _losing(c, BETWEEN, SHARES) for c in sweep.grid if c.seed == seed}
        kept = {dim: 2.0 - row[LOSS] for dim, row in rows.items()}
        other = {dim: -np.log(1 - row[R2]) for dim, row in rows.items()}
        expected.append(np.mean([kept[d] / kept[16] - other[d] / other[16] for d in (4, 8)]))
    report = directory.store.paths.report_file.read_text()
    told = re.search(
        r"without seed 44 the estimate would be (\S+) percentage points \[(\S+), (\S+)\] instead of (\S+) \[(\S+), "
        r"(\S+)\], in nats (\S+) \[(\S+), (\S+)\] instead of (\S+) \[(\S+), (\S+)\] \(described; nothing is removed\)",
        report,
    )
    assert told is not None
    numbers: list[float] = []
    for own in (np.delete(found["per_seed"], 2), expected):
        interval = scipy.stats.ttest_1samp(own, 0).confidence_interval(0.95)
        now = found if len(numbers) == 0 else found["in_nats"]
        numbers += [np.mean(own), *interval, now["estimate"], now["low"], now["high"]]
    assert [float(number) for number in told.groups()] == pytest.approx([100 * n for n in numbers], abs=0.51)
    everyone = [_in_both_units(sweep, values, seed) for seed in sweep.grid.seeds]
    p = [
        scipy.stats.permutation_test((own,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
        for own in zip(*everyone, strict=True)
    ]
    signs = re.search(r"not normality, gives p = ([\d.]+)[^;<]*; in nats, p = ([\d.]+)", report)
    assert signs is not None
    assert [float(number) for number in signs.groups()] == pytest.approx(p, abs=0.006)


def _in_both_units(sweep: Sweep, values: Metrics, seed: int) -> tuple[float, float]:
    """What one seed says of a retention from dimension 16 to 8 and 4: in shares, and in nats."""
    rows = {c.factors["dim"]: values(c) for c in sweep.grid if c.seed == seed}
    kept = {dim: 2.0 - float(row[LOSS] or 0) for dim, row in rows.items()}
    r2 = {dim: float(row[R2] or 0) for dim, row in rows.items()}
    nats = {dim: -np.log(1 - value) for dim, value in r2.items()}
    shares, in_nats = (
        float(np.mean([kept[d] / kept[16] - other[d] / other[16] for d in (4, 8)])) for other in (r2, nats)
    )
    return shares, in_nats


def test_a_step_of_noise_against_a_slope_is_not_called_one(tmp_path: Path) -> None:
    last = dict(zip(range(42, 47), [-0.01, 0.005, -0.004, 0.006, -0.002], strict=True))

    def metrics(cell: Cell) -> dict[str, float | None]:
        own = last[cell.seed] if cell.factors["dim"] == 16 else 0.0
        return {R2: {4: 0.2, 8: 0.7, 16: 0.7}[int(cell.factors["dim"])] + own + 0.001 * cell.run_id}

    sweep = make_sweep({"dim": [4, 8, 16]}, 5, primary=[R2])
    directory = _filled(tmp_path, sweep, metrics, tests=[{"metric": R2, "slope": "dim"}])
    assert _claim(_statistics(directory), R2, "dim")["status"] == "shown"
    assert "at every step" not in directory.store.paths.report_file.read_text()


@pytest.mark.parametrize("errors", [("cross entropy", "squared"), ("squared", "cross entropy"), ("squared", "squared")])
def test_which_verdict_the_second_unit_can_take_away_is_what_the_numbers_show(
    tmp_path: Path, errors: tuple[str, str]
) -> None:
    """Only one side's unit changes: the difference moves its way in every seed, and the page says which way that is."""
    directory = _counted_in_nats(tmp_path, SHARES, SHARES, errors)
    found = _retention(directory)
    report = directory.store.paths.report_file.read_text()
    moved = found["in_nats"]["estimate"] - found["estimate"]
    if errors == ("squared", "squared"):
        assert "never less in favour of" not in report
        return
    kept, other = "best validation loss", "unique features, R2"
    assert f"never less in favour of {kept if errors[1] == 'squared' else other} than in shares" in report
    assert (moved > 0) == (errors[1] == "squared")


def test_what_is_nothing_as_shares_and_something_in_nats_is_not_called_undetected(tmp_path: Path) -> None:
    found = _retention(_counted_in_nats(tmp_path, SHARES, SHARES))
    assert found["in_nats"]["low"] > 0
    assert found["status"] == "withheld"


def test_a_retention_that_both_scales_agree_on_is_shown(tmp_path: Path) -> None:
    found = _retention(_counted_in_nats(tmp_path, SHARES, BETWEEN))
    assert (found["status"], found["estimate"] > 0, found["in_nats"]["estimate"] > 0) == ("shown", True, True)


@pytest.mark.parametrize("errors", [("cross entropy", ""), ("cross entropy", "cross entropy")])
def test_nothing_is_counted_in_nats_where_the_kind_of_error_is_unknown_or_nats_already(
    tmp_path: Path, errors: tuple[str, str]
) -> None:
    directory = _counted_in_nats(tmp_path, BETWEEN, SHARES, errors)
    assert _retention(directory)["in_nats"] is None
    report = directory.store.paths.report_file.read_text()
    assert ("does not declare which kind of `error`" in report) == ("" in errors)
    # Beside the question and in the verdict, which may be all that is read.
    assert report.count("counted in shares (no other unit was checked)") == 2 * ("" in errors)


def test_a_retention_that_is_not_detected_says_so_too_where_no_other_unit_was_checked(tmp_path: Path) -> None:
    def alike(cell: Cell) -> dict[str, float | None]:
        noise = np.random.default_rng([cell.seed, int(cell.factors["dim"])]).normal(0, 0.01, 2)
        return {LOSS: 0.4 + float(noise[0]), ACCURACY: 0.8 + float(noise[1])}

    directory = _with_hypothesis(tmp_path, alike)
    assert _retention(directory)["status"] == "not shown"
    report = directory.store.paths.report_file.read_text()
    assert "not detected, counted in shares (no other unit was checked)." in report
    assert report.count("counted in shares (no other unit was checked)") == 2


def _mostly_at_chance(root: Path, last: float) -> str:
    """The report of a sweep whose runs at dimension 4 are at chance but for the third; last: accuracy of the fifth."""

    def metrics(cell: Cell) -> dict[str, float | None]:
        noise = 0.001 * float(np.random.default_rng([cell.seed, int(cell.factors["dim"])]).normal())
        low = last if cell.run_id == 4 else 0.125
        return {ACCURACY: (0.9 if cell.run_id == 2 or cell.factors["dim"] == 8 else low) + noise}

    sweep = make_sweep({"dim": [4, 8]}, 5, primary=[ACCURACY])
    directory = _filled(root, sweep, metrics, tests=[{"metric": ACCURACY, "slope": "dim"}])
    _statistics(directory)
    return directory.store.paths.report_file.read_text()


@pytest.mark.parametrize(("last", "counted"), [(0.16, 4), (0.18, 3)])
def test_runs_at_chance_are_counted_at_the_claim_and_in_the_table(tmp_path: Path, last: float, counted: int) -> None:
    """Accuracy goes from 0.125 to 1, so that 0.16 is less than 5 % of the way and 0.18 is more."""
    report = _mostly_at_chance(tmp_path, last)
    told = f"{counted} of 10 runs are at chance, less than 5 % of the way from guessing (0.125) to perfect"
    assert f"<li>synergy accuracy: {told}: {counted} of 5 at workspace dimension 4</li>" in report
    row = re.search(r"<tr><td>4</td><td>[^<]*</td><td>([^<]*)</td>", report)
    assert row is not None
    assert row[1] == f"{counted} of 5"


def test_the_one_run_that_left_chance_is_not_told_as_an_outlier_among_the_others(tmp_path: Path) -> None:
    report = _mostly_at_chance(tmp_path, 0.125)
    assert "seed 44 at workspace dimension 4 (the only one there above chance) lies far" in report


def test_a_slope_is_told_by_combination_and_with_the_steps_that_go_the_other_way(tmp_path: Path) -> None:
    def metrics(cell: Cell) -> dict[str, float | None]:
        rise = {4: 0.2, 8: 0.5, 16: 0.7 - 0.3 * (cell.factors["scale"] == 2.0)}[int(cell.factors["dim"])]
        return {R2: rise + 0.001 * float(np.random.default_rng([cell.seed, 5]).normal()) * float(cell.factors["dim"])}

    sweep = make_sweep({"dim": [4, 8, 16], "scale": [0.5, 2.0]}, 5, primary=[R2])
    directory = _filled(tmp_path, sweep, metrics, tests=[{"metric": R2, "slope": "dim"}])
    assert _claim(_statistics(directory), R2, "dim")["status"] == "shown"
    report = directory.store.paths.report_file.read_text()
    assert "unique features, R2 rises with workspace dimension, within 3 epochs of training." in report
    answer = (
        r'<p class="answer">Detected: on average over synergy loss scale 0\.5 and 2, rises from 0\.2\d* at workspace '
        r"dimension 4 to 0\.5\d* at 16 \(0\.4\d* to 0\.7\d* by combination\)[^<]*; slope \+0\.18"
    )
    answer += r"\d* per doubling of workspace dimension \(95 % interval \[[^]]*\]\)\.</p>"
    assert re.search(answer, report)
    assert re.search(r"synergy loss scale 0\.5</th>\s*<td class=\"said\">\+0\.2\d+ \[[^]]*\]</td>", report)
    assert re.search(
        r"By synergy loss scale, described after the fact \([^)]*tested\): estimated positive at synergy loss scale "
        r"0\.5 and 2\.",
        report,
    )
    assert "The sign of the slope is the same in all 5 seeds, and so is that of each combination." in report
    assert "Most of the change is a step rather than a slope: from 4 to 8 at synergy loss scale 2." in report
    assert re.search(
        r"The mean does not rise at every step: it falls from 8 to 16 at synergy loss scale 2, by 0\.\d+ \(95 % "
        r"interval of the change \[-[^]]*\], not corrected for the 4 steps looked at\)\. Described, not tested\.",
        report,
    )


def _by_scale(root: Path, rise: float, signs: dict[float, float]) -> tuple[dict[str, Any], Directory]:
    """The claim and the directory of a sweep whose slopes differ by seed, with another sign at each scale."""
    own = dict(zip(range(42, 47), [0.03, -0.02, 0.01, -0.04, 0.02], strict=True))

    def metrics(cell: Cell) -> dict[str, float | None]:
        scale, doublings = float(cell.factors["scale"]), float(np.log2(float(cell.factors["dim"])))
        noise = 0.001 * float(np.random.default_rng([cell.seed, int(10 * scale), int(doublings)]).normal())
        return {R2: (rise + signs[scale] * own[cell.seed]) * doublings + noise}

    sweep = make_sweep({"dim": [4, 8, 16], "scale": list(signs)}, 5, primary=[R2])
    directory = _filled(root, sweep, metrics, tests=[{"metric": R2, "slope": "dim"}])
    return _claim(_statistics(directory), R2, "dim"), directory


def test_the_sign_of_a_combination_is_never_told_without_what_its_interval_says_of_it(tmp_path: Path) -> None:
    found, directory = _by_scale(tmp_path, 0.035, {0.5: 1.0, 1.0: 0.2})
    assert found["status"] == "shown"
    first, second = found["combinations"]
    assert first["low"] < 0 < first["estimate"] < first["high"]
    assert second["low"] > 0
    report = directory.store.paths.report_file.read_text()
    told = "estimated positive at synergy loss scale 0.5 and 1; the interval at synergy loss scale 0.5 includes 0."
    assert told in report
    assert (
        "The average slope has the sign of the estimate in 5 of 5 seeds; "
        "each combination has it in 4 to 5 of the 5 seeds."
    ) in report


def test_beside_a_clear_step_against_a_slope_one_that_may_be_noise_is_named_as_such(tmp_path: Path) -> None:
    falls = {0.5: 0.05, 2.0: 0.005}

    def metrics(cell: Cell) -> dict[str, float | None]:
        scale, dim = float(cell.factors["scale"]), int(cell.factors["dim"])
        noise = 0.01 * float(np.random.default_rng([cell.seed, dim, int(10 * scale)]).normal())
        return {R2: {4: 0.2, 8: 0.8, 16: 0.8 - falls[scale]}[dim] + noise * (dim == 16)}

    sweep = make_sweep({"dim": [4, 8, 16], "scale": list(falls)}, 5, primary=[R2])
    directory = _filled(tmp_path, sweep, metrics, tests=[{"metric": R2, "slope": "dim"}])
    assert _claim(_statistics(directory), R2, "dim")["status"] == "shown"
    assert re.search(
        r"it falls from 8 to 16 at synergy loss scale 0\.5, by 0\.0\d+ \(95 % interval of the change \[-[^]]*\], not "
        r"corrected for the 4 steps looked at\); from 8 to 16 at synergy loss scale 2, by 0\.0\d+ \(\[-[^]]*\+[^]]*\], "
        r"includes 0\)\. Described",
        directory.store.paths.report_file.read_text(),
    )


@pytest.mark.parametrize(
    ("rise", "told"), [(0.2, "would still leave out 0"), (0.01, "would include 0, so the verdict")]
)
def test_an_interval_that_is_narrow_because_errors_cancel_says_what_it_would_be_otherwise(
    tmp_path: Path, rise: float, told: str
) -> None:
    found, directory = _by_scale(tmp_path, rise, {0.5: 1.0, 1.0: -1.0})
    report = directory.store.paths.report_file.read_text()
    assert found["status"] == "shown"  # the declared average is paired by seed, and its test holds
    slopes = np.array([_slopes(directory, scale) for scale in (0.5, 1.0)])
    own = slopes.var(axis=1, ddof=1) / 5
    freedom = own.sum() ** 2 / (own**2 / 4).sum()
    half = scipy.stats.t.ppf(0.975, freedom) * np.sqrt(own.sum()) / 2
    expected = {"low": slopes.mean() - half, "high": slopes.mean() + half, "degrees_of_freedom": freedom}
    assert found["if_unrelated"] == pytest.approx(expected)
    assert found["low"] > expected["low"]
    said = rf"within seeds\. Were they unrelated, it would be \[(\S+), (\S+)\] and {told}"
    ends = re.search(f"because the combinations&#39; errors cancel {said}", report)
    assert ends is not None
    assert [float(end) for end in ends.groups()] == pytest.approx([expected["low"], expected["high"]], rel=0.05)
    assert "with 5 seeds, unrelated errors seem to cancel as much in up to" in report


def _slopes(directory: Directory, scale: float) -> list[float]:
    """Of every seed, from its results."""
    cells = [cell for cell in directory.sweep.grid if cell.factors["scale"] == scale]
    files = {(cell.run_id, cell.factors["dim"]): directory.store.paths.result_file(cell) for cell in cells}
    values = {key: json.loads(file.read_bytes())["metrics"][R2] for key, file in files.items()}
    return [scipy.stats.linregress([2, 3, 4], [values[run, dim] for dim in (4, 8, 16)]).slope for run in range(5)]


def test_of_errors_that_do_not_cancel_nothing_is_said(tmp_path: Path) -> None:
    found, directory = _by_scale(tmp_path, 0.2, {0.5: 1.0, 1.0: 1.0})
    assert found["if_unrelated"] is None
    assert "cancel within seeds" not in directory.store.paths.report_file.read_text()


def test_what_a_weight_multiplies_is_neither_tested_nor_compared_over_that_weight(tmp_path: Path) -> None:
    scaled = {**METRICS, "val_loss": METRICS["val_loss"] | {"scaled_by": "scale"}}
    trainer = replace(BUILT_IN_LIKE, metrics=scaled)
    sweep = make_sweep({"dim": [4, 8], "scale": [0.5, 1.0]}, 4, trainer, ["val_loss"])
    random = np.random.default_rng(4)
    directory = _filled(
        tmp_path,
        sweep,
        lambda cell: {"val_loss": float(cell.factors["scale"] + 0.1 * random.random()), R2: random.random()},
        tests=[],
        reference={"dim": 8, "scale": 1.0},
    )
    statistics = _statistics(directory)
    explored = {(claim["metric"], claim["factors"][0]) for claim in statistics["claims"]["exploratory"]}
    assert explored == {("val_loss", "dim"), (R2, "dim"), (R2, "scale")}
    report = directory.store.paths.report_file.read_text()
    assert "Left out: validation loss over synergy loss scale, which multiplies a term of it." in report
    compared = statistics["comparisons"]["val_loss"]["conditions"]
    assert {name for name, row in compared.items() if row["p"] is not None} == {"dim_4_scale_1.0"}
    assert "another weight than the reference are left out" in report


def test_two_names_of_the_same_numbers_are_explored_once(tmp_path: Path) -> None:
    directory = _filled(tmp_path, make_sweep({"dim": [4, 8]}, 4), lambda cell: _twins(cell.seed), tests=[])
    explored = [claim["metric"] for claim in _statistics(directory)["claims"]["exploratory"]]
    assert explored == [LOSS, "train_loss"]
    report = directory.store.paths.report_file.read_text()
    assert "validation loss, which has the values of best validation loss in every run" in report


def _twins(seed: int) -> dict[str, float | None]:
    return {LOSS: 0.1 * seed, "val_loss": 0.1 * seed, "train_loss": (0.1 * seed) ** 2}


def test_an_exploratory_contrast_is_not_detected_in_the_words_of_a_declared_one(tmp_path: Path) -> None:
    directory = _filled(tmp_path, make_sweep({"dim": [4, 8, 16]}, 5), _by_dim, tests=[{"metric": LOSS, "slope": "dim"}])
    statuses = {claim["status"] for claim in _statistics(directory)["claims"]["exploratory"]}
    assert statuses == {"shown"}
    report = directory.store.paths.report_file.read_text()
    assert report.count('<td class="word">detected') == report.count('<td class="word">stands out') == 1


def _by_dim(cell: Cell) -> dict[str, float | None]:
    value = float(cell.factors["dim"]) + 0.01 * cell.run_id * (cell.factors["dim"] == 16)
    return {LOSS: value, R2: value**2}


def test_an_extreme_standardised_difference_is_explained_where_it_stands(tmp_path: Path) -> None:
    tests = [{"metric": R2, "compare": {"dim": [8, 4]}}]
    directory = _filled(
        tmp_path,
        make_sweep({"dim": [4, 8]}, 5, primary=[R2]),
        lambda cell: {R2: 0.01 * float(cell.factors["dim"]) + 1e-5 * (cell.run_id % 2) * (cell.factors["dim"] == 8)},
        tests=tests,
    )
    aggregate(tmp_path, figures=False)
    assert "standard deviation; so large because seeds hardly vary" in directory.store.paths.report_file.read_text()


def test_a_ratio_of_an_earlier_version_is_read_and_shown_as_an_exploratory_retention(tmp_path: Path) -> None:
    """Its chances were errors of guessing: 1 - 0.2 for a score."""
    ratio = {"numerator": LOSS, "denominator": ACCURACY, "numerator_chance": 2.0, "denominator_chance": 0.8}
    sweep = make_sweep({"dim": [4, 8, 16]}, 5, primary=[LOSS])
    directory = _filled(tmp_path, sweep, _informed, ratio=ratio | {"factor": "dim"})
    statistics = _statistics(directory)
    found = next(c for c in statistics["claims"]["exploratory"] if c["kind"] == "retention")
    assert found["estimate"] == pytest.approx(0.35, abs=0.01)
    (slope,) = statistics["claims"]["family"]  # of the one factor; the hypothesis that was declared still counts
    assert slope["adjusted"] == pytest.approx(2 * slope["p"])
    assert any("`analysis.ratio`" in line for line in aggregate(tmp_path, figures=False).problems)


def _grown(root: Path, looks: int, seen: bool) -> Directory:
    sweep = _declared(make_sweep({"dim": [4, 8]}, 3, primary=[R2]), looks=looks)
    directory = Directory(root, sweep)
    directory.sweep = sweep
    if seen:
        directory.fill(lambda cell: {R2: float(cell.factors["dim"]) + 0.1 * cell.run_id * (cell.factors["dim"] == 8)})
    directory.sweep = sweep.with_runs(5)
    write_sweep(directory.store, directory.sweep, {})
    directory.fill(lambda cell: {R2: float(cell.factors["dim"]) + 0.1 * cell.run_id * (cell.factors["dim"] == 8)})
    return directory


def test_a_sweep_that_grew_after_its_results_could_be_seen_has_exploratory_claims_only(tmp_path: Path) -> None:
    directory = _grown(tmp_path / "unplanned", 1, seen=True)
    found = _claim(_statistics(directory), R2, "dim")
    assert not found["confirmatory"]
    assert "The sweep grew after its results could be seen (2 looks" in directory.store.paths.report_file.read_text()


def test_planned_looks_share_alpha_and_keep_claims_confirmatory(tmp_path: Path) -> None:
    statistics = _statistics(_grown(tmp_path / "planned", 2, seen=True))
    assert statistics["claims"]["looks"] == {"planned": 2, "taken": 2, "alpha_of_this_look": 0.025}
    found = _claim(statistics, R2, "dim")
    assert found["confirmatory"]
    assert found["level"] == pytest.approx(0.975)


def test_seeds_added_before_any_result_are_no_look(tmp_path: Path) -> None:
    statistics = _statistics(_grown(tmp_path / "early", 1, seen=False))
    assert statistics["claims"]["looks"]["taken"] == 1
    assert _claim(statistics, R2, "dim")["confirmatory"]


def test_levels_added_later_are_exploratory(tmp_path: Path) -> None:
    sweep = make_sweep({"dim": [4, 8]}, 4, primary=[R2])
    directory = Directory(tmp_path, sweep)
    grown = replace(sweep, grid=Grid((Axis("dim", (4, 8, 16)),), sweep.grid.seeds))
    write_sweep(directory.store, grown, {})
    directory.sweep = grown
    directory.fill(_linear_dim)
    statistics = _statistics(directory)
    assert _claim(statistics, R2, "dim")["estimate"] == pytest.approx(-0.15)
    assert _claim(statistics, R2, "dim", family="exploratory")["estimate"] == pytest.approx(4.8)


def _linear_dim(cell: Cell) -> dict[str, float | None]:
    """Falls by .1 + .1 run / 3 from 4 to 8, then jumps to 10."""
    if cell.factors["dim"] == 16:
        return {R2: 10.0 - cell.run_id / 15}
    return {R2: 0.5 - (cell.factors["dim"] == 8) * (0.1 + cell.run_id / 30) - 0.2}


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
    assert any("failures depend on workspace dimension" in line for line in aggregate(tmp_path, figures=False).problems)


@pytest.mark.parametrize("seeds", [1, 2])
def test_the_smallest_sweeps_have_claims_that_say_what_they_lack(tmp_path: Path, seeds: int) -> None:
    family = _statistics(_filled(tmp_path, make_sweep(GRID, seeds), _noise))["claims"]["family"]
    assert len(family) == 4
    if seeds == 1:
        assert {(c["status"], c["reason"]) for c in family} == {("untestable", "one seed says nothing about chance")}


def test_a_factor_without_any_effect_is_not_tested_on_the_rounding_of_sums(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    by_dim = {(dim, run): float(random.random()) for dim in (4, 8, 16) for run in range(5)}
    sweep = make_sweep({"dim": [4, 8, 16], "scale": [0.1, 0.3, 1.0, 7.0]}, 5, primary=[LOSS])
    directory = _filled(tmp_path, sweep, lambda cell: {LOSS: by_dim[int(cell.factors["dim"]), cell.run_id]})
    statistics = _statistics(directory)
    found = _claim(statistics, LOSS, "scale")
    assert found["per_seed"] == [0.0] * 5
    assert found["status"] == "untestable"
    assert _claim(statistics, LOSS, "dim")["p"] is not None


def test_seeds_that_agree_but_for_rounding_say_nothing_of_chance(tmp_path: Path) -> None:
    sweep = make_sweep({"dim": [4, 8, 16]}, 5, primary=[R2])
    values = {4: 0.3, 8: 0.2, 16: 0.1}
    directory = _filled(tmp_path, sweep, lambda cell: {R2: values[int(cell.factors["dim"])] + 0.1 * cell.run_id})
    found = _claim(_statistics(directory), R2, "dim")
    assert found["estimate"] == pytest.approx(-0.1)
    assert (found["p"], found["status"]) == (None, "untestable")


def test_a_primary_metric_that_is_null_in_every_result_is_named_and_keeps_its_label(tmp_path: Path) -> None:
    directory = _filled(tmp_path, make_sweep({"dim": [4, 8]}, 3), lambda cell: {LOSS: 0.1 * cell.seed, ACCURACY: None})
    found = _claim(_statistics(directory), ACCURACY, "dim")
    assert (found["label"], found["reason"]) == ("synergy accuracy", "no run has a finite value")
    said = "synergy accuracy: none of 6 completed cells has a finite value"
    assert any(said in line for line in aggregate(tmp_path, figures=False).problems)
    report = directory.store.paths.report_file.read_text()
    for label in ("synergy accuracy", "best validation loss"):
        asked = f"Does {label} change with workspace dimension, within 3 epochs of training?"
        assert f'<p class="asked">{asked}</p>' in report


def test_no_other_metric_stands_in_for_a_primary_one_without_values(tmp_path: Path) -> None:
    sweep = make_sweep({"dim": [4, 8]}, 3, primary=[ACCURACY])
    directory = _filled(tmp_path, sweep, lambda cell: {LOSS: 0.1 * cell.seed, ACCURACY: None})
    report = aggregate(directory.store.paths.root).report.read_text()
    primary = report[report.index("<h2>Primary metrics") : report.index("<h2>Figures")]
    assert "best validation loss" not in primary
    assert "No result has a value of one yet." in primary


def test_a_difference_that_is_the_same_in_every_seed_but_for_rounding_is_not_tested(tmp_path: Path) -> None:
    sweep = make_sweep({"dim": [4, 8]}, 5, primary=[R2])
    values = {4: 0.3, 8: 0.1}
    directory = _filled(
        tmp_path,
        sweep,
        lambda cell: {R2: values[int(cell.factors["dim"])] + 0.7 * cell.run_id},
        reference={"dim": 4},
    )
    found = _statistics(directory)["comparisons"][R2]["conditions"]["dim_8"]
    assert found["difference"] == pytest.approx(-0.2)
    assert (found["p"], found["dz_hedges"]) == (None, None)


# --- would a wrong rule be seen? ------------------------------------------------------------------------------------


def _off_by_one(p: Sequence[float]) -> Any:
    values = np.array(p)
    order = np.argsort(values)
    steps = np.maximum.accumulate(values[order] * np.maximum(np.arange(len(values), 0, -1) - 1, 1))
    return np.where(np.isnan(values), np.nan, np.minimum(steps, 1.0)[np.argsort(order)])


def _by_raw_p(claim: Claim, alpha: float) -> Claim:
    return replace(_judge(replace(claim, adjusted=claim.test.p), alpha), adjusted=claim.adjusted)


MUTANTS: dict[str, tuple[str, Any, Callable[[Path], None]]] = {
    "no correction": ("holm", np.array, test_the_family_is_what_was_declared_even_if_one_test_cannot_be_made),
    "Holm off by one": ("holm", _off_by_one, test_the_family_is_what_was_declared_even_if_one_test_cannot_be_made),
    "raw p": ("_judge", _by_raw_p, test_each_interval_leaves_out_0_exactly_if_its_test_detects),
    "wrong level": (
        "holm_levels",
        lambda p, alpha: [1 - 2 * alpha] * len(p),
        test_each_interval_leaves_out_0_exactly_if_its_test_detects,
    ),
    "failures ignored": (
        "_worst",
        lambda asked, test: None,
        test_a_claim_that_does_not_hold_with_failures_as_worst_is_withheld_and_says_why,
    ),
    "nats ignored": (
        "_in_nats",
        lambda asked, level: None,
        test_a_retention_whose_sign_is_another_in_nats_has_no_verdict_and_both_answers_are_given,
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_rule_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mutant: str) -> None:
    name, wrong, test = MUTANTS[mutant]
    test(tmp_path / "right")
    monkeypatch.setattr(f"aggregate.analysis.claims.{name}", wrong)
    with pytest.raises((AssertionError, TypeError)):
        test(tmp_path / "wrong")


def test_inverted_retention_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Retained.difference.fget
    monkeypatch.setattr(Retained, "difference", property(lambda found: -right(found)))  # type: ignore[misc]
    with pytest.raises(AssertionError):
        test_what_is_lost_first_is_a_no(tmp_path)
