"""The first lines of a report: each answer with its unit and its interval, and what it leaves out or averages over."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from helpers.sweeps import ACCURACY, BUILT_IN_LIKE, LOSS, METRICS, Directory, make_sweep

from aggregate.analysis.study import study
from aggregate.answers.answer import answered
from aggregate.answers.combinations import course
from aggregate.pipeline import aggregate
from aggregate.reading.declared import Factor
from aggregate.reading.sweep import read
from hpc.storage.store import Store
from hpc.sweep.cell import Cell

R2 = "predictability/unique_r2"
RETENTION = {"retention": {"kept": LOSS, "other": R2, "factor": "dim", "kept_chance": 2.0, "other_chance": 0.0}}
SLOPE = {"metric": R2, "slope": "dim"}


def _swept(
    root: Path,
    values: Callable[[Cell], dict[str, float | None]],
    tests: Sequence[Mapping[str, Any]],
    errors: bool = False,
    seeded: str = "",
    **axes: Sequence[float],
) -> Directory:
    kinds = {LOSS: {"error": "cross entropy"}, R2: {"error": "squared"}} if errors else {}
    metrics = {name: entry | kinds.get(name, {}) for name, entry in METRICS.items()}
    trainer = replace(BUILT_IN_LIKE, metrics=metrics, seeded=seeded)
    sweep = make_sweep({"dim": [4, 8, 16, 32], **axes}, 5, trainer, [R2])
    directory = Directory(root, replace(sweep, analysis=dict(sweep.analysis) | {"tests": list(tests)}))
    directory.fill(values)
    return directory


def _noise(cell: Cell, stream: int = 0) -> float:
    where = [cell.seed, int(cell.factors["dim"]), int(10 * float(cell.factors.get("scale", 1.0))), stream]
    return 0.002 * float(np.random.default_rng(where).normal())


def _answers(directory: Directory) -> list[tuple[str, str]]:
    return [(answer.verdict, " ".join(answer.limits)) for answer in answered(study(read(directory.store)))]


def _saturating(cell: Cell) -> dict[str, float | None]:
    return {R2: {4: 0.1, 8: 0.6, 16: 0.79, 32: 0.8}[int(cell.factors["dim"])] + _noise(cell, 1)}


def test_the_answer_of_a_slope_begins_with_where_it_leads_and_says_where_nearly_all_of_that_lies(
    tmp_path: Path,
) -> None:
    ((verdict, limits),) = _answers(_swept(tmp_path, _saturating, [SLOPE]))
    told = re.fullmatch(
        r"Detected: rises from 0\.\d+ at workspace dimension 4 to 0\.\d+ at 32, nearly all of it from 4 to 16; slope "
        r"\+0\.\d+ per doubling of workspace dimension \(95 % interval \[\+0\.\d+, \+0\.\d+\]\)\.",
        verdict,
    )
    assert told, verdict
    assert limits == ""


@pytest.mark.parametrize(
    ("means", "said"),
    [
        ([0.1, 0.2, 0.3, 0.4], "rises from 0.1 at width 1 to 0.4 at 8"),  # no part of it is nearly all
        ([0.1, 0.1, 0.8, 0.8], "rises from 0.1 at width 1 to 0.8 at 8, nearly all of it from 2 to 4"),
        ([0.8, 0.8, 0.1, 0.1], "falls from 0.8 at width 1 to 0.1 at 8, nearly all of it from 2 to 4"),
        ([0.1, 0.9, 0.2, 0.4], "rises from 0.1 at width 1 to 0.4 at 8"),  # back and forth
        ([0.5, 0.1, 0.8, 0.4], "goes from 0.5 at width 1 to 0.4 at 8"),  # the slope rises, its ends do not
    ],
)
def test_which_part_of_a_change_is_nearly_all_of_it(means: list[float], said: str, tmp_path: Path) -> None:
    directory = _swept(tmp_path, _saturating, [SLOPE])
    (claim,) = study(read(directory.store)).evidence.claims.family
    values = np.array(means)[:, None] + np.zeros(5)
    asked = replace(claim.question, values=values, levels=(1, 2, 4, 8))
    test = replace(claim.test, estimate=float(np.polyfit(range(4), means, 1)[0]))
    factor = Factor("width", "width", "width", "width", (1, 2, 4, 8), log=True, ordered=True)
    assert course(replace(claim, question=asked, test=test), factor) == said


def test_a_metric_of_logarithms_is_told_by_its_geometric_means(tmp_path: Path) -> None:
    def values(cell: Cell) -> dict[str, float | None]:
        return {LOSS: float(cell.factors["dim"]) ** -1 * (4.0 if cell.run_id % 2 else 1.0) * (1 + _noise(cell))}

    ((verdict, _),) = _answers(_swept(tmp_path, values, [{"metric": LOSS, "slope": "dim"}]))
    # Three runs of 1/4 and two of 1: 0.25 x 4 ** (2 / 5).
    assert "falls from 0.435 at workspace dimension 4 to 0.0544 at 32" in verdict


def test_two_units_that_disagree_are_told_apart_with_unit_and_interval(tmp_path: Path) -> None:
    kept, other = {4: 0.6, 8: 0.6, 16: 0.6, 32: 1.0}, {4: 0.7, 8: 0.8, 16: 0.9, 32: 1.0}

    def values(cell: Cell) -> dict[str, float | None]:
        dim = int(cell.factors["dim"])
        return {LOSS: 2 * (1 - 0.8 * kept[dim] - _noise(cell)), R2: 0.99 * other[dim] + _noise(cell, 1) / 10}

    ((verdict, _),) = _answers(_swept(tmp_path, values, [RETENTION], errors=True))
    number = r"\d+(?:\.\d+)? percentage points \(95 % interval \[[^]]*\]"
    assert re.fullmatch(
        r"No verdict: the unit of information decides. Averaged over workspace dimension 4, 8 and 16, the shares "
        r"retained \(best validation loss minus unique features, R2\) differ by "
        rf"-{number}\) counted as a share of the error of guessing and \+{number}, uncorrected\) counted in nats "
        r"\(logarithmic\)\.",
        verdict,
    ), verdict


def test_what_an_answer_leaves_out_and_averages_over_follows_it(tmp_path: Path) -> None:
    def values(cell: Cell) -> dict[str, float | None]:
        dim, scale = int(cell.factors["dim"]), float(cell.factors["scale"])
        if scale == 10.0:
            return {LOSS: 2.0 + _noise(cell), R2: 0.9 + _noise(cell, 1)}
        kept = 1.0 if dim == 32 else {0.1: 0.3, 1.0: 0.8}[scale]
        return {LOSS: 2 * (1 - 0.8 * kept - _noise(cell)), R2: (0.9 if dim == 32 else 0.5) + _noise(cell, 1)}

    directory = _swept(tmp_path, values, [RETENTION, SLOPE], scale=[0.1, 1.0, 10.0])
    for cell in directory.sweep.grid:
        directory.store.paths.result_file(cell).unlink()
        directory.finish(cell, values(cell), best_epoch=3)
    (_, limits), (_, second) = _answers(directory)
    number = r"[-+]\d+(?:\.\d+)? \[[-+][\d.]+, [-+][\d.]+\]"
    told = re.fullmatch(
        rf"This is an average over opposite signs: {number} at synergy loss scale 0\.1 and {number} at 1\. Synergy "
        r"loss scale 10 is left out: at workspace dimension 32, best validation loss had not been learnt there "
        r"\(unique features, R2 had\)\.",
        limits,
    )
    assert told, limits
    assert "not converged" not in second
    page = html.unescape(aggregate(tmp_path, figures=False).report.read_text())
    assert f"<li>{limits.partition(' Synergy')[0]}</li>" in page
    # What holds for every answer stands once, below them.
    assert page.count("had it last, so training had probably not converged") == 1
    header = page[: page.index("Tried:")]
    assert '<p class="of-all">Of 60 completed runs with a best epoch on record, 60 had it last' in header


def test_where_neither_kind_of_information_was_learnt_both_are_named(tmp_path: Path) -> None:
    def values(cell: Cell) -> dict[str, float | None]:
        learnt = 0.5 if cell.factors["scale"] == 1.0 else 0.0
        return {LOSS: 2 * (1 - learnt) + _noise(cell), R2: learnt + _noise(cell, 1)}

    ((_, limits),) = _answers(_swept(tmp_path, values, [RETENTION], scale=[0.1, 1.0]))
    assert (
        "Synergy loss scale 0.1 is left out: at workspace dimension 32, neither best validation loss nor unique "
        "features, R2 had been learnt there."
    ) in limits


def test_a_level_that_is_left_out_of_a_slope_is_said_with_its_answer(tmp_path: Path) -> None:
    def values(cell: Cell) -> dict[str, float | None]:
        return {R2: None if cell.factors["dim"] == 32 else _saturating(cell)[R2], ACCURACY: 0.5}

    ((_, limits),) = _answers(_swept(tmp_path, values, [SLOPE]))
    assert limits == "Workspace dimension 32 is left out: fewer than two of its runs have a result."


@pytest.mark.parametrize(("apart", "heavy"), [(0.9, True), (0.4, False)])
def test_a_seed_without_which_another_result_would_be_found_is_told_with_the_answer(
    tmp_path: Path, apart: float, heavy: bool
) -> None:
    def values(cell: Cell) -> dict[str, float | None]:
        dim = int(cell.factors["dim"])
        return {R2: apart if (cell.seed, dim) == (44, 4) else 0.4 + 0.05 * float(np.log2(dim)) + _noise(cell)}

    directory = _swept(tmp_path, values, [SLOPE])
    ((verdict, limits),) = _answers(directory)
    assert verdict.startswith("Not detected" if heavy else "Detected")
    told = r"One seed weighs heavily: without seed 44 it would be \+0\.0\d+ \[\+0\.0\d+, \+0\.0\d+\]\."
    normality = (
        "Seeds do not vary normally everywhere; without assuming it, p = 0.0625, the least that 5 seeds can give."
    )
    assert re.fullmatch(told if heavy else normality, limits), limits
    page = aggregate(tmp_path, figures=False).report.read_text()
    assert "without seed 44 the estimate would be" in page  # beside the claim, in any case


def test_what_is_not_detected_comes_with_what_would_have_been(tmp_path: Path) -> None:
    ((verdict, _),) = _answers(_swept(tmp_path, lambda cell: {R2: 0.5 + _noise(cell)}, [SLOPE]))
    assert re.fullmatch(
        r"Not detected: [+-]0\.0\d+ per doubling of workspace dimension \(95 % interval \[-0\.0\d+, \+0\.0\d+\]; "
        r"detectable with 80 % power: roughly 0\.00\d+, with 5 seeds anything from 0\.00\d+ to 0\.\d+\)\.",
        verdict,
    ), verdict


@pytest.mark.parametrize("seeded", ["", "the draw of the training samples"])
def test_what_varies_from_seed_to_seed_is_what_the_trainer_declares(tmp_path: Path, seeded: str) -> None:
    directory = _swept(tmp_path, _saturating, [SLOPE], seeded=seeded)
    page = aggregate(directory.store.paths.root, figures=False).report.read_text()
    usual = "what the trainer draws from the seed, usually the initial weights and the order of the training samples"
    assert f"Runs with different seeds differ in {seeded or usual}. Intervals and tests cover that alone." in page


def test_the_first_screen_is_questions_answers_and_what_was_tried_and_terms_are_folded(tmp_path: Path) -> None:
    page = aggregate(_swept(tmp_path, _saturating, [SLOPE]).store.paths.root, figures=False).report.read_text()
    header = page[page.index("<header>") : page.index("</header>")]
    order = [
        header.index(part) for part in ('class="asked"', 'class="answer"', "Tried:", "<summary>What the terms mean")
    ]
    assert order == sorted(order)
    assert (
        header.index("<summary>What the terms mean") < header.index('<dl class="terms">') < header.index("</details>")
    )


def _of_seeds(slopes: Sequence[float]) -> Callable[[Cell], dict[str, float | None]]:
    return lambda cell: {R2: 0.4 + slopes[cell.seed - 42] * float(np.log2(float(cell.factors["dim"])))}


@pytest.mark.parametrize(
    ("slopes", "barely"),
    [([0.01, 0.02, 0.03, 0.06, 0.07], True), ([0.03, 0.031, 0.032, 0.033, 0.034], False)],
)
def test_an_interval_that_barely_leaves_out_0_is_said_to(tmp_path: Path, slopes: list[float], barely: bool) -> None:
    directory = _swept(tmp_path, _of_seeds(slopes), [SLOPE])
    ((verdict, limits),) = _answers(directory)
    assert verdict.startswith("Detected")
    lost = [
        42 + i
        for i in range(5)
        if scipy.stats.ttest_1samp([s for j, s in enumerate(slopes) if j != i], 0).pvalue > 0.05
    ]
    assert bool(lost) == barely
    p = scipy.stats.ttest_1samp(slopes, 0).pvalue
    told = (
        f"The interval barely leaves out 0 (p = {p:.2g}; 0.0625 without assuming normality): without any one of the "
        f"seeds {', '.join(map(str, lost[:-1]))} or {lost[-1]} it would include 0."
        if barely
        else ""
    )
    assert limits == told


def test_a_slope_over_combinations_says_that_it_is_their_average_and_what_single_ones_have(tmp_path: Path) -> None:
    """At scale 0.1 it rises late, at 1 early, and at 10 seeds differ so much that its interval includes 0."""
    at = {0.1: {4: 0.1, 8: 0.1, 16: 0.8, 32: 0.8}, 1.0: {4: 0.1, 8: 0.8, 16: 0.8, 32: 0.8}}

    def values(cell: Cell) -> dict[str, float | None]:
        dim, scale = int(cell.factors["dim"]), float(cell.factors["scale"])
        if scale == 10.0:
            wild = float(np.random.default_rng([3, cell.seed]).normal())
            return {R2: 0.4 + (0.05 + 0.1 * wild) * float(np.log2(dim))}
        return {R2: at[scale][dim] + _noise(cell)}

    ((verdict, limits),) = _answers(_swept(tmp_path, values, [SLOPE], scale=[0.1, 1.0, 10.0]))
    assert verdict.startswith("Detected: on average over synergy loss scale 0.1, 1 and 10, rises from ")
    assert re.search(
        r"from 0\.\d+ at workspace dimension 4 \(0\.\d+ to 0\.\d+ by combination\) to 0\.\d+ at 32 \(", verdict
    )
    number = r"\+0\.\d+ \[-0\.\d+, \+0\.\d+\]"
    assert re.search(rf"At synergy loss scale 10, the interval includes 0: {number}\.", limits)
    assert "from 8 to 16 at synergy loss scale 0.1; from 4 to 8 at synergy loss scale 1." in limits


def test_an_answer_over_runs_at_chance_says_how_many_and_that_only_normality_detects(tmp_path: Path) -> None:
    def values(cell: Cell) -> dict[str, float | None]:
        learnt = cell.factors["dim"] != 4 or cell.seed < 44
        return {ACCURACY: (0.8 if learnt else 0.125) + _noise(cell)}

    directory = _swept(tmp_path, values, [{"metric": ACCURACY, "slope": "dim"}])
    ((_, limits),) = _answers(directory)
    assert (
        "3 of 20 runs are at chance; above it are 2, 5, 5 and 5 of 5 at workspace dimension 4, 8, 16 and 32." in limits
    )


def test_the_intervals_of_several_claims_are_not_said_to_hold_together(tmp_path: Path) -> None:
    def values(cell: Cell) -> dict[str, float | None]:
        return {**_saturating(cell), ACCURACY: 0.5 + _noise(cell, 2)}

    directory = _swept(tmp_path, values, [SLOPE, {"metric": ACCURACY, "slope": "dim"}])
    report = " ".join(aggregate(directory.store.paths.root, figures=False).report.read_text().split())
    assert "of each interval by itself: all of them together hold less often. Detectable" in report


def test_a_condition_of_two_kinds_of_runs_is_marked_in_every_metric_with_its_seeds(tmp_path: Path) -> None:
    """At 4, two runs are at chance by the accuracy; the loss of the same runs is as mixed."""

    def values(cell: Cell) -> dict[str, float | None]:
        learnt = cell.factors["dim"] != 4 or cell.seed < 45
        return {ACCURACY: (0.8 if learnt else 0.125) + _noise(cell), R2: (0.9 if learnt else 0.3) + _noise(cell, 1)}

    root = _swept(tmp_path, values, [SLOPE]).store.paths.root
    report = aggregate(root, figures=False).report.read_text()
    table = report[report.index("<h2>Primary metrics</h2>") : report.index("<h2>All statistics</h2>")]
    cells = re.findall(r"<tr><td>(\d+)</td><td>([^<]*)</td>", table)
    marked = {dim for dim, told in cells if told.endswith("†")}
    assert "4" in marked
    assert len(marked) < 4  # by chance, a clean one may be flagged
    seeds = ", ".join(f"{value:.3g}" for value in sorted(values(cell)[R2] or 0 for cell in _at_4(root)))
    assert f"Seeds: workspace dimension 4: unique features, R2 {seeds}." in table


def _at_4(root: Path) -> list[Cell]:
    return [cell for cell in read(Store(root)).sweep.grid if cell.factors["dim"] == 4]


def test_a_geometric_mean_stands_beside_the_interval_that_is_of_it(tmp_path: Path) -> None:
    directory = _swept(tmp_path, lambda cell: {LOSS: float(cell.seed - 40) ** 2, **_saturating(cell)}, [SLOPE])
    report = aggregate(directory.store.paths.root, figures=False).report.read_text()
    expected = float(np.exp(np.mean(np.log([(seed - 40) ** 2 for seed in range(42, 47)]))))
    assert '<th scope="col">mean</th><th scope="col">geometric mean</th>' in report
    assert f"<td>{expected:#.4g}</td>" in report


@pytest.mark.parametrize(("noted", "said"), [(True, "the training and validation"), (False, "usually the training")])
def test_samples_are_said_to_be_the_same_in_all_runs_where_that_is_known(
    tmp_path: Path, noted: bool, said: str
) -> None:
    directory = _swept(tmp_path, _saturating, [SLOPE])
    path = directory.store.paths.sweep_file
    content = json.loads(path.read_bytes())
    if noted:
        content["revisions"][-1]["sections"]["data"] = {"samples": {"training": 100, "validation": 10}}
        path.write_text(json.dumps(content))
    report = aggregate(directory.store.paths.root, figures=False).report.read_text()
    assert f"They do not cover what is the same in all runs, {said}" in report
