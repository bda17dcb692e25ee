"""Whether cells fail at random: failures against every factor, exactly. If they do not, means of the rest mislead."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from aggregate.declaration import Factor
from aggregate.inference import holm
from aggregate.statistics import Floats, Integers
from aggregate.summary import Summary
from hpc.sweep.states import COMPLETED, MISSING, STARTED

_MOST_EXACT = 60  # failures (or successes) up to which the exact distribution of the trend costs nothing
FISHER, TREND, APPROXIMATE_TREND = "Fisher, each level against the rest", "exact trend", "trend, normal approximation"


@dataclass(frozen=True)
class Missingness:
    """Failures against one factor. failed, ended: cells of each level, in the order of the factor's values.

    p: two-sided; NaN if nothing failed, everything did, or there is one level.
    """

    factor: Factor
    failed: Integers
    ended: Integers
    method: str
    p: float


def missingness(summary: Summary) -> tuple[Missingness, ...]:
    """Failure against every factor. A cell failed if it ended in any state but COMPLETED; cells still to run do not
    count."""
    ended = (summary.states != MISSING) & (summary.states != STARTED)
    failed = ended & (summary.states != COMPLETED)
    return tuple(_of_factor(summary, axis, failed, ended) for axis in range(len(summary.factors)))


def _of_factor(summary: Summary, axis: int, failed: np.ndarray, ended: np.ndarray) -> Missingness:
    factor = summary.factors[axis]
    bad, all_of = (_by_level(summary, axis, cells) for cells in (failed, ended))
    method, p = FISHER, float("nan")
    if factor.ordered:
        order = np.argsort(np.array(factor.values)) if factor.numeric else np.arange(len(factor.values))
        method, p = trend_p(bad[order], all_of[order])
    elif 0 < bad.sum() < all_of.sum() and len(bad) > 1:
        p = float(np.min(holm([fisher_p(b, n, bad.sum(), all_of.sum()) for b, n in zip(bad, all_of, strict=True)])))
    return Missingness(factor, bad, all_of, method, p)


def _by_level(summary: Summary, axis: int, cells: np.ndarray) -> Integers:
    grid = cells.reshape(*summary.shape, cells.shape[-1])
    return np.asarray(np.moveaxis(grid, axis, 0).reshape(summary.shape[axis], -1).sum(axis=1))


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
