"""Where levels and values lie on an axis, in numbers: what figures and the report's charts have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aggregate.arrays import Floats
from aggregate.reading.declared import BOUNDED, POSITIVE, Factor, Metric

_LOG_RANGE = 10.0
_LARGEST = 1e300
_REACH, _LOG_REACH = 1.5, 0.25  # a logarithmic axis has decades already, and an interval of two seeds many more


@dataclass(frozen=True)
class Span:
    """Range of a metric's axis; low is above 0 on a logarithmic one."""

    low: float
    high: float
    log: bool = False

    def nearly_reaches(self, value: float) -> bool:
        """Whether widening the axis to show a value leaves the data at least half of it."""
        if self.log:
            return self.low / self.high <= value / self.low and value / self.high <= self.high / self.low
        return self.low - (self.high - self.low) <= value <= self.high + (self.high - self.low)

    def including(self, value: float) -> Span:
        if self.log:
            return Span(min(self.low, value / 1.1), max(self.high, value * 1.1), log=True)
        margin = 0.09 * (self.high - self.low)
        return Span(min(self.low, value - margin), max(self.high, value + margin))


def versus_name(metric: Metric, factor: Factor) -> str:
    """Name of the figure of a metric over a factor, below plots/ and without a suffix."""
    return f"{metric.slug}_vs_{factor.slug}"


def positions(factor: Factor) -> Floats:
    """Where a factor's values lie on its axis: by value or by logarithm, words side by side."""
    if not factor.numeric:
        return np.arange(len(factor.values), dtype=np.float64)
    values = np.array([float(value) for value in factor.values])
    if not factor.drawn_log:
        return values
    # A logarithmic axis has no place for 0 (a loss switched off is a usual level): then the levels stand side by side.
    return np.log10(values) if np.all(values > 0) else np.argsort(np.argsort(values)).astype(np.float64)


def axis_label(factor: Factor) -> str:
    """What the axis of a factor is called; a logarithmic one says so."""
    log = factor.numeric and factor.drawn_log and all(float(value) > 0 for value in factor.values)
    return f"{factor.label} (log scale)" if log and len(factor.values) > 1 else factor.label


def spacing(places: Floats) -> float:
    """Smallest distance between neighbours on an axis."""
    return float(np.min(np.diff(np.sort(places)))) if len(places) > 1 else 1.0


def spans_magnitudes(metric: Metric, values: Floats) -> bool:
    """Whether a positive metric's values lie so far apart that only a logarithmic axis shows the small ones."""
    finite = values[np.isfinite(values)]
    wide = finite.size and finite.min() > 0 and finite.max() / _LOG_RANGE >= finite.min()
    return metric.kind == POSITIVE and bool(wide)


def limits(metric: Metric, values: Sequence[Floats], whiskers: Sequence[Floats]) -> Span:
    """Range of a metric's axis: all values, and whiskers as far as they do not dwarf the values. Logarithmic where a
    positive metric spans magnitudes."""
    points = _finite(values)
    if not points.size:
        return Span(0.0, 1.0)
    if spans_magnitudes(metric, points):
        ends = _finite(whiskers)
        low, high = _reached(np.log(points), np.log(ends[ends > 0]), _LOG_REACH)
        margin = 0.04 * (high - low)
        return Span(float(np.exp(low - margin)), float(np.exp(high + margin)), log=True)
    low, high = _reached(points, _finite(whiskers), _REACH)
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    if metric.kind == BOUNDED and 0 <= low <= high <= 1:
        return Span(max(low - margin, -0.03), min(high + margin, 1.03))
    return Span(low - margin, high + margin)


def _reached(points: Floats, ends: Floats, share: float) -> tuple[float, float]:
    """share: of the range of the points, how far beyond it an axis follows the ends of whiskers."""
    low, high = float(points.min()), float(points.max())
    reach = share * (high - low) or 0.1 * abs(high) or 1.0
    ends = np.clip(ends, low - reach, high + reach)
    return float(min([low, *ends])), float(max([high, *ends]))


def _finite(arrays: Sequence[Floats]) -> Floats:
    joined = np.concatenate([np.ravel(array) for array in arrays]) if arrays else np.empty(0)
    return np.asarray(joined[np.isfinite(joined)])


def drawable(values: Floats) -> Floats:
    """Values that an axis has room for, NaN for all others: the distance of two larger ones is no number any more."""
    return np.asarray(np.where(np.abs(values) <= _LARGEST, values, np.nan))


def with_chance(metric: Metric, span: Span) -> Span:
    """The axis with the line of guessing on it, where that is near enough to be drawn without flattening the data."""
    near = metric.chance is not None and span.nearly_reaches(metric.chance)
    return span.including(metric.chance) if near and metric.chance is not None else span


def chance_text(metric: Metric, span: Span) -> str:
    """What the footnote says of guessing; empty if nothing is declared. span: as given to canvas.draw_chance."""
    if metric.chance is None:
        return ""
    if span.nearly_reaches(metric.chance):
        return f"; dashed: chance ({metric.chance:.3g})"
    return f"; chance ({metric.chance:.3g}) is {'below' if metric.chance < span.low else 'above'} the axis"
