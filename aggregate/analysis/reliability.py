"""Which intervals not to trust: seeds in two groups, seeds at a bound.

No interval for a mean covers as it says for such data (docs/statistics.md has the measured coverage), so they are
flagged beside the claims that rest on them, and the individual seeds are shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aggregate.analysis.claims import Claim
from aggregate.analysis.fixed import Retention
from aggregate.analysis.questions import seeds_named
from aggregate.analysis.summary import MetricSummary, Summary
from aggregate.arrays import Floats
from aggregate.reading.declared import BOUNDED
from aggregate.wording import listed

TWO_GROUPS, AT_BOUND = "seeds in two groups", "seeds at the bound"
_NAMED = 3  # conditions named in one sentence
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


def beside(summary: Summary, found: Iterable[Flag], claim: Claim) -> str:
    """What a reader of this claim must know of the seeds it rests on; empty if nothing."""
    test = claim.question.test
    names = {test.kept, test.other} if isinstance(test, Retention) else {test.metric}
    told = [_told(summary, flag, claim) for flag in found if flag.metric in names]
    return "; ".join(filter(None, told))


def _told(summary: Summary, flag: Flag, claim: Claim) -> str:
    places = [
        f"{seeds_named(seeds)} of {summary.conditions[condition]}"
        for condition, seeds in zip(flag.conditions, flag.seeds, strict=False)
        if condition in claim.question.conditions
    ]
    if not places:
        return ""
    alone = len(places) == 1 and sum(map(len, flag.seeds)) == 1
    metric = next(entry.metric for entry in summary.metrics if entry.metric.name == flag.metric)
    factor = next(factor for factor in summary.factors if factor.name == claim.question.factors[0])
    more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
    return (
        f"in {metric.label}, {listed(places[:_NAMED])}{more} {'lies' if alone else 'lie'} far from the other seeds, "
        f"and a mean of two groups describes neither (plots/{metric.slug}_vs_{factor.slug}.png)"
    )


def _flags(summary: Summary, entry: MetricSummary) -> Iterator[Flag]:
    name = entry.metric.name
    apart = two_groups(entry.scaled)
    if (found := np.flatnonzero(apart.any(axis=1))).size:
        seeds = tuple(tuple(summary.seeds[i] for i in np.flatnonzero(apart[c])) for c in found)
        yield Flag(name, TWO_GROUPS, tuple(found.tolist()), seeds)
    if entry.metric.kind == BOUNDED and (found := np.flatnonzero(_at_bound(entry))).size:
        yield Flag(name, AT_BOUND, tuple(found.tolist()))


def two_groups(values: Floats) -> NDArray[np.bool_]:
    """Which seeds lie apart from the others of their condition: the smaller group beyond the widest gap, if that dwarfs
    the condition's own spread on both its sides.

    values: shape (conditions, seeds). Returns the same shape; never true below 3 seeds, or where a group has no spread.
    """
    n = (~np.isnan(values)).sum(axis=1)
    testable = np.flatnonzero(n > 2)
    result = np.zeros(values.shape, dtype=bool)
    for condition in testable.tolist():
        result[condition] = _apart(values[condition], _FALSE_ALARMS / len(testable))
    return result


def _apart(values: Floats, chance: float) -> NDArray[np.bool_]:
    order = np.argsort(values)  # NaN last
    ordered = values[order][: int((~np.isnan(values)).sum())]
    gaps = np.diff(ordered)
    split = int(np.argmax(gaps)) + 1
    with np.errstate(over="ignore", invalid="ignore"):
        squares = sum(float(((side - side.mean()) ** 2).sum()) for side in (ordered[:split], ordered[split:]))
    found = np.zeros(len(values), dtype=bool)
    spread = np.sqrt(squares / (len(ordered) - 2))
    if spread > 0 and gaps.max() > _threshold(len(ordered), chance) * spread:
        found[order[:split] if 2 * split <= len(ordered) else order[split : len(ordered)]] = True
    return found


def _threshold(seeds: int, chance: float) -> float:
    """The gap that normal seeds exceed with this probability; beyond the table along its last slope."""
    known = max(n for n in _GAPS if n <= seeds)
    gaps = np.log(_GAPS[known])
    slope = (gaps[-1] - gaps[-2]) / (_CHANCES[-1] - _CHANCES[-2])
    wanted = np.log(chance)
    if wanted < _CHANCES[-1]:
        return float(np.exp(gaps[-1] + slope * (wanted - _CHANCES[-1])))
    return float(np.exp(np.interp(-wanted, -_CHANCES, gaps)))


def _at_bound(entry: MetricSummary) -> NDArray[np.bool_]:
    """Some seeds at exactly 0 or 1, but not all alike: the rest of the distribution lies beyond the bound."""
    bound = (entry.values == 0) | (entry.values == 1)
    return np.asarray(bound.any(axis=1) & ~entry.description.zero_spread & (entry.description.n > 1))
