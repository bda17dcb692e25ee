"""Exact tests of counts: does an event depend on a factor?"""

from __future__ import annotations

import numpy as np
from scipy import special

from aggregate.arrays import Floats, Integers

FISHER, TREND, APPROXIMATE_TREND = "Fisher, each level against the rest", "exact trend", "trend, normal approximation"
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
