"""An estimate and its interval as they are written: with the same decimals, and none that would hide a sign."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from aggregate.analysis.fixed_analysis import Slope
from aggregate.analysis.questions import COMPARISON, RETENTION, Question
from aggregate.answers.estimates import amount, bracket, bracketed, numbers, with_level
from aggregate.reading.declared import REAL, Metric
from aggregate.wording import with_interval

METRIC = Metric("m", "m", "m", REAL, "", None)


def _question(kind: str = COMPARISON, *, log: bool = False) -> Question:
    return Question(Slope("m", "dim"), kind, METRIC, ("dim",), log=log)


@pytest.mark.parametrize(
    ("estimate", "low", "high", "said"),
    [
        (-0.0802, -0.1836, 0.0232, "-8 [-18, +2]"),
        (0.1158, 0.0044, 0.2272, "+11.6 [+0.4, +22.7]"),  # whole points would hide that the interval leaves out 0
        (-0.245, -0.251, -0.239, "-24.5 [-25.1, -23.9]"),
        (0.1524, 0.1079, 0.1969, "+15 [+11, +20]"),
        (-0.002, -0.18, 0.18, "+0 [-18, +18]"),  # what is rounded to nothing has no sign
        (0.2, math.nan, math.nan, "+20"),
        (math.nan, math.nan, math.nan, "-"),
    ],
)
def test_points_of_retention_have_the_decimals_that_their_interval_deserves(
    estimate: float, low: float, high: float, said: str
) -> None:
    assert numbers(_question(RETENTION), estimate, low, high) == said


@pytest.mark.parametrize(
    ("estimate", "low", "high", "said"),
    [
        (0.2041, 0.1567, 0.2515, "+0.20 [+0.16, +0.25]"),
        (-0.0138, -0.0222, -0.00543, "-0.014 [-0.022, -0.005]"),
        (12345.6, 12000.0, 12691.2, "+12346 [+12000, +12691]"),
        (3e-9, 1e-9, 5e-9, "+3e-09 [+1e-09, +5e-09]"),
        (2e9, 1e9, 3e9, "+2e+09 [+1e+09, +3e+09]"),
        (0.5, 0.5, 0.5, "+0.5 [+0.5, +0.5]"),
    ],
)
def test_other_units_as_well(estimate: float, low: float, high: float, said: str) -> None:
    assert numbers(_question(), estimate, low, high) == said
    assert f"{amount(_question(), estimate, low, high)} {bracket(_question(), low, high)}" == said
    assert (
        with_interval(estimate, low, high).replace("+", "") == said.replace("+", "")
        or low == high
        or not 1e-8 < high < 1e6
    )


def test_where_there_is_no_interval_none_is_told() -> None:
    known, alone = (0.2, 0.1, 0.3), (0.2, math.nan, math.nan)
    assert bracketed(_question(), *known) == "+0.20 [+0.10, +0.30]"
    assert with_level(_question(), *known, 0.95, " per step", "; more") == (
        "+0.20 per step (95 % interval [+0.10, +0.30]; more)"
    )
    assert bracketed(_question(), *alone) == "+0.2"
    assert with_level(_question(), *alone, 0.95, " per step", "; more") == "+0.2 per step"


def test_changes_in_percent_are_rounded_as_percent() -> None:
    low, estimate, high = np.log([0.5, 0.55, 0.61])
    assert numbers(_question(log=True), estimate, low, high) == "-45 [-50, -39]"
    assert amount(_question(log=True), estimate, low, high) == "-45 %"


def test_all_three_have_the_same_decimals_and_each_end_lies_where_it_is_written() -> None:
    random = np.random.default_rng(14)
    for _ in range(3000):
        half = 10.0 ** random.uniform(-5, 4)
        estimate = random.normal(0, 3 * half)
        low, high = estimate - half * random.uniform(0.5, 1.5), estimate + half
        told = numbers(_question(), estimate, low, high)
        parts = re.findall(r"[-+][\d.]+", told)
        assert len({len(part.partition(".")[2]) for part in parts}) == 1, told
        for part, value in zip(parts, (estimate, low, high), strict=True):
            assert abs(float(part) - value) <= 0.15 * (high - low), told
        for part, end in zip(parts[1:], (low, high), strict=True):
            assert np.sign(float(part)) == np.sign(end), told
