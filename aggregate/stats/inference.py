"""Tests and corrections from arrays: t, equivalence, Holm, Benjamini-Hochberg, standardised differences, pairing.

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

_FEWEST_TO_CORRELATE = 3  # two seeds correlate by 1 or -1, whatever they are


@dataclass(frozen=True)
class TTest:
    """One-sample t tests of a mean of 0; every array has the shape of the input without its last axis.

    n: values present. mean: with its interval (low, high), the unit of the values. t, p: two-sided. Interval, t and p
    are NaN where n is below 2 or all values are the same, since a spread of 0 says nothing about chance.
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
    low, high = (np.where(d.sem > 0, end, np.nan) for end in t_interval(d.mean, d.sem, d.n, level))
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


def seed_correlation(values: ArrayLike) -> tuple[float, int, int]:
    """How alike two conditions are under the same seed, and the numbers of conditions and of seeds that entered.

    values: shape (conditions, seeds); only seeds with a value in every condition enter, and conditions in which these
    differ. The mean of Pearson's correlation over all pairs of conditions, between -1 / (conditions - 1) and 1; NaN
    below two conditions or three seeds. Every pair counts alike, so that a condition of wide spread does not decide.
    """
    data = np.asarray(values, dtype=np.float64)
    data = data[:, ~np.isnan(data).any(axis=0)]
    seeds = data.shape[1]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        centred = data - data.mean(axis=1, keepdims=True) if seeds else data
        length = np.sqrt((centred**2).sum(axis=1, keepdims=True))
        alike = length[:, 0] <= 4 * np.finfo(np.float64).eps * np.abs(data).sum(axis=1)
        standard = (centred / length)[~alike]
    conditions = len(standard)
    if conditions < 2 or seeds < _FEWEST_TO_CORRELATE or not np.isfinite(standard).all():
        return float("nan"), conditions, seeds
    total = float((standard.sum(axis=0) ** 2).sum())  # the sum of all correlations, each condition's own of 1 included
    # The last digits are rounding: two conditions that share nothing are to have 0 and not 3e-17.
    return round((total - conditions) / (conditions * (conditions - 1)), 12), conditions, seeds


def correlation_by_chance(conditions: int, seeds: int) -> float:
    """Standard deviation that this mean of correlations has if runs are unrelated and vary normally: pairs of
    independent samples are uncorrelated in their correlations, each of which has variance 1 / (seeds - 1)."""
    return math.sqrt(2 / (conditions * (conditions - 1) * (seeds - 1)))


def pairing_ratio(correlation: float, seeds: int) -> float:
    """Width of the interval for a paired difference of two conditions of equal spread, relative to that of two
    independent groups of as many seeds.

    correlation: of the two. Below 1: pairing narrowed it. NaN below 2 seeds, and for a correlation of 1: a difference
    that does not vary has no interval. Source: the standard errors of both, with their t quantiles.
    """
    if seeds < 2 or correlation >= 1:
        return float("nan")
    paired, free = special.stdtrit(np.array([seeds - 1, 2 * seeds - 2]), 0.975)
    return float(paired / free * np.sqrt(1 - correlation))
