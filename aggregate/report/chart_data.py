"""The numbers behind the report's interactive charts, as compact JSON; large sweeps send less of them."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregate.analysis.curves import Curves
from aggregate.analysis.study import Study
from aggregate.analysis.summary import MetricSummary
from aggregate.arrays import Floats
from aggregate.figures.axes import axis_label, drawable, positions, spans_magnitudes
from aggregate.reading.declared import Factor, Metric
from aggregate.wording import better_text, value_text

_MOST_VALUES = 120_000  # of all metrics and cells; beyond, only the primary metrics are sent
_MOST_CONDITIONS = 600
_MOST_POINTS = 1_000_000  # of curves; metrics beyond are left to the static figures
_MOST_EPOCHS = 100
_DIGITS = 5
_NONE = 2**16 - 1
_REACH = 6.0  # times the range of the curves: an axis that shows their bands and chance goes no further


def chart_data(study: Study) -> str | None:
    """JSON for the charts, safe inside a script element; None where there is too much or nothing to draw."""
    summary = study.summary
    if not summary.metrics or len(summary.conditions) > _MOST_CONDITIONS:
        return None
    everything = summary.states.size * len(summary.metrics) <= _MOST_VALUES
    entries = list(summary.metrics) if everything else summary.primary_metrics()
    primary = {entry.metric.name for entry in summary.primary_metrics()}
    entries.sort(key=lambda entry: entry.metric.name not in primary)
    data = {
        "factors": [_factor(factor) for factor in summary.factors],
        **({} if summary.crossings.full else {"conditions": summary.crossings.places.tolist()}),
        "seeds": list(summary.seeds),
        "level": summary.level,
        "metrics": [_metric(entry) for entry in entries],
        "curves": list(_all_curves(study)),
    }
    # "<" is written out: no text of a user's can end the script element.
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _factor(factor: Factor) -> dict[str, Any]:
    return {
        "label": factor.label,
        "axis": axis_label(factor),
        "values": [value_text(value) for value in factor.values],
        "places": _places(factor),
        "ordered": factor.ordered,
    }


def _places(factor: Factor) -> list[float]:
    """Where the levels lie on an axis from 0 to 1."""
    places = positions(factor)
    spread = float(np.ptp(places)) or 1.0
    return [round(float(place), 4) for place in (places - places.min()) / spread] if len(places) > 1 else [0.5]


def _about(metric: Metric, values: Floats) -> dict[str, Any]:
    return {
        "name": metric.name,
        "label": metric.label,
        "better": better_text(metric),
        "chance": metric.chance,
        "log": spans_magnitudes(metric, values),
    }


def _metric(entry: MetricSummary) -> dict[str, Any]:
    return _about(entry.metric, entry.values) | {
        "method": entry.method,
        "centre": entry.centre_name,
        "n": entry.description.n.tolist(),
        "mean": _rounded(entry.centre),
        "low": _rounded(entry.suited[0]),
        "high": _rounded(entry.suited[1]),
        "values": _rounded(entry.values),
    }


def _all_curves(study: Study) -> Iterator[dict[str, Any]]:
    budget = _MOST_POINTS
    for metric, curves in study.curves():
        step = -(-len(curves.epochs) // _MOST_EPOCHS)
        budget -= (curves.values.size + 3 * curves.mean.size) // step
        if budget < 0:
            return
        about = _about(metric, curves.values) | {"centre": "geometric mean" if curves.log else "mean"}
        yield about | _curves(curves, step, log=about["log"])


def _curves(curves: Curves, step: int, *, log: bool) -> dict[str, Any]:
    """Every ``step``-th epoch, packed: every seed of every condition, then means, lower and upper ends of the bands.
    The mean only where all seeds are there."""
    kept = slice((len(curves.epochs) - 1) % step, None, step)  # so that the last epoch is among them
    mean = np.where(curves.full, curves.mean, np.nan)
    parts = map(drawable, (curves.values[:, :, kept], mean[:, kept], curves.low[:, kept], curves.high[:, kept]))
    return {"epochs": curves.epochs[kept].tolist()} | _packed(parts, log=log)


def _packed(parts: Iterable[Floats], *, log: bool) -> dict[str, Any]:
    """Arrays one after another, 16 bits a number: steps from the lowest, on a scale of logarithms if ``log``. A screen
    has 20 times fewer rows. The last number stands for none. Later arrays are cut off where no axis reaches.
    """
    with np.errstate(all="ignore"):
        numbers = [np.log(part) if log else part for part in parts]
    seen = numbers[0][np.isfinite(numbers[0])]
    low, high = (float(seen.min()), float(seen.max())) if seen.size else (0.0, 1.0)
    flat = np.concatenate([np.ravel(part) for part in numbers])
    known = np.isfinite(flat)
    reach = _REACH * (high - low)
    start, end = (
        float(np.clip(end, low - reach, high + reach))
        for end in (flat[known].min(initial=low), flat[known].max(initial=high))
    )
    step = (end - start) / (_NONE - 1) or 1.0
    codes = np.where(known, np.rint((np.clip(np.where(known, flat, start), start, end) - start) / step), _NONE)
    packed = base64.b64encode(codes.astype("<u2").tobytes()).decode()
    return {"start": start, "step": step, "packed": packed}


def _rounded(values: NDArray[np.float64]) -> Any:
    """Nested lists of a few digits: a chart has no more, and a file of them is half as long."""
    if values.ndim > 1:
        return [_rounded(row) for row in values]
    return [float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None for value in values.tolist()]
