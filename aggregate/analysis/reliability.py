"""Which intervals not to trust: seeds in two groups, seeds at a bound.

No interval for a mean covers as it says for such data (docs/statistics.md has the measured coverage), so they are
flagged beside the claims that rest on them, and the individual seeds are shown.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from aggregate.analysis.claims import Claim
from aggregate.analysis.fixed import Retention
from aggregate.analysis.questions import seeds_named
from aggregate.analysis.summary import AT_CHANCE, DELTA_LOGIT, MetricSummary, Summary
from aggregate.arrays import Floats
from aggregate.reading.declared import BOUNDED, REAL
from aggregate.stats.intervals import describe
from aggregate.wording import listed, percent

TWO_GROUPS, AT_BOUND = "seeds in two groups", "seeds at the bound"
_NAMED, _MOST = 3, 6  # conditions named in one sentence
_FALSE_ALARMS = 0.05  # of a metric, over all its conditions
# The widest gap between neighbouring seeds over the spread within the groups on its two sides: what normal seeds exceed
# with probability 0.05, 0.01, 0.001 and 0.0001, by number of seeds; 3 million simulated conditions each.
_CHANCES = np.log([0.05, 0.01, 0.001, 0.0001])
_GAPS = {
    3: (46.2, 236.0, 2290.0, 23900.0),
    4: (11.8, 27.7, 90.8, 285.0),
    5: (7.19, 13.4, 30.6, 66.7),
    6: (5.42, 9.01, 17.4, 32.5),
    7: (4.47, 6.96, 12.2, 21.0),
    8: (3.87, 5.78, 9.53, 15.1),
    10: (3.15, 4.46, 6.84, 9.81),
    12: (2.72, 3.76, 5.49, 7.68),
    15: (2.33, 3.16, 4.49, 5.97),
    20: (1.99, 2.69, 3.74, 4.92),
    30: (1.69, 2.28, 3.13, 3.97),
    50: (1.47, 1.99, 2.72, 3.36),
}


@dataclass(frozen=True)
class Flag:
    """One reason not to trust an interval. conditions: positions in the grid. seeds: of each of these, the smaller of
    its two groups; empty where the reason is another."""

    metric: str
    reason: str
    conditions: tuple[int, ...]
    seeds: tuple[tuple[int, ...], ...] = ()


def flags(summary: Summary) -> tuple[Flag, ...]:
    """Every flag of every metric."""
    return tuple(flag for entry in summary.metrics for flag in _flags(summary, entry))


def beside(summary: Summary, found: Iterable[Flag], claim: Claim) -> list[str]:
    """What a reader of this claim must know of the seeds it rests on, in one line for each matter."""
    names = metrics_of_claim(claim)
    flagged = [part for flag in found if flag.metric in names and (part := within(flag, claim.question.conditions))]
    unproven = [_unproven(summary, entry, claim) for entry in summary.metrics if entry.metric.name in names]
    told = [*flag_lines(summary, flagged), *filter(None, unproven)]
    groups = any(unproven) or any(flag.reason == TWO_GROUPS for flag in flagged)
    return [*told, _normality(claim)] if groups else told


def metrics_of_claim(claim: Claim) -> tuple[str, ...]:
    """Names of the metrics that a claim is about."""
    test = claim.question.test
    return (test.kept, test.other) if isinstance(test, Retention) else (test.metric,)


def within(flag: Flag, conditions: Collection[int]) -> Flag | None:
    """A flag as far as it touches some conditions; None if it touches none."""
    kept = [i for i, condition in enumerate(flag.conditions) if condition in conditions]
    if not kept:
        return None
    seeds = tuple(flag.seeds[i] for i in kept) if flag.seeds else ()
    return replace(flag, conditions=tuple(flag.conditions[i] for i in kept), seeds=seeds)


def flag_lines(summary: Summary, found: Iterable[Flag]) -> list[str]:
    """Which seeds are doubtful, and where; metrics that share all of it stand in one line."""
    entries = {entry.metric.name: entry for entry in summary.metrics}
    groups: dict[Flag, list[MetricSummary]] = {}
    for flag in found:
        groups.setdefault(replace(flag, metric=""), []).append(entries[flag.metric])
    return [f"{listed([e.metric.label for e in es])}: {_told(summary, flag, es)}" for flag, es in groups.items()]


def chance_line(summary: Summary, entry: MetricSummary, conditions: Collection[int]) -> str:
    """How many runs are at chance and where, those of most runs first; empty if none is."""
    used = sorted(conditions)
    counts = entry.at_chance[used].sum(axis=1)
    if not counts.any():
        return ""
    runs = entry.description.n[used]
    order = [i for i in np.argsort(-counts, kind="stable").tolist() if counts[i]]
    where = [f"{counts[i]} of {runs[i]} at {summary.place(used[i])}" for i in order[:_MOST]]
    more = f"; and {counts[order[_MOST:]].sum()} in {len(order) - _MOST} more conditions" if len(order) > _MOST else ""
    return (
        f"{entry.metric.label}: {counts.sum()} of {runs.sum()} runs are at chance, less than {percent(AT_CHANCE)} of "
        f"the way from guessing ({entry.metric.chance:.4g}) to perfect: {'; '.join(where)}{more}"
    )


def _others_at_chance(summary: Summary, entry: MetricSummary, condition: int, seeds: Sequence[int]) -> str:
    """Whether seeds that lie apart are those that left chance: then the others are the rule."""
    apart = np.isin(summary.seeds, seeds)
    chance = entry.at_chance[condition]
    others = ~apart & ~np.isnan(entry.values[condition])
    if chance[apart].any() or not chance[others].all():
        return ""
    return f" ({'the only one' if len(seeds) == 1 else 'the only ones'} there above chance)"


def _told(summary: Summary, flag: Flag, entries: Sequence[MetricSummary]) -> str:
    where = [summary.place(condition) for condition in flag.conditions]
    if flag.reason == AT_BOUND:
        return f"seeds lie exactly at a bound at {_some(where)}, where no interval is to be trusted"
    known = next((entry for entry in entries if entry.at_chance.any()), entries[0])
    places = [
        f"{seeds_named(group)} at {place}{_others_at_chance(summary, known, condition, group)}"
        for group, place, condition in zip(flag.seeds, where, flag.conditions, strict=True)
    ]
    lie = "lies" if sum(map(len, flag.seeds)) == 1 else "lie"
    skewed = any(entry.metric.kind == REAL for entry in entries)
    or_skewed = ", or the metric is skewed (declared `real`, it is screened as if it were normal)" if skewed else ""
    return f"{_some(places)} {lie} far from the other seeds{or_skewed}"


def _normality(claim: Claim) -> str:
    """What p and the intervals of a claim are worth if its seeds form two groups."""
    text = (
        "the p value and the intervals assume seeds that vary normally, and seeds in two groups do not. Read them as "
        "rough: an interval may miss the mean far more often than its level says, and the mean of two groups describes "
        "neither"
    )
    seeds = claim.complete_seeds
    smallest = 2.0 ** (1 - seeds)
    if not smallest > 1 - claim.level:
        return text
    signs = f"Changing the signs of the {seeds} seeds' estimates needs no such assumption"
    return f"{text}. {signs}, but with so few of them it cannot detect anything (its p is at least {smallest:.4g})"


def _unproven(summary: Summary, entry: MetricSummary, claim: Claim) -> str:
    """Seeds that look like two groups, though no screen could tell from so few: the reader is to see them."""
    seen = [
        gap
        for gap in gaps(_screened(entry))
        if gap.wide and gap.alone <= _FALSE_ALARMS < gap.anywhere and gap.condition in claim.question.conditions
    ]
    if not seen:
        return ""
    places = [f"{_values(entry, gap)} at {summary.place(gap.condition)}" for gap in seen]
    guess = "" if entry.metric.chance is None else f"; guessing gives {entry.metric.chance:.3g}"
    most = percent(round(min(gap.anywhere for gap in seen), 2))
    return (
        f"{entry.metric.label}: {_some(places)}{guess}. These may be two groups; so few seeds cannot settle it: up to "
        f"{most} of sweeps without groups have such a gap"
    )


def _values(entry: MetricSummary, gap: Gap) -> str:
    """The smaller of the two groups first."""
    groups = sorted((gap.lower, gap.upper), key=len)
    few, many = (", ".join(f"{v:.3g}" for v in np.sort(entry.values[gap.condition, list(g)])) for g in groups)
    lie = "lies" if len(groups[0]) == 1 else "lie"
    total = len(gap.lower) + len(gap.upper)
    return f"{len(groups[0])} of {total} seeds ({few}) {lie} apart from the other {len(groups[1])} ({many})"


def _some(places: Sequence[str]) -> str:
    return listed([*places[:_NAMED], *([f"{len(places) - _NAMED} more"] if len(places) > _NAMED else [])])


def _flags(summary: Summary, entry: MetricSummary) -> Iterator[Flag]:
    name = entry.metric.name
    apart = two_groups(_screened(entry))
    if (found := np.flatnonzero(apart.any(axis=1))).size:
        seeds = tuple(tuple(summary.seeds[i] for i in np.flatnonzero(apart[c])) for c in found)
        yield Flag(name, TWO_GROUPS, tuple(found.tolist()), seeds)
    if entry.metric.kind == BOUNDED and (found := np.flatnonzero(_at_bound(entry))).size:
        yield Flag(name, AT_BOUND, tuple(found.tolist()))


def _screened(entry: MetricSummary) -> Floats:
    """The values on a scale on which seeds without groups are close to normal: near its ceiling an accuracy is skewed,
    and its raw gaps alone would flag one sweep in three of 10 seeds. Arcsine of the root: Anscombe 1948."""
    return np.arcsin(np.sqrt(entry.values)) if entry.method == DELTA_LOGIT else entry.scaled


@dataclass(frozen=True)
class Gap:
    """The widest gap between neighbouring seeds of a condition, and the positions of the seeds on its two sides.

    wide: whether it exceeds the spread of the middle condition, so that it matters beside the others. alone, anywhere:
    chance of as wide a gap in a condition of normal seeds, and in any condition of the metric.
    """

    condition: int
    lower: tuple[int, ...]
    upper: tuple[int, ...]
    wide: bool
    alone: float
    anywhere: float


def two_groups(values: Floats) -> NDArray[np.bool_]:
    """Which seeds lie apart from the others of their condition: the smaller group beyond the widest gap, if that dwarfs
    the condition's own spread on both its sides.

    values: shape (conditions, seeds). Returns the same shape; never true below 3 seeds.
    """
    result = np.zeros(values.shape, dtype=bool)
    for gap in gaps(values):
        if gap.anywhere <= _FALSE_ALARMS:
            result[gap.condition, list(gap.lower if len(gap.lower) <= len(gap.upper) else gap.upper)] = True
    return result


def gaps(values: Floats) -> Iterator[Gap]:
    """Of every condition with 3 seeds or more. values: shape (conditions, seeds), NaN where unknown."""
    n = (~np.isnan(values)).sum(axis=1)
    testable = np.flatnonzero(n > 2).tolist()
    spreads = describe(values).std
    middle = float(np.median(spreads[spreads > 0])) if (spreads > 0).any() else 0.0
    for condition in testable:
        yield _gap(condition, values[condition], len(testable), middle)


def _gap(condition: int, values: Floats, conditions: int, middle: float) -> Gap:
    """middle: the middle spread of all conditions; it stands in where the seeds on either side agree exactly."""
    order = np.argsort(values)[: int((~np.isnan(values)).sum())]  # NaN last
    ordered = values[order]
    widths = np.diff(ordered)
    split = int(np.argmax(widths)) + 1
    with np.errstate(over="ignore", invalid="ignore"):
        squares = sum(float(((side - side.mean()) ** 2).sum()) for side in (ordered[:split], ordered[split:]))
    spread = math.sqrt(squares / (len(ordered) - 2)) or middle
    alone = _chance(len(ordered), float(widths.max()) / spread) if 0 < spread < math.inf and widths.max() > 0 else 1.0
    lower, upper = tuple(order[:split].tolist()), tuple(order[split:].tolist())
    return Gap(condition, lower, upper, bool(widths.max() > middle), alone, min(1.0, alone * conditions))


def _chance(seeds: int, ratio: float) -> float:
    """Probability that normal seeds have a gap of so many times their spread; beyond the table along its ends."""
    widths = np.log(_GAPS[max(n for n in _GAPS if n <= seeds)])
    at, i = math.log(ratio), 0
    while i < len(widths) - 2 and at > widths[i + 1]:
        i += 1
    slope = (_CHANCES[i + 1] - _CHANCES[i]) / (widths[i + 1] - widths[i])
    return math.exp(min(float(_CHANCES[i] + slope * (at - widths[i])), 0.0))


def _at_bound(entry: MetricSummary) -> NDArray[np.bool_]:
    """Some seeds at exactly 0 or 1, but not all alike: the rest of the distribution lies beyond the bound."""
    bound = (entry.values == 0) | (entry.values == 1)
    return np.asarray(bound.any(axis=1) & ~entry.description.zero_spread & (entry.description.n > 1))
