"""Tests and corrections from arrays: t, equivalence, Holm, Benjamini-Hochberg, effect sizes, pairing.

Nothing here knows of files, metrics or figures. Seeds lie on the last axis, NaN marks a seed without a value; a test
that cannot be made has p = NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from aggregate.arrays import Floats, Integers
from aggregate.stats.intervals import describe, t_interval


@dataclass(frozen=True)
class TTest:
    """One-sample t tests of a mean of 0; every array has the shape of the input without its last axis.

    n: values present. mean: with its interval (low, high), the unit of the values. t, p: two-sided; NaN where n is
    below 2 or all values are the same, since a spread of 0 says nothing about chance.
    """

    n: Integers
    mean: Floats
    sem: Floats
    low: Floats
    high: Floats
    t: Floats
    p: Floats


def one_sample_t(values: ArrayLike, level: float = 0.95) -> TTest:
    """Test whether means over seeds differ from 0. values: shape (..., seeds). Source: Student 1908."""
    d = describe(values)
    low, high = t_interval(d.mean, d.sem, d.n, level)
    t = np.divide(d.mean, d.sem, out=np.full_like(d.mean, np.nan), where=d.sem > 0)
    return TTest(d.n, d.mean, d.sem, low, high, t, 2 * special.stdtr(np.maximum(d.n - 1, 1), -np.abs(t)))


def equivalence_p(values: ArrayLike, margin: float) -> Floats:
    """P value of a mean beyond +-margin: small says the mean is nearer to 0 than the margin.

    values: shape (..., seeds). margin: above 0, the unit of the values. Returns shape (...).
    Source: two one-sided tests, Schuirmann 1987.
    """
    test = one_sample_t(values)
    known = test.sem > 0
    nearest = np.divide(margin - np.abs(test.mean), test.sem, out=np.full_like(test.mean, np.nan), where=known)
    return np.asarray(special.stdtr(np.maximum(test.n - 1, 1), -nearest))


def hedges_dz(differences: ArrayLike) -> Floats:
    """Standardised mean of paired differences, corrected for its bias with few seeds. shape (..., seeds) -> (...).

    NaN where n is below 3 or there is no spread. Source: Hedges 1981 with n - 1 degrees of freedom.
    """
    d = describe(differences)
    known = (d.n > 2) & (d.std > 0)
    correction = hedges_factor(np.maximum(d.n, 3))
    return np.asarray(correction * np.divide(d.mean, d.std, out=np.full_like(d.mean, np.nan), where=known))


def hedges_factor(n: Any) -> Any:
    """What a standardised mean of n seeds is multiplied by; 3 seeds or more."""
    freedom = np.asarray(n, dtype=np.float64) - 1
    return np.exp(special.gammaln(freedom / 2) - special.gammaln((freedom - 1) / 2)) / np.sqrt(freedom / 2)


def holm(p: ArrayLike) -> Floats:
    """P values adjusted for the family-wise error. A test that could not be made (NaN) still counts in the family.

    p: shape (tests,). Source: Holm 1979.
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")  # NaN last
    steps = values[order] * np.arange(len(values), 0, -1)
    return _placed(np.fmin(np.maximum.accumulate(steps), 1.0), order, values)


def holm_levels(p: Sequence[float], alpha: float) -> list[float]:
    """Levels of the intervals that leave out 0 if and only if Holm's method detects.

    Its k-th smallest p is held against alpha / (tests - k + 1), and the steps end where the first fails.
    """
    levels = [math.nan] * len(p)
    order = sorted(range(len(p)), key=lambda i: (math.isnan(p[i]), p[i]))
    step = len(p)
    for i in order:
        levels[i] = 1 - alpha / step
        if p[i] * step <= alpha:
            step -= 1
    return levels


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """P values adjusted for the false discovery rate, over the tests that could be made.

    p: shape (tests,). Source: Benjamini & Hochberg 1995.
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    made = int((~np.isnan(values)).sum())
    steps = values[order]
    steps[:made] *= made / np.arange(1, made + 1)
    steps[:made] = np.minimum.accumulate(steps[:made][::-1])[::-1]
    return _placed(np.minimum(steps, 1.0), order, values)


def _placed(adjusted: Floats, order: Integers, values: Floats) -> Floats:
    result = np.empty_like(values)
    result[order] = adjusted
    return np.where(np.isnan(values), np.nan, result)


def seed_correlation(values: ArrayLike) -> tuple[float, int]:
    """How alike two conditions are under the same seed, and the number of seeds that entered.

    values: shape (conditions, seeds); only seeds with a value in every condition enter. The intraclass correlation of
    seeds over conditions, between -1 / (conditions - 1) and 1; NaN without two of each. Source: Shrout & Fleiss 1979,
    ICC(3, 1).
    """
    data = np.asarray(values, dtype=np.float64)
    data = data[:, ~np.isnan(data).any(axis=0)]
    conditions, seeds = data.shape
    if conditions < 2 or seeds < 2:
        return float("nan"), seeds
    with np.errstate(over="ignore", invalid="ignore"):
        centred = data - data.mean(axis=1, keepdims=True)
        shared = conditions * float((centred.mean(axis=0) ** 2).sum()) / (seeds - 1)
        everything = float((centred**2).sum()) / (seeds - 1)
    own = (everything - shared) / (conditions - 1)
    total = shared + (conditions - 1) * own
    # The last digits are rounding: two conditions that share nothing are to have 0 and not 3e-17.
    return (round((shared - own) / total, 12) if 0 < total < np.inf else float("nan")), seeds


def pairing_ratio(correlation: float, seeds: int) -> float:
    """Width of the interval for a paired difference, relative to that of two independent groups of as many seeds.

    Below 1: pairing narrowed it. NaN below 2 seeds. Source: the standard errors of both, with their t quantiles.
    """
    if seeds < 2:
        return float("nan")
    paired, free = special.stdtrit(np.array([seeds - 1, 2 * seeds - 2]), 0.975)
    return float(paired / free * np.sqrt(max(1 - correlation, 0.0)))
