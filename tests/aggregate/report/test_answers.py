"""The first lines of a report: each answer with its unit and its interval, and what it leaves out or averages over."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.sweeps import ACCURACY, BUILT_IN_LIKE, LOSS, METRICS, Directory, make_sweep

from aggregate.analysis.study import study
from aggregate.pipeline import aggregate
from aggregate.reading.declared import Factor
from aggregate.reading.sweep import read
from aggregate.report.answers import answered
from aggregate.report.combinations import course
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
    return [(answer.verdict, answer.limits) for answer in answered(study(read(directory.store)))]


def _saturating(cell: Cell) -> dict[str, float | None]:
    return {R2: {4: 0.1, 8: 0.6, 16: 0.79, 32: 0.8}[int(cell.factors["dim"])] + _noise(cell)}


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
        "No verdict: the unit of information decides. Counted as a share of the error of guessing, a larger share of "
        rf"unique features, R2 is retained: -{number}\); counted in nats \(logarithmic\), a larger share of best "
        rf"validation loss is retained: \+{number}, uncorrected\)\.",
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
    assert limits == (
        "This is an average: estimates differ in sign between synergy loss scale 0.1 and 1. Synergy loss "
        "scale 10 is left out: at workspace dimension 32, best validation loss had not been learnt there (unique "
        "features, R2 had). Most runs had their best epoch last, so training had probably not converged."
    )
    assert second == ""
    page = aggregate(tmp_path, figures=False).report.read_text()
    assert html.unescape(re.search(r'<p class="limits">(.*?)</p>', page)[1]) == limits  # type: ignore[index]


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
    assert re.fullmatch(told if heavy else "", limits), limits
    page = aggregate(tmp_path, figures=False).report.read_text()
    assert "without seed 44 the estimate would be" in page  # beside the claim, in any case


def test_what_is_not_detected_comes_with_what_would_have_been(tmp_path: Path) -> None:
    ((verdict, _),) = _answers(_swept(tmp_path, lambda cell: {R2: 0.5 + _noise(cell)}, [SLOPE]))
    assert re.fullmatch(
        r"Not detected: [+-]0\.0\d+ per doubling of workspace dimension \(95 % interval \[-0\.0\d+, \+0\.0\d+\]; "
        r"detectable with 80 % power: 0\.00\d+\)\.",
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
