"""A retention level by level: where its average is made of opposite ones, and that a level of noise is no reversal."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from helpers.sweeps import BUILT_IN_LIKE, LOSS, METRICS, Directory, make_sweep

from aggregate.pipeline import aggregate
from hpc.sweep.cell import Cell

R2 = "predictability/unique_r2"
RETENTION = {"kept": LOSS, "other": R2, "factor": "dim", "kept_chance": 2.0, "other_chance": 0.0}
Shares = Mapping[int, float]
# At scale 0.5 the loss keeps less at dimension 4 and more at 8; at 2.0 it keeps more at both.
KEPT: dict[float, Shares] = {0.5: {4: 0.2, 8: 0.9, 16: 1.0}, 2.0: {4: 0.6, 8: 0.9, 16: 1.0}}
OTHER: Shares = {4: 0.5, 8: 0.5, 16: 1.0}


def _values(cell: Cell, noise: float, kept: Mapping[float, Shares]) -> dict[str, float | None]:
    dim, scale = int(cell.factors["dim"]), float(cell.factors.get("scale", 0.5))
    own = noise * np.random.default_rng([cell.seed, dim, int(10 * scale)]).normal(size=2)
    return {LOSS: 2 * (1 - 0.8 * kept[scale][dim] - float(own[0])), R2: 0.9 * OTHER[dim] + float(own[1])}


def _swept(root: Path, noise: float, kept: Mapping[float, Shares] = KEPT, **axes: Any) -> Directory:
    sweep = make_sweep({"dim": [4, 8, 16], **axes}, 5, primary=[LOSS])
    directory = Directory(root, replace(sweep, analysis=dict(sweep.analysis) | {"tests": [{"retention": RETENTION}]}))
    directory.fill(lambda cell: _values(cell, noise, kept))
    aggregate(root, figures=False)
    return directory


def _claim(directory: Directory) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(directory.store.paths.statistics_file.read_bytes())
    return dict(found["claims"]["family"][0])


def _expected(directory: Directory, dim: int, scale: float, noise: float) -> list[float]:
    """Of every seed, from what its runs were given."""
    cells = {(c.factors["dim"], c.factors.get("scale"), c.seed): _values(c, noise, KEPT) for c in directory.sweep.grid}
    differences = []
    for seed in directory.sweep.grid.seeds:
        narrow, wide = cells[dim, scale, seed], cells[16, scale, seed]
        kept = (2 - float(narrow[LOSS] or 0)) / (2 - float(wide[LOSS] or 0))
        differences.append(kept - float(narrow[R2] or 0) / float(wide[R2] or 0))
    return differences


def test_every_level_of_every_combination_stands_with_an_interval_that_holds_together_with_the_others(
    tmp_path: Path,
) -> None:
    directory = _swept(tmp_path, 0.01, scale=[0.5, 2.0])
    found = _claim(directory)
    assert [(one["level"], one["where"]) for one in found["by_level"]] == [
        (dim, f"synergy loss scale {scale}") for dim in (4, 8) for scale in ("0.5", "2")
    ]
    together = 1 - (1 - found["level"]) / 4
    for one, (dim, scale) in zip(found["by_level"], [(d, s) for d in (4, 8) for s in (0.5, 2.0)], strict=True):
        own = _expected(directory, dim, scale, 0.01)
        interval = scipy.stats.ttest_1samp(own, 0).confidence_interval(together)
        assert [one[key] for key in ("estimate", "low", "high")] == pytest.approx([np.mean(own), *interval])
    # What is tested is the mean of these rows.
    assert found["estimate"] == pytest.approx(np.mean([one["estimate"] for one in found["by_level"]]))


def test_a_sign_that_is_another_at_another_level_is_said_in_the_answer_and_beside_the_claim(tmp_path: Path) -> None:
    report = _swept(tmp_path, 0.01, scale=[0.5, 2.0]).store.paths.report_file.read_text()
    limits = re.search(r'<ul class="limits">(.*?)</ul>', report, re.DOTALL)
    assert limits is not None
    assert "The sign changes between levels of workspace dimension: 4 against 8 at synergy loss scale 0.5." in limits[1]
    said = (
        "at synergy loss scale 0.5, a larger share of unique features, R2 is retained at workspace dimension 4, of "
        "best validation loss at 8. The average gives every level of this grid the same weight"
    )
    assert said in report
    assert "<summary>By workspace dimension</summary>" in report


def test_levels_of_opposite_signs_are_told_with_the_combination_that_has_them(tmp_path: Path) -> None:
    kept = {0.5: {4: 0.2, 8: 0.9, 16: 1.0}, 2.0: {4: 0.2, 8: 0.2, 16: 1.0}}
    report = _swept(tmp_path, 0.01, kept, scale=[0.5, 2.0]).store.paths.report_file.read_text()
    assert "opposite signs: " in report
    assert "The sign changes between levels of workspace dimension: 4 against 8 at synergy loss scale 0.5." in report


@pytest.mark.parametrize("noise", [0.01, 0.3])
def test_levels_of_one_sign_or_of_noise_are_no_reversal(tmp_path: Path, noise: float) -> None:
    kept = {0.5: KEPT[2.0]} if noise < 0.1 else {0.5: {4: 0.5, 8: 0.5, 16: 1.0}}
    report = _swept(tmp_path, noise, kept).store.paths.report_file.read_text()
    assert "The sign changes" not in report
    assert "The sign depends on the level" not in report


def test_the_table_of_levels_has_the_shares_that_either_kind_retains(tmp_path: Path) -> None:
    report = _swept(tmp_path, 0.0001).store.paths.report_file.read_text()
    table = report[report.index("<summary>By workspace dimension") :]
    rows = re.findall(r'<tr><td class="word">(\d+)</td><td>([^<]*)</td><td>([^<]*)</td><td>([^<]*)</td></tr>', table)
    assert [(row[0], *row[2:]) for row in rows] == [("4", "20 %", "50 %"), ("8", "90 %", "50 %")]
    assert [re.match(r"[-+]\d+", row[1])[0] for row in rows] == ["-30", "+40"] or all(  # type: ignore[index]
        abs(float(row[1].partition(" ")[0]) - value) < 0.5 for row, value in zip(rows, (-30, 40), strict=True)
    )


# Of the variance explained at 16, 0.9; in nats, a share of it is less than the share itself.
_IN_NATS: dict[float, Shares] = {0.5: {4: 0.2, 8: 0.6, 16: 1.0}}
_R2_OF_THEM: Shares = {4: 0.5, 8: 0.6, 16: 1.0}


def _in_both_units(root: Path, kept: Mapping[float, Shares], other: Shares, **chances: Any) -> str:
    """The report of a sweep of which both metrics declare what kind of error they are."""
    kinds = {LOSS: {"error": "cross entropy"} | chances, R2: {"error": "squared"}}
    trainer = replace(BUILT_IN_LIKE, metrics={n: entry | kinds.get(n, {}) for n, entry in METRICS.items()})
    sweep = make_sweep({"dim": [4, 8, 16]}, 5, trainer, primary=[LOSS])
    directory = Directory(root, replace(sweep, analysis=dict(sweep.analysis) | {"tests": [{"retention": RETENTION}]}))

    def values(cell: Cell) -> dict[str, float | None]:
        dim = int(cell.factors["dim"])
        own = 0.003 * np.random.default_rng([cell.seed, dim]).normal(size=2)
        return {LOSS: 2 * (1 - 0.8 * kept[0.5][dim] - float(own[0])), R2: 0.9 * other[dim] + float(own[1])}

    directory.fill(values)
    aggregate(root, figures=False)
    return html.unescape(directory.store.paths.report_file.read_text())


def test_a_sign_that_changes_between_levels_in_nats_alone_is_said_too(tmp_path: Path) -> None:
    report = _in_both_units(tmp_path, _IN_NATS, _R2_OF_THEM)
    assert "The sign changes between levels of workspace dimension: in nats, 4 against 8." in report
    assert "tested): in nats, a larger share of unique features, R2 is retained at workspace dimension 4" in report


def test_a_level_at_which_everything_says_the_same_is_told_with_what_was_at_chance_there(tmp_path: Path) -> None:
    """At 4 the loss is that of guessing in every run; the average over 4 and 8 says nothing of the kind."""
    kept = {0.5: {4: 0.0, 8: 0.9, 16: 1.0}}
    report = _in_both_units(tmp_path, kept, {4: 0.45, 8: 0.45, 16: 1.0}, chance=2.0)
    assert (
        "At workspace dimension 4, in either unit, a larger share of unique features, R2 is retained: best validation "
        "loss was at chance in every run used; at workspace dimension 8, in either unit, a larger share of best "
        "validation loss is retained."
    ) in report


def test_a_unit_that_barely_detects_is_not_said_to_decide_beside_the_claim(tmp_path: Path) -> None:
    """In nats, single seeds make the difference; in shares, there is none."""
    own = dict(zip(range(42, 47), [-0.25, -0.1, 0.0, 0.1, 0.25], strict=True))
    kinds = {LOSS: {"error": "cross entropy"}, R2: {"error": "squared"}}
    trainer = replace(BUILT_IN_LIKE, metrics={n: entry | kinds.get(n, {}) for n, entry in METRICS.items()})
    sweep = make_sweep({"dim": [4, 8]}, 5, trainer, primary=[LOSS])
    directory = Directory(
        tmp_path, replace(sweep, analysis=dict(sweep.analysis) | {"tests": [{"retention": RETENTION}]})
    )

    def values(cell: Cell) -> dict[str, float | None]:
        share = 1.0 if cell.factors["dim"] == 8 else 0.5 + own[cell.seed]
        return {LOSS: 2 * (1 - 0.8 * share), R2: 0.9 if cell.factors["dim"] == 8 else 0.45}

    directory.fill(values)
    report = aggregate(tmp_path, figures=False).report.read_text()
    shares = list(own.values())
    nats = [0.5 + share - np.log(1 - 0.45) / np.log(1 - 0.9) for share in own.values()]
    assert scipy.stats.ttest_1samp(shares, 0).pvalue > 0.05 > scipy.stats.ttest_1samp(nats, 0).pvalue  # the premise
    assert "in nats, the interval is barely in favour of best validation loss." in report
