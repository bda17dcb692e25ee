"""Pages of sweeps that have nothing to show: no level of an interval that is not there, no unit of nothing, no table of
no comparisons."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from helpers.sweeps import ACCURACY, BUILT_IN_LIKE, LOSS, METRICS, Directory, make_sweep

from aggregate.pipeline import aggregate

RETENTION = {"kept": LOSS, "other": ACCURACY, "factor": "dim", "kept_chance": 2.0, "other_chance": 0.2}


def test_a_page_without_any_number_speaks_of_no_interval_and_no_unit(tmp_path: Path) -> None:
    sweep = make_sweep({"dim": [4, 8], "scale": [0.5, 1.0]}, 3)
    analysis = {"tests": [{"retention": RETENTION}, {"metric": ACCURACY, "slope": "dim"}], "reference": {"dim": 4}}
    directory = Directory(tmp_path, replace(sweep, analysis=dict(sweep.analysis) | analysis))
    for cell in directory.sweep.grid:
        directory.finish(cell, {LOSS: None, ACCURACY: None}, status="DIVERGED")
    page = aggregate(tmp_path, figures=False).report.read_text()
    claims = page[page.index("<h2>Claims</h2>") : page.index("<h2>Primary metrics</h2>")]
    assert "97.5 %" not in page
    assert "of sweeps detect" not in page
    assert "percentage points of the" not in page
    assert claims.count('<td class="word">-</td>') == 3 * 2  # estimate, unit, averaged over
    assert "per</td>" not in page
    assert page.count("annot be tested") >= 2


def test_a_comparison_that_nobody_can_make_has_no_table(tmp_path: Path) -> None:
    """Of two conditions in which a term of the loss has another weight."""
    metrics = METRICS | {LOSS: METRICS[LOSS] | {"scaled_by": "scale"}}
    sweep = make_sweep({"scale": [0.5, 1.0]}, 3, replace(BUILT_IN_LIKE, metrics=metrics), primary=[LOSS])
    directory = Directory(tmp_path, replace(sweep, analysis=dict(sweep.analysis) | {"reference": {"scale": 0.5}}))
    directory.fill(lambda cell: {LOSS: 0.1 + 0.01 * cell.run_id})
    page = aggregate(tmp_path, figures=False).report.read_text()
    assert "against the reference" not in page
    assert "(0 comparisons)" not in page


def test_differences_that_cannot_be_tested_are_counted_and_no_correction_of_nothing_is_named(tmp_path: Path) -> None:
    sweep = make_sweep({"dim": [4, 8, 16]}, 1, primary=[LOSS])
    directory = Directory(tmp_path, replace(sweep, analysis=dict(sweep.analysis) | {"reference": {"dim": 4}}))
    directory.fill(lambda cell: {LOSS: 0.1 * float(cell.factors["dim"])})
    page = aggregate(tmp_path, figures=False).report.read_text()
    assert "best validation loss against the reference (2 comparisons)" in page
    assert "over all 0 comparisons" not in page
    assert "there is no p and no interval" in page
