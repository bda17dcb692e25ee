"""How many seeds a claim takes: with the spread of finished seeds, corrected for the family and the looks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from helpers.sweeps import ACCURACY, Directory, make_sweep

from hpc.launch.options import SeedTarget
from hpc.launch.seeds import advice
from hpc.planning import family

TESTS = [{"metric": ACCURACY, "slope": "dim"}, {"metric": ACCURACY, "compare": {"dim": [4, 8]}}]


def _directory(root: Path, **analysis: Any) -> Directory:
    sweep = make_sweep({"dim": [4, 8]}, 4, primary=[ACCURACY])
    fixed = dict(sweep.analysis) | {"reference": {"dim": 8}, "tests": TESTS} | analysis
    directory = Directory(root, replace(sweep, analysis=fixed))
    directory.fill(lambda cell: {ACCURACY: 0.5 + 0.01 * cell.run_id * (1 + (cell.factors["dim"] == 4))})
    return directory


def test_a_test_has_its_share_of_alpha_by_family_and_looks(tmp_path: Path) -> None:
    sweep = _directory(tmp_path, looks=2).store.sweep()
    assert family.tests_in_family(sweep) == 2
    assert family.alpha_of_a_test(sweep) == pytest.approx(0.05 / 2 / 2)


def test_the_seeds_for_an_effect_are_those_of_the_corrected_test(tmp_path: Path) -> None:
    directory = _directory(tmp_path)
    said = advice(directory.store, directory.store.sweep(), SeedTarget(effect=0.02))
    spread = np.std([0.0, 0.01, 0.02, 0.03], ddof=1)

    def power(n: int) -> float:
        return float(scipy.stats.nct.sf(scipy.stats.t.ppf(1 - 0.025 / 2, n - 1), n - 1, 0.02 / spread * np.sqrt(n)))

    needed = next(n for n in range(2, 100) if power(n) >= 0.8)
    assert f"in a family of 2: {needed} seeds per condition, {needed - 4} more than the 4 there are" in said
    assert "so few seeds know it only roughly" in said


@pytest.mark.parametrize(
    ("looks", "expected"),
    [(1, "the claims of the grown sweep will be exploratory"), (2, "this will be look 2 of 2 planned ones")],
)
def test_what_growing_does_to_the_claims_is_said_with_its_cost(tmp_path: Path, looks: int, expected: str) -> None:
    directory = _directory(tmp_path, looks=looks)
    assert expected in advice(directory.store, directory.store.sweep(), SeedTarget(halfwidth=0.005))
