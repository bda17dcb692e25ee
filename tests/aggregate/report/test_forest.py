"""The estimates of a claim as they are drawn: every place on one scale, and what is left out named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.sweeps import ACCURACY, Directory, make_sweep

from aggregate.analysis.claims import Claim, InNats
from aggregate.analysis.study import study
from aggregate.pipeline import aggregate
from aggregate.reading.sweep import read
from aggregate.report.forest import Forest, Row, forest
from aggregate.wording import span
from hpc.sweep.cell import Cell


def _rising(cell: Cell) -> dict[str, float | None]:
    noise = float(np.random.default_rng([cell.seed, int(cell.factors["dim"])]).normal())
    return {
        ACCURACY: 0.4 + 0.1 * float(np.log2(float(cell.factors["dim"]))) * float(cell.factors["scale"]) + 0.01 * noise
    }


def _drawn(root: Path) -> tuple[Claim, Forest]:
    sweep = make_sweep({"dim": [4, 8, 16], "scale": [0.1, 1.0]}, 5, primary=[ACCURACY])
    tests = [{"metric": ACCURACY, "slope": "dim"}]
    directory = Directory(root, replace(sweep, analysis=dict(sweep.analysis) | {"tests": tests}))
    directory.fill(_rising)
    (claim,) = study(read(directory.store)).evidence.claims.family
    found = forest(claim)
    assert found is not None
    return claim, found


def test_the_tested_average_comes_first_and_every_place_is_on_one_scale(tmp_path: Path) -> None:
    claim, found = _drawn(tmp_path)
    assert [row.label for row in found.rows] == [
        "average over synergy loss scale 0.1 and 1",
        "synergy loss scale 0.1",
        "synergy loss scale 1",
    ]
    assert [row.tested for row in found.rows] == [True, False, False]
    numbers = [0.0, claim.estimate, claim.low, claim.high, *claim.test.per_seed]
    drawn = [found.zero, found.rows[0].at, found.rows[0].low, found.rows[0].high, *found.rows[0].seeds]
    for row, piece in zip(found.rows[1:], claim.pieces, strict=True):
        numbers += [piece.estimate, piece.low, piece.high]
        drawn += [row.at, row.low, row.high]
    slope, start = np.polyfit(numbers, np.array(drawn, dtype=float), 1)
    np.testing.assert_allclose(start + slope * np.array(numbers), drawn, atol=0.02)
    assert slope > 0
    assert 0 <= min(drawn) < max(drawn) <= 100  # type: ignore[type-var]


def test_what_is_drawn_stands_in_the_page_with_its_numbers(tmp_path: Path) -> None:
    _, found = _drawn(tmp_path)
    page = aggregate(tmp_path, figures=False).report.read_text()
    first = found.rows[0]
    assert f'<line class="interval" x1="{first.low}%" x2="{first.high}%"' in page
    assert f'<circle class="at" cx="{first.at}%"' in page
    assert page.count('<circle class="seed"') == 15
    assert f'<td class="said">{first.number}</td>' in page
    assert first.number.startswith("+0.0")


def test_every_mark_is_explained_and_where_nats_have_a_row_the_axis_says_so(tmp_path: Path) -> None:
    claim, found = _drawn(tmp_path)
    assert found.note.endswith("; dots: the same of each seed; dashed: 0.")
    nats = InNats(claim.estimate, claim.low, claim.high, 0.01, 0.95)
    other = forest(replace(claim, in_nats=nats))
    assert other is not None
    assert other.unit.endswith(", counted in shares or, where it is said, in nats")


def test_the_axis_has_round_numbers_where_they_lie_among_the_estimates(tmp_path: Path) -> None:
    claim, found = _drawn(tmp_path)
    assert 2 <= len(found.ticks) <= 6
    places, numbers = [at for at, _ in found.ticks], [float(text) for _, text in found.ticks]
    known = [(0.0, found.zero), (claim.estimate, found.rows[0].at), (claim.high, found.rows[0].high)]
    slope, start = np.polyfit([one for one, _ in known], [at for _, at in known if at is not None], 1)
    np.testing.assert_allclose(start + slope * np.array(numbers), places, atol=0.1)
    assert found.unit == "per doubling of workspace dimension"
    assert f'<text x="{places[0]}%" y="16">' in aggregate(tmp_path, figures=False).report.read_text()


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.701, 0.842, "0.70 to 0.84"), (0.9762, 0.9834, "0.976 to 0.983"), (0.98, 0.98, "0.98 to 0.98")],
)
def test_two_ends_that_differ_are_told_so_that_they_do(low: float, high: float, said: str) -> None:
    assert span(low, high) == said


@pytest.mark.parametrize("collapsed", [False, True])
def test_how_often_all_intervals_hold_is_said_with_what_that_takes(tmp_path: Path, collapsed: bool) -> None:
    sweep = make_sweep({"dim": [4, 8, 16], "scale": [0.1, 1.0]}, 5, primary=[ACCURACY])
    tests = [{"metric": ACCURACY, "slope": "dim"}]
    directory = Directory(tmp_path, replace(sweep, analysis=dict(sweep.analysis) | {"tests": tests}))
    lost = {"dim_8_scale_1.0_run_2"} if collapsed else set()
    directory.fill(
        lambda cell: {ACCURACY: 0.125 if cell.name in lost else 0.7 + 0.001 * float(_rising(cell)[ACCURACY] or 0)}
    )
    page = aggregate(tmp_path, figures=False).report.read_text()
    assert "with a probability of at least 95 % if seeds vary normally" in page
    doubt = "as they do not at workspace dimension 8, synergy loss scale 1 (see below; elsewhere this is assumed)"
    assert (doubt in page) == collapsed


@pytest.mark.parametrize(("at_chance", "said"), [(2, True), (5, False)])
def test_seeds_some_of_which_are_at_chance_are_not_said_to_vary_normally(
    tmp_path: Path, at_chance: int, said: bool
) -> None:
    """Spread from chance to well above it, they have no gap that would flag them."""
    spread = [0.125, 0.13, 0.368, 0.6, 0.85]

    def values(cell: Cell) -> dict[str, float | None]:
        if cell.factors["dim"] != 4:
            return _rising(cell) | {ACCURACY: 0.8 + 0.01 * float(_rising(cell)[ACCURACY] or 0)}
        return {ACCURACY: spread[cell.seed - 42] if at_chance < 5 else 0.125 + 0.001 * (cell.seed - 42)}

    sweep = make_sweep({"dim": [4, 8, 16], "scale": [0.1, 1.0]}, 5, primary=[ACCURACY])
    tests = [{"metric": ACCURACY, "slope": "dim"}]
    directory = Directory(tmp_path, replace(sweep, analysis=dict(sweep.analysis) | {"tests": tests}))
    directory.fill(values)
    page = aggregate(tmp_path, figures=False).report.read_text()
    doubt = (
        "if seeds vary normally, as they do not at workspace dimension 4, synergy loss scale 0.1 and workspace "
        "dimension 4, synergy loss scale 1, where 2 of 5 seeds are at chance and the others are not (see below; "
        "elsewhere this is assumed)"
    )
    assert (doubt in page) == said


@pytest.mark.parametrize("seeds", [1, 2])
def test_of_too_few_seeds_nothing_is_drawn_beyond_the_page(tmp_path: Path, seeds: int) -> None:
    directory = Directory(tmp_path, make_sweep({"dim": [4, 8, 16], "scale": [0.1, 1.0]}, seeds, primary=[ACCURACY]))
    directory.fill(_rising)
    for claim in study(read(directory.store)).evidence.claims.family:
        found = forest(claim)
        assert (found is None) == (seeds == 1)
        for row in found.rows if found else ():
            assert 0 <= row.low <= (row.at or 0) <= row.high <= 100


def test_an_interval_that_goes_on_beyond_the_drawing_ends_in_an_arrow_and_that_is_said(tmp_path: Path) -> None:
    """Two seeds, whose intervals are many times as wide as they lie apart."""
    directory = Directory(tmp_path, make_sweep({"dim": [4, 8, 16], "scale": [0.1, 1.0]}, 2, primary=[ACCURACY]))
    directory.fill(_rising)
    beyond = [row for claim in study(read(directory.store)).evidence.claims.family for row in _rows(claim)]
    assert any(any(row.beyond) for row in beyond)
    for row in beyond:
        assert (row.low == 0) == row.beyond[0]
        assert (row.high == 100) == row.beyond[1]
    page = aggregate(tmp_path, figures=False).report.read_text()
    assert page.count('class="beyond"') == sum(sum(row.beyond) for row in beyond)
    assert "An arrow: the interval goes on beyond the drawing" in page
    assert "An arrow" not in _drawn(tmp_path / "narrow")[1].note


def _rows(claim: Claim) -> list[Row]:
    found = forest(claim)
    return found.rows if found else []
