"""Metrics that trade off within a condition: the runs that did better in one did worse in the other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from aggregate.analysis.reliability import TWO_GROUPS
from aggregate.analysis.study import Study
from aggregate.analysis.summary import MetricSummary, Summary
from aggregate.arrays import Floats
from aggregate.stats.exact import permutation_p
from aggregate.stats.inference import holm
from aggregate.stats.repeats import repeats
from aggregate.wording import listed, p_equals, p_text

_FEWEST = 4  # seeds
_MOST = 3  # conditions named
Pair = tuple[MetricSummary, MetricSummary]


@dataclass(frozen=True)
class TradeOff:
    """Two metrics whose seeds in one condition differ in opposite directions of better.

    correlation: Pearson's over seeds, of the values as they are, since information is linear in them. adjusted: its
    two-sided p by Holm's method over all ``tried`` conditions and pairs. permuted: that p is a permutation's, since
    the seeds do not vary normally there.
    """

    metrics: Pair
    condition: int
    correlation: float
    seeds: int
    adjusted: float
    tried: int
    permuted: bool = False


def trade_offs(study: Study) -> tuple[TradeOff, ...]:
    """Those of the two sides of a retention; without one, of the primary metrics. Looked for in every condition."""
    summary, alpha = study.summary, study.analysis.alpha
    pairs = list(_pairs(study))
    doubtful = [_doubtful(study, pair) for pair in pairs]
    found = [(pair, *_correlations(pair, own)) for pair, own in zip(pairs, doubtful, strict=True)]
    adjusted = holm(np.concatenate([p for _, _, _, p in found])) if found else np.empty(0)
    made = []
    tried = int(sum(np.isfinite(q).sum() for *_, q in found))
    split = np.split(adjusted, len(found)) if found else ()
    for (pair, r, n, p), own, permuted in zip(found, split, doubtful, strict=True):
        opposite = r * (1 if pair[0].metric.better == pair[1].metric.better else -1) < 0
        made += [
            TradeOff(pair, c, float(r[c]), int(n[c]), float(own[c]), tried, bool(permuted[c]))
            for c in np.flatnonzero(opposite & np.isfinite(p) & (own <= alpha)).tolist()
        ]
    return tuple(made) if len(summary.seeds) >= _FEWEST else ()


def unjudged(study: Study) -> tuple[TradeOff, ...]:
    """Trade-offs that Pearson's p would name, where seeds do not vary normally and no permutation of so few could give
    a p that is small enough: ``adjusted`` is the smallest one that there is."""
    made = []
    pairs = [(pair, _doubtful(study, pair)) for pair in _pairs(study)]
    plain = [(pair, own, *_correlations(pair, np.zeros_like(own))) for pair, own in pairs]
    tried = int(sum(np.isfinite(p).sum() for *_, p in plain))
    for pair, doubtful, r, n, p in plain:
        opposite = r * (1 if pair[0].metric.better == pair[1].metric.better else -1) < 0
        for c in np.flatnonzero(opposite & doubtful & (p * tried <= study.analysis.alpha)).tolist():
            least = min(1.0, tried / math.factorial(int(n[c])))
            if least > study.analysis.alpha:
                made.append(TradeOff(pair, c, float(r[c]), int(n[c]), least, tried, permuted=True))
    return tuple(made)


def unjudged_lines(summary: Summary, found: tuple[TradeOff, ...]) -> list[str]:
    """One line for each, so that the silence of a screen is not taken for its answer."""
    return [
        f"{listed([entry.metric.label for entry in one.metrics])}: whether they trade off at "
        f"{summary.place(one.condition)} (r = {one.correlation:.2f} over {one.seeds} seeds) cannot be judged. Seeds do "
        f"not vary normally there, and a test by permuting {one.seeds} of them gives no p below "
        f"{p_text(one.adjusted)} after correction for {one.tried} correlations"
        for one in found[:_MOST]
    ]


def trade_off_lines(summary: Summary, found: tuple[TradeOff, ...], used: Collection[int] | None = None) -> list[str]:
    """One line for each pair of metrics, those of the strongest correlation first. used: conditions of the claim beside
    which they stand; None beside none."""
    groups: dict[tuple[str, str], list[TradeOff]] = {}
    for one in sorted(found, key=lambda one: one.adjusted):
        groups.setdefault((one.metrics[0].metric.name, one.metrics[1].metric.name), []).append(one)
    return [_line(summary, group, used) for group in groups.values()]


def _line(summary: Summary, group: list[TradeOff], used: Collection[int] | None) -> str:
    a, b = (entry.metric.label for entry in group[0].metrics)
    where = [
        f"{summary.place(one.condition)} ({_told(summary, one)})"
        + (", which the claim leaves out" if used is not None and one.condition not in used else "")
        for one in group[:_MOST]
    ]
    more = [f"{len(group) - _MOST} more"] if len(group) > _MOST else []
    return (
        f"{a} and {b} trade off between runs of one condition, the better in the one the worse in the other: at "
        f"{listed([*where, *more])}; looked for after the fact, corrected by Holm's method over {group[0].tried} "
        "correlations"
    )


def _told(summary: Summary, one: TradeOff) -> str:
    first, second = one.metrics
    values = first.values[one.condition] * (1 if first.metric.better == "higher" else -1)
    ends = int(np.nanargmin(values)), int(np.nanargmax(values))
    seeds = [
        f"{first.values[one.condition, i]:.3g} and {second.values[one.condition, i]:.3g} in seed {summary.seeds[i]}"
        for i in ends
    ]
    by = " by permuting the seeds" if one.permuted else ""
    return f"r = {one.correlation:.2f} over {one.seeds} seeds, {p_equals(one.adjusted)}{by}: from {' to '.join(seeds)}"


def _pairs(study: Study) -> Iterator[Pair]:
    retained = study.analysis.hypothesis
    entries = {entry.metric.name: entry for entry in study.summary.metrics}
    names = [e.metric.name for e in study.summary.primary_metrics()]
    for a, b in itertools.combinations([retained.kept, retained.other] if retained else names, 2):
        if a in entries and b in entries and entries[a].metric.better and entries[b].metric.better:
            one, other = entries[a], entries[b]
            if not repeats(one.values, other.values, bounded=False)[0]:
                yield one, other


def _doubtful(study: Study, pair: Pair) -> NDArray[np.bool_]:
    """Where the p of a correlation cannot be Pearson's, shape (conditions,): seeds are flagged as two groups, or some
    are at chance and others above it."""
    names = {entry.metric.name for entry in pair}
    found = np.zeros(len(study.summary.conditions), dtype=bool)
    for flag in study.flags:
        if flag.reason == TWO_GROUPS and flag.metric in names:
            found[list(flag.conditions)] = True
    for entry in pair:
        chance = entry.at_chance
        found |= chance.any(axis=1) & (~chance & np.isfinite(entry.values)).any(axis=1)
    return found


def _correlations(pair: Pair, doubtful: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    """(Pearson's r, seeds with both values, two-sided p) of every condition, each of shape (conditions,). doubtful:
    where p is a permutation's, same shape."""
    both = np.isfinite(pair[0].values) & np.isfinite(pair[1].values)
    n = both.sum(axis=1).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        x, y = (_standard(np.where(both, entry.values, np.nan), n) for entry in pair)
        r = np.where(n >= _FEWEST, np.nansum(x * y, axis=1), np.nan)
        t = r * np.sqrt((n - 2) / np.maximum(1 - r**2, 1e-300))
    p = np.asarray(2 * special.stdtr(np.maximum(n - 2, 1), -np.abs(t)))
    for c in np.flatnonzero(doubtful & np.isfinite(r)).tolist():
        p[c] = permutation_p(x[c][both[c]], y[c][both[c]])
    return r, n, p


def _standard(values: Floats, n: Floats) -> Floats:
    """Deviations from the mean of each row with squares that add up to 1; NaN in a row without spread."""
    centred = values - (np.nansum(values, axis=1) / n)[:, None]
    length = np.sqrt(np.nansum(centred**2, axis=1))
    return np.asarray(centred / np.where(length > 0, length, np.nan)[:, None])
