"""Bands that hold a whole curve, not each of its points: what a pointwise interval does only 7 to 75 % of the time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from aggregate.arrays import Floats, Integers

FEWEST_SEEDS = 4  # at 3 the multiplier is above 30: the seeds themselves say more
_HALVINGS = 60


def simultaneous_multiplier(values: Floats, complete: NDArray[np.bool_], level: float = 0.95) -> Floats:
    """How many standard errors on each side of the mean hold the true mean curve as a whole.

    values: shape (conditions, seeds, points), NaN where a seed has no value. complete: which points of a condition have
    all of its seeds, shape (conditions, points); the band is meant for these. level: coverage, fraction in (0, 1).
    Returns shape (conditions,); NaN below 4 seeds. Points must be in order; curves may be as rough as they like, since
    the multiplier never exceeds that of Bonferroni over the points.
    Source: Gaussian kinematic formula for t fields, Telschow & Schwartzman 2022; coverage in docs/statistics.md.
    """
    n = (~np.isnan(values)).sum(axis=1)
    seeds = np.where(complete, n, 0).max(axis=1, initial=0)
    points = complete.sum(axis=1)
    usable = (seeds >= FEWEST_SEEDS) & (points > 0)
    freedom = np.maximum(seeds - 1.0, 1.0)
    length = _length(np.where(complete[:, None, :], values, np.nan))
    smooth = _kinematic(length, freedom, (1 - level) / 2)
    rough = special.stdtrit(freedom, 1 - (1 - level) / (2 * np.maximum(points, 1)))
    return np.where(usable, np.minimum(smooth, rough), np.nan)


def _length(values: Floats) -> Floats:
    """Length of the curve that standardised residuals, as unit vectors over seeds, trace; shape (conditions,)."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        present = ~np.isnan(values)
        mean = np.where(present, values, 0.0).sum(axis=1) / present.sum(axis=1)
        residuals = np.where(present, values - mean[:, None, :], 0.0)
        units = residuals / np.sqrt((residuals**2).sum(axis=1))[:, None, :]
        steps = np.sqrt((np.diff(units, axis=2) ** 2).sum(axis=1))
    return np.asarray(np.where(np.isfinite(steps), steps, 0.0).sum(axis=1))


def _kinematic(length: Floats, freedom: Floats, tail: float) -> Floats:
    """Threshold that a t process of this length exceeds with probability ``tail``, by bisection."""
    low, high = np.zeros_like(length), np.full_like(length, 1e6)
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        crossings = length / (2 * np.pi) * (1 + middle**2 / freedom) ** (-(freedom - 1) / 2)
        too_low = special.stdtr(freedom, -middle) + crossings > tail
        low, high = np.where(too_low, middle, low), np.where(too_low, high, middle)
    return high


def full_points(n: Integers) -> NDArray[np.bool_]:
    """Where a condition has as many seeds as anywhere; elsewhere its mean would jump with the set of seeds.

    n: shape (conditions, points).
    """
    return np.asarray((n > 0) & (n == n.max(axis=-1, keepdims=True, initial=0)))
