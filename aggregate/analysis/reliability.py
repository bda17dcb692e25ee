"""Which intervals not to trust: seeds in two groups, heavy skew, seeds at a bound.

No interval for a mean covers as it says for such data (docs/statistics.md has the measured coverage), so they are
flagged and the individual seeds are shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aggregate.analysis.summary import MetricSummary, Summary
from aggregate.arrays import Floats
from aggregate.reading.declared import BOUNDED, POSITIVE

TWO_GROUPS, SKEW, AT_BOUND = "seeds in two groups", "heavy skew", "seeds at the bound"
# The gap between two groups, in units of the usual spread within them, from which seeds are called two groups; found by
# simulation: of clean conditions less than 1 in 100 is flagged even if spreads differ twofold between conditions
# (n = 3 to 20), of collapses by 20 standard deviations more than 95 in 100 are.
_GAP, _SMALLEST_GAP = 100.0, 8.0
# Mean skewness of conditions from lognormal seeds with sigma 0.75, by number of seeds: beyond, intervals miss 90 %.
_SKEWNESS = {3: 0.19, 4: 0.37, 5: 0.52, 6: 0.65, 7: 0.76, 8: 0.86, 9: 0.94, 10: 1.01}
_FEWEST_CONDITIONS = 4


@dataclass(frozen=True)
class Flag:
    """One reason not to trust an interval. conditions: positions in the grid; empty: all of the metric."""

    metric: str
    reason: str
    conditions: tuple[int, ...]


def flags(summary: Summary) -> tuple[Flag, ...]:
    """Every flag of every metric."""
    return tuple(flag for entry in summary.metrics for flag in _flags(entry))


def _flags(entry: MetricSummary) -> Iterator[Flag]:
    name = entry.metric.name
    if (found := np.flatnonzero(two_groups(_levelled(entry)))).size:
        yield Flag(name, TWO_GROUPS, tuple(found.tolist()))
    if entry.metric.kind == BOUNDED and (found := np.flatnonzero(_at_bound(entry))).size:
        yield Flag(name, AT_BOUND, tuple(found.tolist()))
    if skewed(entry.values):
        yield Flag(name, SKEW, ())


def _levelled(entry: MetricSummary) -> Floats:
    """Values on a scale on which conditions spread alike: losses by their logarithm."""
    positive = entry.metric.kind == POSITIVE and not np.any(entry.values <= 0)
    return np.log(entry.values) if positive else entry.values


def two_groups(values: Floats) -> NDArray[np.bool_]:
    """Where the widest gap between neighbouring seeds dwarfs the usual spread on both its sides.

    values: shape (conditions, seeds). Returns shape (conditions,); never true below 3 seeds. The usual spread is the
    median over conditions, so that groups in some conditions do not hide themselves.
    """
    n = (~np.isnan(values)).sum(axis=1)
    testable = np.asarray(n > 2)
    if not testable.any():
        return testable
    data = np.sort(values[testable], axis=1)
    gaps = np.diff(data, axis=1)
    below = np.arange(data.shape[1]) <= np.nanargmax(gaps, axis=1)[:, None]
    present = ~np.isnan(data)
    squares = sum(_squares(np.where(side & present, data, np.nan)) for side in (below, ~below))
    usual = np.median(np.sqrt(squares / (n[testable] - 2)))
    result = np.zeros(len(values), dtype=bool)
    result[testable] = np.nanmax(gaps, axis=1) > np.maximum(_GAP / n[testable], _SMALLEST_GAP) * usual
    # Where most seeds agree to the last bit there is no usual spread to compare with.
    return np.asarray(result & bool(usual > 0))


def _squares(data: Floats) -> Floats:
    """Sum of squares around the mean of each row; every row has a value."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.nansum(data, axis=1, keepdims=True) / (~np.isnan(data)).sum(axis=1, keepdims=True)
        return np.asarray(np.nansum((data - mean) ** 2, axis=1))


def skewed(values: Floats) -> bool:
    """Whether the seeds of a metric are as skewed over all conditions as data that no interval copes with.

    values: shape (conditions, seeds). False with fewer than 4 conditions of 3 or more seeds.
    """
    n = (~np.isnan(values)).sum(axis=1)
    usual = n.max(initial=0)
    rows = values[(n == usual) & (n > 2)]
    if len(rows) < _FEWEST_CONDITIONS:
        return False
    rows = np.sort(rows, axis=1)[:, :usual]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        centred = rows - rows.mean(axis=1, keepdims=True)
        skewness = (centred**3).mean(axis=1) / (centred**2).mean(axis=1) ** 1.5
    skewness = skewness[np.isfinite(skewness)]
    if len(skewness) < _FEWEST_CONDITIONS:
        return False
    doubt = 2 * skewness.std(ddof=1) / np.sqrt(len(skewness))
    return bool(abs(skewness.mean()) - doubt > _SKEWNESS[min(int(usual), max(_SKEWNESS))])


def _at_bound(entry: MetricSummary) -> NDArray[np.bool_]:
    """Some seeds at exactly 0 or 1, but not all alike: the rest of the distribution lies beyond the bound."""
    bound = (entry.values == 0) | (entry.values == 1)
    return np.asarray(bound.any(axis=1) & ~entry.description.zero_spread & (entry.description.n > 1))
