"""Exact tests: does an event depend on a factor, is a mean 0, are two columns related?"""

from __future__ import annotations

import itertools

import numpy as np
from scipy import special

from aggregate.arrays import Floats, Integers

FISHER, TREND, APPROXIMATE_TREND = "Fisher, each level against the rest", "exact trend", "trend, normal approximation"
_MOST_ORDERED, _ORDERS = 8, 20_000
_MOST_SIGNS = 16  # seeds; more would take a million sums
_MOST_EXACT = 60  # failures (or successes) up to which the exact distribution of the trend costs nothing


def fisher_p(bad: int, size: int, all_bad: int, total: int) -> float:
    """Two-sided p value of Fisher's exact test: ``bad`` of ``size`` in one group, ``all_bad`` of ``total`` in all."""
    possible = np.arange(max(0, all_bad - (total - size)), min(all_bad, size) + 1)
    weights = _log_binomial(size, possible) + _log_binomial(total - size, all_bad - possible)
    chances = np.exp(weights - special.logsumexp(weights))
    observed = chances[possible == bad][0]
    return float(min(1.0, chances[chances <= observed * (1 + 1e-7)].sum()))


def trend_p(bad: Integers, size: Integers) -> tuple[str, float]:
    """Two-sided p value of a trend of failures over ordered levels, and its method; scores are positions.

    bad, size: shape (levels,), counts. Source: Cochran 1954, Armitage 1955; exact given the number of failures.
    """
    failures, total = int(bad.sum()), int(size.sum())
    if not 0 < failures < total or len(bad) < 2:
        return TREND, float("nan")
    if 2 * failures > total:  # the rarer outcome says the same, and costs less
        return trend_p(size - bad, size)
    scores = np.arange(len(bad))
    statistic = int((scores * bad).sum())
    if failures <= _MOST_EXACT:
        chances = _trend_null(size, failures)
        below, above = chances[: statistic + 1].sum(), chances[statistic:].sum()
        return TREND, float(min(1.0, 2 * min(below, above)))
    share = size / total
    centre = failures * (share * scores).sum()
    spread = (share * scores**2).sum() - (share * scores).sum() ** 2
    variance = failures * spread * (total - failures) / (total - 1)
    return APPROXIMATE_TREND, float(2 * special.ndtr(-abs(statistic - centre) / np.sqrt(variance)))


def sign_change_p(estimates: Floats) -> float:
    """Two-sided p value of a mean by changing the signs of its terms in every way; needs symmetry, not normality.

    estimates: shape (seeds,), finite. NaN of none, and beyond 16 seeds, where the ways are too many. Fisher 1935.
    """
    n = len(estimates)
    if not 0 < n <= _MOST_SIGNS:
        return float("nan")
    signs = 1 - 2 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)
    sums = np.abs((signs * estimates).sum(axis=1))
    return float((sums >= sums[0] * (1 - 1e-9)).mean())


def permutation_p(x: Floats, y: Floats) -> float:
    """Two-sided p value of a correlation by permuting one of the two: all orders of up to 8 values, else a fixed draw
    of 20,000 with the order itself among them (Phipson & Smyth 2010).

    x, y: shape (n,), centred.
    """
    n = len(x)
    if n <= _MOST_ORDERED:
        orders = np.array(list(itertools.permutations(range(n))))
    else:
        drawn = np.random.default_rng(0).permuted(np.tile(np.arange(n), (_ORDERS, 1)), axis=1)
        orders = np.concatenate([np.arange(n)[None], drawn])
    sums = np.abs((x * y[orders]).sum(axis=1))
    return float((sums >= sums[0] * (1 - 1e-9)).mean())


def _trend_null(size: Integers, failures: int) -> Floats:
    """Probability of every score when failures fall on cells at random."""
    most = failures * (len(size) - 1)
    table = np.zeros((failures + 1, most + 1))
    table[0, 0] = 1.0
    for score, cells in enumerate(size.tolist()):
        grown = np.zeros_like(table)
        for here in range(min(cells, failures) + 1):
            shift = score * here
            part = table[: failures + 1 - here, : most + 1 - shift]
            grown[here:, shift:] += part * np.exp(_log_binomial(cells, np.array(here)))
        table = grown / grown.max()
    chances = table[failures]
    return np.asarray(chances / chances.sum())


def _log_binomial(n: int, k: np.ndarray) -> Floats:
    return np.asarray(special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1))
