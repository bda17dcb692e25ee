"""A weighted sum of condition means, tested over seeds: the seeds are the units, and a seed may lack a condition."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from aggregate.arrays import Floats

# An interval that unrelated combinations would widen by as much owes its width to errors that cancel.
_CANCELS = 1.25
_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class WeightedTest:
    """A two-sided test of a weighted sum of means against 0.

    estimate, error: the sum and its standard error, NaN where neither is known; an error of 0 says nothing of chance.
    freedom: degrees of freedom. seeds: that enter at all. per_seed: the sum within each seed, NaN for one that lacks a
    row; shape (seeds,).
    """

    estimate: float
    error: float
    freedom: float
    seeds: int
    per_seed: Floats

    @property
    def p(self) -> float:
        """NaN if there is nothing to test."""
        if not self.error > 0:
            return math.nan
        return float(2 * special.stdtr(self.freedom, -abs(self.estimate) / self.error))

    @property
    def deviation(self) -> float:
        """Standard deviation of the sum over seeds; what d_z is in units of."""
        return self.error * math.sqrt(self.seeds)

    def interval(self, level: float) -> tuple[float, float]:
        """Confidence interval. level: coverage, fraction in (0, 1). NaN where the error is 0: seeds that all gave the
        same number say nothing of how far others would be from it, and an interval without a width covers nothing."""
        if not self.error > 0:
            return math.nan, math.nan
        half = float(special.stdtrit(self.freedom, (1 + level) / 2)) * self.error
        return self.estimate - half, self.estimate + half


def weighted_test(values: Floats, weights: Floats) -> WeightedTest:
    """Test sum(weights x mean of each row) over seeds.

    values: shape (rows, seeds), NaN where a seed has no value; every row needs two, or nothing is tested.
    weights: shape (rows,). Without gaps this is Student's one-sample t test of the sums within seeds. With gaps a row's
    mean is that of the seeds it has, and the residuals of a seed stay together, so that slopes of their own count:
    a cluster-robust error, each row corrected for its own number of seeds, with the degrees of freedom of Bell &
    McCaffrey 2002. Type I error with gaps: docs/statistics.md.
    """
    if not values.size:
        return WeightedTest(math.nan, math.nan, math.nan, 0, np.full(values.shape[1], math.nan))
    present = ~np.isnan(values)
    n = present.sum(axis=1)
    sums = _sums(values, weights)
    seeds = int(present.any(axis=0).sum())
    if n.min() < 2:
        return WeightedTest(
            float(np.nanmean(sums)) if seeds == 1 and n.all() else math.nan, math.nan, math.nan, seeds, sums
        )
    with np.errstate(over="ignore", invalid="ignore"):
        if present.all():
            estimate, residuals = sums.mean(), (sums - sums.mean()) / math.sqrt(seeds * (seeds - 1))
            estimate = min(max(estimate, sums.min()), sums.max())
            freedom = seeds - 1.0
        else:
            estimate, residuals, freedom = _with_gaps(values, weights, present)
        largest = float(np.abs(residuals).max())
        error = largest * math.sqrt(float(((residuals / largest) ** 2).sum())) if largest > 0 else 0.0
    if not math.isfinite(estimate) or not math.isfinite(error):
        return WeightedTest(math.nan, math.nan, math.nan, seeds, sums)
    return WeightedTest(float(estimate), error, freedom, seeds, sums)


def averaged(tests: Sequence[WeightedTest]) -> WeightedTest:
    """The mean of the tests' estimates, were their errors unrelated: what they share within seeds, or cancel, is left
    out. Degrees of freedom: Satterthwaite 1946. per_seed is empty. Type I error and coverage: docs/statistics.md."""
    errors, freedom = np.array([[test.error, test.freedom] for test in tests]).T
    squares = (errors / len(tests)) ** 2
    total = float(squares.sum())
    pooled = total**2 / float((squares**2 / freedom).sum()) if total > 0 else math.nan
    estimate = float(np.mean([test.estimate for test in tests]))
    return WeightedTest(estimate, math.sqrt(total), pooled, min(test.seeds for test in tests), np.empty(0))


def cancels(test: WeightedTest, unrelated: WeightedTest, level: float) -> bool:
    """Whether the interval of a test would be much wider, were the errors of what it averages unrelated."""
    (low, high), (others_low, others_high) = test.interval(level), unrelated.interval(level)
    return others_high - others_low >= _CANCELS * (high - low)


def chance_of_narrower(test: WeightedTest, other: WeightedTest) -> float:
    """How often at most the error of a test would be as small beside the other, were that one the truth (chi square;
    the other is itself estimated, with more degrees of freedom, so that it happens more rarely)."""
    return float(special.chdtr(test.freedom, test.freedom * (test.error / other.error) ** 2))


def _sums(values: Floats, weights: Floats) -> Floats:
    """The sum within every seed; a seed without effect gives exactly 0, and seeds that agree one number.

    Added up row by row: a matrix product would give other last digits with every BLAS.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        products = weights[:, None] * values
        sums, rounding = products.sum(axis=0), len(values) * _EPS * np.abs(products).sum(axis=0)
        sums = np.where(np.abs(sums) <= rounding, 0.0, sums)
    known = sums[~np.isnan(sums)]
    if known.size and known.max() - known.min() <= np.nanmax(rounding):
        sums[~np.isnan(sums)] = np.median(known)
    return sums


def _with_gaps(values: Floats, weights: Floats, present: np.ndarray) -> tuple[float, Floats, float]:
    """(estimate, one residual for each seed whose squares add up to the variance, degrees of freedom)."""
    n = present.sum(axis=1)
    filled = np.where(present, values, 0.0)
    means = filled.sum(axis=1) / n
    centred = np.where(present, values - means[:, None], 0.0)
    scale = weights / np.sqrt(n * (n - 1.0))
    residuals = (scale[:, None] * centred).sum(axis=0)
    rounding = len(values) * _EPS * (np.abs(scale)[:, None] * np.abs(filled)).sum(axis=0)
    if np.all(np.abs(residuals) <= 4 * rounding):
        residuals = np.zeros_like(residuals)
    spread = (centred**2).sum(axis=1) / (n - 1)
    return float((weights * means).sum()), residuals, _freedom(scale**2 * spread, n, present)


def _freedom(shares: Floats, n: np.ndarray, present: np.ndarray) -> float:
    """Degrees of freedom of the sum of squared residuals, were rows independent; seeds - 1 without gaps."""
    here = present.astype(np.float64)
    covariance = np.diag((shares[:, None] * here).sum(axis=0))
    covariance -= ((shares / n)[:, None, None] * here[:, :, None] * here[:, None, :]).sum(axis=0)
    total = float(np.trace(covariance))
    return total**2 / float((covariance**2).sum()) if total > 0 else float(n.min() - 1)
