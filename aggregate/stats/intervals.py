"""Numbers from arrays: description of seeds, intervals for a mean, intervals for a completion rate.

Nothing here knows of files, metrics or figures. Every function works over all conditions at once: seeds lie on the last
axis, everything before it is the caller's. NaN marks a seed without a value; the caller counts those, so that nothing
is dropped in silence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from aggregate.arrays import Floats, Integers, Interval


@dataclass(frozen=True)
class Description:
    """What the seeds of each condition look like; every array has the shape of the input without its last axis.

    n: values present. mean, minimum, maximum, median: NaN where n is 0. std (ddof = 1), sem: NaN where n is below 2.
    """

    n: Integers
    mean: Floats
    std: Floats
    sem: Floats
    minimum: Floats
    maximum: Floats
    median: Floats

    @property
    def zero_spread(self) -> NDArray[np.bool_]:
        """Where two or more seeds gave the very same number, so that an interval says nothing."""
        return np.asarray((self.n > 1) & (self.minimum == self.maximum))


def describe(values: ArrayLike) -> Description:
    """Describe the values over seeds.

    values: shape (..., seeds), any unit; NaN where a seed has no value.
    Equal values give exactly that mean and a std of 0, without the rounding of a sum.
    A sum that no float holds gives NaN.
    """
    data = np.asarray(values, dtype=np.float64)
    present = ~np.isnan(data)
    n = present.sum(axis=-1)
    last = np.maximum(n - 1, 0)
    ordered = np.sort(data, axis=-1)  # NaN last
    minimum, maximum = _pick(ordered, np.zeros_like(n)), _pick(ordered, last)
    median = 0.5 * _pick(ordered, last // 2) + 0.5 * _pick(ordered, np.minimum(n // 2, last))
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.where(present, data, 0.0).sum(axis=-1)
        known = (n > 0) & np.isfinite(total)
        mean = np.where(known, np.clip(total / np.maximum(n, 1), minimum, maximum), np.nan)
        std = np.where(n < 2, np.nan, _deviation(np.where(present, data - mean[..., None], 0.0), n))
    std = np.where((n > 1) & (minimum == maximum), 0.0, std)
    return Description(n, mean, std, std / np.sqrt(np.maximum(n, 1)), minimum, maximum, median)


def _deviation(centred: Floats, n: Integers) -> Floats:
    """Standard deviations; in units of the largest distance, so that no square of it vanishes or overflows."""
    largest = np.abs(centred).max(axis=-1, initial=0.0)
    unit = np.where((largest > 0) & np.isfinite(largest), largest, 1.0)
    return np.asarray(unit * np.sqrt(((centred / unit[..., None]) ** 2).sum(axis=-1) / np.maximum(n - 1, 1)))


def without_rounding(values: ArrayLike, rounding: ArrayLike) -> Floats:
    """Sums and differences of measurements, freed of what is rounding: a test would take that for chance.

    values: shape (..., seeds), NaN where a seed has no value. rounding: the largest error of each, same shape.
    A value that small is 0; seeds that differ by no more all get their median.
    """
    data, error = np.asarray(values, dtype=np.float64), np.asarray(rounding, dtype=np.float64)
    data = np.where(np.abs(data) <= error, 0.0, data)
    d = describe(data)
    with np.errstate(over="ignore", invalid="ignore"):
        alike = d.maximum - d.minimum <= np.where(np.isnan(error), 0.0, error).max(axis=-1, initial=0.0)
    return np.where(alike[..., None] & ~np.isnan(data), d.median[..., None], data)


def t_interval(mean: ArrayLike, sem: ArrayLike, n: ArrayLike, level: float = 0.95) -> Interval:
    """Confidence interval for the mean of roughly normal values over seeds.

    mean, sem: shape (...), the metric's unit. n: shape (...), seeds. level: coverage, fraction in (0, 1).
    Returns (low, high), shape (...); NaN where n is below 2. Raises ValueError if level is not in (0, 1).
    Source: Student's t; coverage at n = 3..10 in docs/statistics.md.
    """
    centre = np.asarray(mean, dtype=np.float64)
    half = _multiplier(n, level) * np.asarray(sem, dtype=np.float64)
    return centre - half, centre + half


def delta_logit_interval(mean: ArrayLike, sem: ArrayLike, n: ArrayLike, level: float = 0.95) -> Interval:
    """Confidence interval for the mean of a metric bounded by 0 and 1; it never leaves [0, 1].

    mean, sem: shape (...), fractions. n: shape (...), seeds. level: coverage, fraction in (0, 1).
    Returns (low, high), fractions; NaN where n is below 2. A mean of exactly 0 or 1 (no spread) is its own interval.
    Raises ValueError if a mean is outside [0, 1] or level is not in (0, 1).
    Source: delta method on logit(mean) with Student's t; coverage at n = 3..10 in docs/statistics.md.
    """
    centre = np.asarray(mean, dtype=np.float64)
    if np.any((centre < 0) | (centre > 1)):
        raise ValueError("the mean of a bounded metric must be in [0, 1]")
    return within_bounds(centre, _multiplier(n, level) * np.asarray(sem, dtype=np.float64))


def within_bounds(mean: Floats, half: Floats) -> Interval:
    """mean +- half for a share, by the delta method on its logit; a mean at a bound has no width. Of one shape."""
    inside = (mean > 0) & (mean < 1)
    safe = np.where(inside, mean, 0.5)
    reach, edge = half / (safe * (1 - safe)), np.where(np.isnan(half), np.nan, mean)
    middle = special.logit(safe)
    low, high = special.expit(middle - reach), special.expit(middle + reach)
    return np.where(inside, low, edge), np.where(inside, high, edge)


def median_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Confidence interval for the median between two of the ordered values, whatever their distribution.

    values: shape (..., seeds), any unit; NaN where a seed has no value. level: coverage, fraction in (0, 1).
    Returns (low, high), shape (...); NaN where even [minimum, maximum] covers less than ``level`` (below 6 seeds at
    95 %). Raises ValueError if level is not in (0, 1). Source: order statistics, Thompson 1936.
    """
    data = np.asarray(values, dtype=np.float64)
    n = (~np.isnan(data)).sum(axis=-1)
    ordered = np.sort(data, axis=-1)
    tail = (1 - _checked(level)) / 2
    counts, which = np.unique(n, return_inverse=True)
    skipped = np.array([_values_outside(count, tail) for count in counts], dtype=np.int64)[which].reshape(n.shape)
    place = np.maximum(skipped, 0)
    low, high = _pick(ordered, place), _pick(ordered, np.maximum(n - 1 - place, 0))
    return np.where(skipped < 0, np.nan, low), np.where(skipped < 0, np.nan, high)


