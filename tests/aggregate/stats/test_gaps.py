from __future__ import annotations

import math
from itertools import pairwise
from statistics import fmean

import numpy as np
import pytest

from aggregate.stats.gaps import gaps, two_groups

RANDOM = np.random.default_rng(3)


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("draw", ["normal", "saturated"])
def test_at_most_one_clean_sweep_in_twenty_is_flagged(seeds: int, draw: str) -> None:
    spread = 0.01 * np.exp(RANDOM.normal(0, 0.5, (600, 30, 1)))  # conditions are not all alike
    if draw == "saturated":
        spread[:, ::2] *= 1e-6  # every other condition is at its ceiling
    clean = 0.9 + spread * RANDOM.normal(size=(600, 30, seeds))
    assert np.mean([two_groups(sweep).any() for sweep in clean]) < 0.05 + 3 * 0.009


def test_one_collapsed_seed_of_five_is_found_and_named() -> None:
    sweeps = 0.9 + 0.01 * RANDOM.normal(size=(300, 30, 5))
    sweeps[:, 3, 2] -= 0.6
    found = np.array([two_groups(sweep) for sweep in sweeps])
    assert found[:, 3, 2].mean() > 0.9
    assert not found[:, 3, [0, 1, 3, 4]].any()


@pytest.mark.parametrize("split", [1, 2])
def test_every_split_of_five_seeds_is_found_if_it_is_far_enough(split: int) -> None:
    sweeps = 0.9 + 0.01 * RANDOM.normal(size=(300, 12, 5))
    sweeps[:, 3, :split] -= 0.6
    found = np.array([two_groups(sweep)[3] for sweep in sweeps])
    assert found[:, :split].all(axis=1).mean() > 0.9
    assert not found[:, split:].any()


@pytest.mark.parametrize("offset", [0.0, 1.0, 1e9])
def test_just_the_gaps_are_told_that_few_conditions_of_normal_seeds_have(offset: float) -> None:
    values = offset + RANDOM.standard_t(1.5, size=(4000, 6))
    values[RANDOM.random(values.shape) < 0.05] = np.nan
    expected = []
    for condition, row in enumerate(values):
        seeds = sorted(row[~np.isnan(row)].tolist())
        limit = {6: 5.41, 5: 7.17, 4: 11.8, 3: 46.0}.get(len(seeds), np.inf)
        widths = [high - low for low, high in pairwise(seeds)]
        split = widths.index(max(widths)) + 1 if widths else 0
        sides = [seeds[:split], seeds[split:]]
        squares = sum((value - fmean(side)) ** 2 for side in sides for value in side)
        if limit < np.inf and max(widths) / math.sqrt(squares / (len(seeds) - 2)) > limit:
            expected.append((condition, split))
    assert len(expected) > 100
    assert [(gap.condition, len(gap.lower)) for gap in gaps(values)] == expected


def test_seeds_that_agree_exactly_within_two_groups_are_found_by_the_spread_of_the_others() -> None:
    values = 0.9 + 0.01 * RANDOM.normal(size=(6, 5))
    values[2] = [0.125, 0.9, 0.9, 0.125, 0.9]
    values[4] = [1.0, 1.0, 1.0, 1.0, 0.999]
    found = two_groups(values)
    assert found[2].tolist() == [True, False, False, True, False]
    assert found.sum() == 2


def test_too_few_seeds_or_no_spread_are_never_two_groups() -> None:
    assert not two_groups(np.array([[0.0, 1.0], [0.0, 9.0]])).any()
    assert not two_groups(np.array([[0.5, 0.5, 0.5], [0.5, 0.5, 0.9]])).any()
    assert not two_groups(np.full((2, 3), np.nan)).any()


@pytest.mark.parametrize("anywhere", [0.05, 0.2, 0.9])
def test_gaps_that_are_rare_anywhere_are_just_those_among_all(anywhere: float) -> None:
    values = RANDOM.standard_t(1.5, size=(300, 6))
    values[RANDOM.random(values.shape) < 0.05] = np.nan
    every = list(gaps(values))
    rare = [gap for gap in every if gap.anywhere <= anywhere]
    assert 0 < len(rare) < len(every)
    assert list(gaps(values, anywhere)) == rare
