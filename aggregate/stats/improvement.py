"""Effect size by ranks: the probability that a run of one kind does better than a run of another, with an interval.

Cliff's delta is twice this probability, less one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import special

from aggregate.arrays import Floats, Interval

_HALVINGS = 50


def probability_of_improvement(values: Floats, reference: Floats, better: str) -> tuple[Floats, Floats]:
    """Over all pairs of a run and one of the reference; ties count half.

    values, reference: shape (..., seeds), broadcast against each other. better: higher or lower.
    Returns (probability, number of runs in the smaller group), each of shape (...); NaN and 0 without a pair.
    Source: Mann & Whitney 1947; Agarwal et al. 2021.
    """
    sign = 1.0 if better == "higher" else -1.0
    ours, theirs = np.asarray(sign * values, np.float64), np.asarray(sign * reference, np.float64)
    shape = np.broadcast_shapes(ours.shape[:-1], theirs.shape[:-1])
    rows = [np.broadcast_to(group, (*shape, group.shape[-1])).reshape(-1, group.shape[-1]) for group in (ours, theirs)]
    wins = _wins(*rows).reshape(shape)
    counts = [np.broadcast_to((~np.isnan(group)).sum(axis=-1), shape) for group in (ours, theirs)]
    pairs = counts[0] * counts[1]
    n = np.where(pairs > 0, np.minimum(*counts), 0).astype(np.float64)
    return np.divide(wins, pairs, out=np.full(shape, np.nan), where=pairs > 0), n


def _wins(ours: Floats, theirs: Floats) -> Floats:
    """Of each row, pairs in which ours is larger, and half of those in which both are the same."""
    if theirs.shape[1] <= len(theirs):
        return np.asarray(sum((ours > run).sum(axis=1) + (ours == run).sum(axis=1) / 2 for run in theirs.T[..., None]))
    # Without making the pairs: few rows may have very many runs.
    return np.array([_wins_of_row(a[~np.isnan(a)], b[~np.isnan(b)]) for a, b in zip(ours, theirs, strict=True)])


def _wins_of_row(ours: Floats, theirs: Floats) -> float:
    ordered = np.sort(theirs)
    below, upto = (np.searchsorted(ordered, ours, side) for side in ("left", "right"))
    return float(below.sum() + upto.sum()) / 2


def improvement_interval(probability: Floats, n: Floats, level: float = 0.95) -> Interval:
    """Confidence interval for it; it lies within [0, 1] and has a width even where every pair agrees.

    n: runs in each group. Runs paired by seed make it a little too wide, as do more conditions than one.
    Source: Newcombe 2006, method 5: a score interval with the variance of Hanley & McNeil. NaN below 2 runs.
    """
    size = np.maximum(n, 2.0)
    quantile = special.stdtrit(2 * size - 2, (1 + level) / 2)  # Newcombe's normal one covers 90 % at 3 runs

    def outside(theta: Floats) -> NDArray[np.bool_]:
        spread = 1 + (size - 1) * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return np.asarray((probability - theta) ** 2 > quantile**2 * theta * (1 - theta) * spread / size**2)

    ends = [_end(probability, np.full_like(probability, bound), outside) for bound in (0.0, 1.0)]
    known = (n >= 2) & ~np.isnan(probability)
    low, high = (np.where(known, end, np.nan) for end in ends)
    return low, high


def _end(inner: Floats, outer: Floats, outside: Callable[[Floats], NDArray[np.bool_]]) -> Floats:
    """Where the interval ends between a value that it holds and one at the bound, by bisection."""
    for _ in range(_HALVINGS):
        middle = 0.5 * (inner + outer)
        out = outside(middle)
        inner, outer = np.where(out, inner, middle), np.where(out, middle, outer)
    return inner
