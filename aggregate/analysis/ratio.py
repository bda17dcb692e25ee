"""The declared hypothesis as a number for every run: log of one error over another, each relative to guessing."""

from __future__ import annotations

import numpy as np

from aggregate.analysis.fixed import Ratio
from aggregate.analysis.summary import MetricSummary, Summary
from aggregate.arrays import Floats
from aggregate.reading.declared import REAL, Metric


def ratio_quantity(summary: Summary, ratio: Ratio) -> tuple[Metric, Floats]:
    """The ratio as a metric, and its values of shape (conditions, seeds).

    0: both errors are the same share of what guessing makes. Below 0: the numerator's information is kept better.
    NaN where a run lacks a metric or makes no error, which has no logarithm.
    """
    top, top_label = _relative_error(summary, ratio.numerator, ratio.numerator_chance)
    bottom, bottom_label = _relative_error(summary, ratio.denominator, ratio.denominator_chance)
    known = (top > 0) & (bottom > 0)
    values = np.log(np.divide(top, bottom, where=known, out=np.ones_like(top)))
    label = f"log ({top_label} / {bottom_label}), each relative to guessing"
    return Metric("ratio", label, "ratio", REAL, "", None), np.where(known, values, np.nan)


def never_learned(summary: Summary, ratio: Ratio) -> list[str]:
    """Labels of the two metrics that no condition shows to be better than guessing: the interval of each reaches it."""
    pairs = ((ratio.numerator, ratio.numerator_chance), (ratio.denominator, ratio.denominator_chance))
    found = {entry.metric.name: entry for entry in summary.metrics}
    return [found[name].metric.label for name, chance in pairs if name in found and _at_guessing(found[name], chance)]


def _at_guessing(entry: MetricSummary, chance: float) -> bool:
    low, high = entry.suited
    worst_error = 1 - low if entry.metric.better == "higher" else high
    known = worst_error[np.isfinite(worst_error)]
    return bool(known.size and np.all(known >= chance))


def _relative_error(summary: Summary, name: str, chance: float) -> tuple[Floats, str]:
    """Error of a metric over the error of guessing, shape (conditions, seeds); of a metric of which higher is better,
    the error is what it lacks to 1."""
    for entry in summary.metrics:
        if entry.metric.name == name:
            if entry.metric.better == "higher":
                return (1 - entry.values) / chance, f"1 - {entry.metric.label}"
            return entry.values / chance, entry.metric.label
    return np.full(summary.states.shape, np.nan), name