def _values_outside(n: int, tail: float) -> int:
    """How many values may lie outside on each side; -1 if the whole range covers too little."""
    chances = special.bdtr(np.arange(n), n, 0.5) if n else np.empty(0)
    return int((chances <= tail).sum()) - 1


def clopper_pearson(successes: ArrayLike, trials: ArrayLike, level: float = 0.95) -> Interval:
    """Exact confidence interval for a rate, as that of cells that completed.

    successes, trials: shape (...), counts. level: coverage, fraction in (0, 1).
    Returns (low, high), fractions; no trials: (0, 1). Raises ValueError if successes exceed trials or level is wrong.
    Source: Clopper & Pearson 1934, by quantiles of the beta distribution.
    """
    k, n = np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    if np.any((k < 0) | (k > n)):
        raise ValueError("successes must be from 0 to the number of trials")
    tail = (1 - _checked(level)) / 2
    low = special.betaincinv(np.maximum(k, 1), n - np.maximum(k, 1) + 1, tail, where=k > 0, out=np.zeros_like(k))
    below = np.minimum(k, n - 1)
    high = special.betaincinv(below + 1, n - below, 1 - tail, where=k < n, out=np.ones_like(k))
    return low, high


def _multiplier(n: ArrayLike, level: float) -> Floats:
    """Student's t quantile of a two-sided interval for n seeds; NaN below 2."""
    seeds = np.asarray(n, dtype=np.float64)
    quantile = special.stdtrit(np.maximum(seeds - 1, 1), (1 + _checked(level)) / 2)
    return np.where(seeds < 2, np.nan, quantile)


def _checked(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; a coverage is a fraction between 0 and 1")
    return level


def _pick(ordered: Floats, position: Integers) -> Floats:
    """ordered: (..., seeds), position: (...) -> (...)."""
    return np.take_along_axis(ordered, position[..., None], axis=-1)[..., 0]
