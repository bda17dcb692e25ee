"""How far apart combinations are whose estimates differ in sign."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from helpers.sweeps import ACCURACY, Directory, make_sweep

from aggregate.analysis.study import study
from aggregate.described.between import between
from aggregate.pipeline import aggregate
from aggregate.reading.sweep import read
from hpc.sweep.cell import Cell

R2 = "predictability/unique_r2"


def _swept(root: Path, slopes: dict[float, float]) -> Directory:
    sweep = make_sweep({"dim": [4, 8, 16], "scale": list(slopes)}, 5, primary=[R2])
    tests = [{"metric": R2, "slope": "dim"}]
    directory = Directory(root, replace(sweep, analysis=dict(sweep.analysis) | {"tests": tests}))
    directory.fill(lambda cell: {R2: _value(cell, slopes), ACCURACY: None})
    return directory


def _value(cell: Cell, slopes: dict[float, float]) -> float:
    doublings, scale = float(np.log2(float(cell.factors["dim"]))), float(cell.factors["scale"])
    shared = 0.05 * float(np.random.default_rng([cell.seed, 1]).normal())  # of a seed, at every scale
    own = 0.005 * float(np.random.default_rng([cell.seed, int(10 * scale), int(doublings)]).normal())
    return (slopes[scale] + shared) * doublings + own


def _slopes(directory: Directory, slopes: dict[float, float], scale: float) -> list[float]:
    cells = {(c.seed, c.factors["dim"]): _value(c, slopes) for c in directory.sweep.grid if c.factors["scale"] == scale}
    return [
        float(scipy.stats.linregress([2, 3, 4], [cells[seed, dim] for dim in (4, 8, 16)]).slope)
        for seed in directory.sweep.grid.seeds
    ]


def test_the_difference_is_paired_by_seed_and_its_interval_holds_for_all_pairs_together(tmp_path: Path) -> None:
    slopes = {0.5: -0.3, 1.0: 0.4, 2.0: 0.1}
    directory = _swept(tmp_path, slopes)
    (claim,) = study(read(directory.store)).evidence.claims.family
    first, second = between(claim)
    assert (first.more, first.less) == ("synergy loss scale 1", "synergy loss scale 0.5")
    assert (second.more, second.less) == ("synergy loss scale 2", "synergy loss scale 0.5")
    own = np.subtract(_slopes(directory, slopes, 1.0), _slopes(directory, slopes, 0.5))
    expected = scipy.stats.ttest_1samp(own, 0).confidence_interval(1 - 0.05 / 3)
    assert first.test.estimate == pytest.approx(own.mean())
    assert first.test.interval(first.level) == pytest.approx((expected.low, expected.high))
    # What a seed has at every scale is gone: it would widen either estimate, and does not widen their difference.
    low, high = claim.pieces[0].low, claim.pieces[0].high
    assert expected.high - expected.low < (high - low) / 3


def test_it_is_told_where_the_signs_differ_and_nowhere_else(tmp_path: Path) -> None:
    for name, slopes, told in (("opposite", {0.5: -0.3, 1.0: 0.4}, True), ("alike", {0.5: 0.3, 1.0: 0.4}, False)):
        root = tmp_path / name
        _swept(root, slopes)
        report = aggregate(root, figures=False).report.read_text()
        said = r"How far apart they are \(paired by seed, described and not tested\): synergy loss scale 1 minus 0\.5, "
        assert bool(re.search(said + r"\+0\.\d+ \(95 % interval \[\+0\.\d+, \+0\.\d+\]\)\.", report)) == told


def _told_apart(report: str) -> str:
    found = re.search(r"How far apart they are \(paired by seed, described and not tested\): (.*?)\.(?:</|\s)", report)
    assert found is not None
    return found[1]


def test_combinations_that_are_as_far_apart_in_every_seed_have_no_interval(tmp_path: Path) -> None:
    """A seed adds to its slope the same at both scales, in steps that no sum rounds: nothing is left of it."""
    sweep = make_sweep({"dim": [4, 8, 16], "scale": [0.5, 1.0]}, 5, primary=[R2])
    tests = [{"metric": R2, "slope": "dim"}]
    directory = Directory(tmp_path, replace(sweep, analysis=dict(sweep.analysis) | {"tests": tests}))
    steps = {0.5: -16, 1.0: 24}
    directory.fill(
        lambda cell: {
            R2: (steps[float(cell.factors["scale"])] + cell.run_id) * np.log2(float(cell.factors["dim"])) / 128,
            ACCURACY: None,
        }
    )
    report = aggregate(tmp_path, figures=False).report.read_text()
    assert _told_apart(report) == "synergy loss scale 1 minus 0.5, +0.312"
    assert not re.search(r"\bnan\b", re.sub(r"<script.*?</script>|<style.*?</style>", "", report, flags=re.DOTALL))


def test_pairs_that_are_not_told_are_counted_without_naming_a_file_that_lacks_them(tmp_path: Path) -> None:
    slopes = {0.1: -0.3, 0.2: -0.2, 0.5: -0.1, 1.0: 0.2, 2.0: 0.3, 5.0: 0.4}
    _swept(tmp_path, slopes)
    said = _told_apart(aggregate(tmp_path, figures=False).report.read_text())
    assert said.count(" minus ") == 6
    assert said.endswith("; and 3 more pairs")
