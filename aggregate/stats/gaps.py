"""Seeds that lie far from the others: gaps that seeds which vary normally seldom have."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aggregate.arrays import Floats, Integers
from aggregate.stats.intervals import describe

FALSE_ALARMS = 0.05  # of a metric, over all its conditions
# A gap narrower than this share of the limit is below it whatever sums round to, unless the spread is itself rounding.
_SLACK, _ROUNDING = 0.99, 1e-9
# The widest gap between neighbouring seeds over the spread within the groups on its two sides: what normal seeds exceed
# with these probabilities, by number of seeds; 3 million simulated conditions each.
_CHANCES = np.log([0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0001])
_GAPS = {
    3: (46, 116, 233, 466, 1180, 2420, 4940, 25100),
    4: (11.8, 19.3, 27.9, 39.9, 63.9, 90.1, 126, 284),
    5: (7.17, 10.3, 13.3, 17.2, 23.9, 30.6, 38.8, 68.9),
    6: (5.41, 7.29, 9.04, 11.1, 14.3, 17.5, 21.1, 32.2),
    7: (4.47, 5.79, 6.95, 8.28, 10.3, 12.2, 14.2, 20),
    8: (3.87, 4.9, 5.78, 6.77, 8.26, 9.52, 11, 15.2),
    9: (3.45, 4.3, 5, 5.77, 6.92, 7.91, 9.01, 11.9),
    10: (3.15, 3.87, 4.47, 5.11, 6.06, 6.83, 7.64, 9.74),
    12: (2.72, 3.29, 3.76, 4.25, 4.94, 5.5, 6.1, 7.61),
    15: (2.33, 2.8, 3.17, 3.55, 4.07, 4.5, 4.94, 5.97),
    20: (1.99, 2.38, 2.68, 2.99, 3.41, 3.73, 4.06, 4.83),
    30: (1.69, 2.03, 2.29, 2.54, 2.88, 3.13, 3.39, 4.02),
    50: (1.48, 1.78, 2, 2.22, 2.51, 2.71, 2.92, 3.41),
}


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
    for gap in gaps(values, FALSE_ALARMS):
        result[gap.condition, list(gap.lower if len(gap.lower) <= len(gap.upper) else gap.upper)] = True
    return result


def gaps(values: Floats, anywhere: float = math.inf) -> Iterator[Gap]:
    """Of every condition with 3 seeds or more whose widest gap chance makes as wide in at most FALSE_ALARMS of them.

    values: shape (conditions, seeds), NaN where unknown. anywhere: the largest chance of as wide a gap in any of them.
    """
    spreads = describe(values).std
    middle = float(np.median(spreads[spreads > 0])) if (spreads > 0).any() else 0.0
    testable, suspected = _suspected(values, anywhere)
    for condition in suspected.tolist():
        gap = _gap(condition, values[condition], testable, middle)
        if gap.alone <= FALSE_ALARMS and gap.anywhere <= anywhere:
            yield gap


def _suspected(values: Floats, anywhere: float) -> tuple[int, Integers]:
    """(conditions with 3 seeds or more, the positions of those whose gap may be that wide): a few too many, for sums
    over all conditions at once round otherwise than those of one."""
    n = (~np.isnan(values)).sum(axis=1)
    testable = np.flatnonzero(n > 2)
    if not testable.size:
        return 0, testable
    ordered, n = np.sort(values[testable], axis=1), n[testable]  # NaN last
    with np.errstate(over="ignore", invalid="ignore"):
        widths = np.nan_to_num(np.diff(ordered, axis=1), nan=-1.0)
        seeds = np.arange(values.shape[1])
        lower = seeds <= widths.argmax(axis=1)[:, None]
        squares = _squares(ordered, lower) + _squares(ordered, ~lower & (seeds < n[:, None]))
        spread = np.sqrt(squares / (n - 2))
        chance = min(FALSE_ALARMS, anywhere / len(testable))
        limits = np.array([_width(count, chance) for count in range(3, values.shape[1] + 1)])[n - 3]
        narrow = widths.max(axis=1) < _SLACK * limits * spread
        doubtful = ~np.isfinite(spread) | (spread < _ROUNDING * np.nanmax(np.abs(ordered), axis=1))
    return len(testable), testable[~narrow | doubtful]


def _squares(values: Floats, side: NDArray[np.bool_]) -> Floats:
    """Sum of the squared distances of these values from their mean; shape (conditions,)."""
    mean = np.where(side, values, 0.0).sum(axis=1) / side.sum(axis=1)
    return np.asarray((np.where(side, values - mean[:, None], 0.0) ** 2).sum(axis=1))


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
    widths = np.log(_table(seeds))
    at, i = math.log(ratio), 0
    while i < len(widths) - 2 and at > widths[i + 1]:
        i += 1
    slope = (_CHANCES[i + 1] - _CHANCES[i]) / (widths[i + 1] - widths[i])
    return math.exp(min(float(_CHANCES[i] + slope * (at - widths[i])), 0.0))


def _width(seeds: int, chance: float) -> float:
    """The gap, in spreads, that normal seeds exceed with this probability, at most FALSE_ALARMS: _chance turned
    round."""
    widths, at, i = np.log(_table(seeds)), math.log(chance), 0
    while i < len(widths) - 2 and at < _CHANCES[i + 1]:
        i += 1
    slope = (widths[i + 1] - widths[i]) / (_CHANCES[i + 1] - _CHANCES[i])
    return math.exp(float(widths[i] + slope * (at - _CHANCES[i])))


def _table(seeds: int) -> tuple[float, ...]:
    return _GAPS[max(n for n in _GAPS if n <= seeds)]
