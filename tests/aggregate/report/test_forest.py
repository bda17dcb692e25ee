"""The estimates of a claim as they are drawn: every place on one scale, and what is left out named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.sweeps import ACCURACY, Directory, make_sweep

from aggregate.analysis.claims import Claim
from aggregate.analysis.study import study
from aggregate.pipeline import aggregate
from aggregate.reading.sweep import read
from aggregate.report.forest import Forest, forest
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


@pytest.mark.parametrize("seeds", [1, 2])
def test_of_too_few_seeds_nothing_is_drawn_beyond_the_page(tmp_path: Path, seeds: int) -> None:
    directory = Directory(tmp_path, make_sweep({"dim": [4, 8, 16], "scale": [0.1, 1.0]}, seeds, primary=[ACCURACY]))
    directory.fill(_rising)
    for claim in study(read(directory.store)).evidence.claims.family:
        found = forest(claim)
        assert (found is None) == (seeds == 1)
        for row in found.rows if found else ():
            assert 0 <= row.low <= (row.at or 0) <= row.high <= 100
