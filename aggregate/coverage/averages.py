"""The average over combinations, made with weights within seeds: does its interval hold whatever the combinations'
errors have to do with one another, and does the second one, which is reported where they seem to cancel?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.random import Generator

from aggregate.arrays import Floats
from aggregate.coverage.row import CoverageRow
from aggregate.stats.weighted import averaged, cancels, weighted_test

LEVEL = 0.95
SEEDS, COMBINATIONS = 5, 3
# Correlation of the combinations' errors within seeds.
_SHARED = {"errors unrelated": 0.0, "errors cancel, r = -0.4": -0.4, "errors alike, r = 0.5": 0.5}
_WEIGHTS = np.full(COMBINATIONS, 1 / COMBINATIONS)


def simulate_averages(repeats: int, random: Generator) -> Iterator[CoverageRow]:
    """Estimates of a true 0, normal over seeds."""
    name = f"average over {COMBINATIONS} combinations"
    for data, shared in _SHARED.items():
        covariance = np.full((COMBINATIONS, COMBINATIONS), shared) + (1 - shared) * np.eye(COMBINATIONS)
        root = np.linalg.cholesky(covariance)
        drawn = root @ random.normal(size=(repeats, COMBINATIONS, SEEDS))
        held, seen, second = np.array([_held(values) for values in drawn]).T
        yield CoverageRow(f"{name}, t", data, SEEDS, LEVEL, float(held.mean()), repeats)
        if (count := int(seen.sum())) and shared <= 0:
            share = float(held[seen].mean()), float(second[seen].mean())
            yield CoverageRow(f"{name}, t where they seem to cancel", data, SEEDS, LEVEL, share[0], count)
            yield CoverageRow(f"{name}, the second interval there", data, SEEDS, LEVEL, share[1], count)


def _held(values: Floats) -> tuple[bool, bool, bool]:
    """(whether the interval holds, whether a second is reported, whether that one holds)."""
    test = weighted_test(values, _WEIGHTS)
    unrelated = averaged([weighted_test(row[None], np.ones(1)) for row in values])
    (low, high), (others_low, others_high) = test.interval(LEVEL), unrelated.interval(LEVEL)
    return low <= 0 <= high, cancels(test, unrelated, LEVEL), others_low <= 0 <= others_high
