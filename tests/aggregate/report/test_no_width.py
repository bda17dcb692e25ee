"""Seeds that all gave the same number: no page says that an interval without a width covers anything, and a bound that
all of them reach is named."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.sweeps import ACCURACY, LOSS, Directory, make_sweep

from aggregate.pipeline import aggregate
from hpc.sweep.cell import Cell

R2 = "predictability/unique_r2"
_NO_WIDTH = re.compile(r"([-+]?\d[\d.e+-]*)(?: ?%| percentage points| points)? \[([-+\d.e]+), ([-+\d.e]+)\]")


def _page(root: Path, metrics: Callable[[Cell], dict[str, float | None]], metric: str, *, seeds: int = 5) -> str:
    sweep = make_sweep({"dim": [4, 8], "scale": [0.1, 1.0]}, seeds, primary=[metric])
    tests = [{"metric": metric, "compare": {"dim": [8, 4]}}]
    analysis = dict(sweep.analysis) | {"tests": tests, "reference": {"dim": 4, "scale": 0.1}}
    directory = Directory(root, replace(sweep, analysis=analysis))
    directory.fill(metrics)
    return aggregate(root, figures=False).report.read_text()


def _without_width(page: str) -> list[str]:
    return [found[0] for found in _NO_WIDTH.finditer(page) if found[2] == found[3]]


def _noise(cell: Cell) -> float:
    """The same in all conditions of a seed."""
    return float(np.random.default_rng(cell.seed).normal(0, 0.02))


def test_a_difference_that_is_the_same_in_every_seed_is_a_number_without_an_interval(tmp_path: Path) -> None:
    """Of runs that differ from seed to seed, so that each condition has an interval of its own."""
    page = _page(tmp_path, lambda cell: {R2: 0.5 + _noise(cell) + 0.25 * (cell.factors["dim"] == 8)}, R2)
    assert _without_width(page) == []
    claim = page[page.index("<article") : page.index("</article>")]
    assert "every seed gave the same number" in claim
    assert '<td class="said">+0.25</td>' in claim
    assert "contain their own true values" not in page
    assert "100 % narrower" not in page
    family = json.loads((tmp_path / "statistics.json").read_bytes())["claims"]["family"][0]
    assert (family["estimate"], family["low"], family["high"]) == (pytest.approx(0.25), None, None)
    assert [(part["low"], part["high"]) for part in family["combinations"]] == [(None, None)] * 2


def test_of_two_combinations_only_that_whose_seeds_differ_is_said_to_contain_its_truth(tmp_path: Path) -> None:
    def metrics(cell: Cell) -> dict[str, float | None]:
        own = _noise(cell) * (cell.factors["scale"] == 1.0) * (cell.factors["dim"] == 8)
        return {R2: 0.5 + own + 0.25 * (cell.factors["dim"] == 8)}

    page = _page(tmp_path, metrics, R2)
    assert _without_width(page) == []
    assert "contain their own true values" not in page
    assert "1 without an interval, since the seeds do not differ" in page
    assert "includes 0" not in page[page.index("<article") : page.index("</article>")]


@pytest.mark.parametrize("logarithms", [False, True])
def test_conditions_without_spread_have_no_interval_in_any_table(tmp_path: Path, logarithms: bool) -> None:
    metric = LOSS if logarithms else R2

    def metrics(cell: Cell) -> dict[str, float | None]:
        return {metric: 0.5 if cell.factors["dim"] == 4 else 0.75 + abs(_noise(cell))}

    page = _page(tmp_path, metrics, metric)
    assert _without_width(page) == []
    assert "the same for all seeds at workspace dimension 4, synergy loss scale 0.1" in page
    # The file keeps the formula that is promised for it, and names the conditions.
    condition = json.loads((tmp_path / "aggregated_results.json").read_bytes())["dim_4_scale_0.1"]
    assert condition["aggregated_metrics"][metric]["ci_lower"] == 0.5
    assert json.loads((tmp_path / "statistics.json").read_bytes())["zero_spread"]


def test_a_ceiling_that_every_run_reached_is_named_with_what_that_hides(tmp_path: Path) -> None:
    page = _page(tmp_path, lambda cell: {ACCURACY: 1.0}, ACCURACY)
    assert _without_width(page) == []
    claim = page[page.index("<article") : page.index("</article>")]
    assert "all runs are at the bound 1 of synergy accuracy, and what lies beyond it cannot be seen" in claim
    assert "synergy accuracy: all seeds lie exactly at the bound 1 at workspace dimension 4, synergy loss scale" in page
    assert "the same for all seeds" not in page  # one line for one matter


def test_a_bound_that_some_runs_reached_is_told_from_one_that_all_did(tmp_path: Path) -> None:
    def metrics(cell: Cell) -> dict[str, float | None]:
        return {ACCURACY: 1.0 if cell.factors["dim"] == 8 or cell.run_id == 0 else 0.9 + _noise(cell)}

    claim = _page(tmp_path, metrics, ACCURACY)
    claim = claim[claim.index("<article") : claim.index("</article>")]
    for which, dim, so in (("some", 4, "no interval is to be trusted"), ("all", 8, "there is no interval")):
        where = " and ".join(f"workspace dimension {dim}, synergy loss scale {scale}" for scale in (0.1, 1))
        said = f"{which} seeds lie exactly at the bound 1 at {where}: what lies beyond it cannot be seen, and {so}"
        assert said in claim


def test_a_loss_of_exactly_0_is_at_its_bound_and_two_bounds_are_not_taken_for_one(tmp_path: Path) -> None:
    page = _page(tmp_path, lambda cell: {LOSS: 0.0, ACCURACY: 1.0}, LOSS)
    assert "best validation loss: all seeds lie exactly at the bound 0 at" in page
    assert "synergy accuracy: all seeds lie exactly at the bound 1 at" in page
