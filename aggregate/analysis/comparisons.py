"""Every condition against the reference condition, paired by seed; and what pairing was worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from aggregate.analysis.fixed_analysis import Analysis
from aggregate.analysis.summary import MetricSummary, Summary
from aggregate.arrays import Floats
from aggregate.reading.declared import Metric
from aggregate.stats.improvement import improvement_interval, probability_of_improvement
from aggregate.stats.inference import (
    TTest,
    benjamini_hochberg,
    correlation_by_chance,
    equivalence_p,
    hedges_dz,
    one_sample_t,
    pairing_ratio,
    seed_correlation,
)
from aggregate.stats.intervals import without_rounding


@dataclass(frozen=True)
class Comparison:
    """One metric, every condition minus the reference; arrays of shape (conditions,), NaN at the reference itself and
    where a term of the metric has another weight than there.

    test: paired t test of the differences; of logarithms if ``log``. adjusted: its p over all comparisons of the sweep,
    for the false discovery rate. dz: standardised, corrected for few seeds. improvement: probability that a run beats
    one of the reference, between improvement_low and improvement_high. margin: smallest difference that matters, or
    None; equivalence: p value of a difference beyond it.
    """

    metric: Metric
    reference: int
    test: TTest
    adjusted: Floats
    dz: Floats
    improvement: Floats
    improvement_low: Floats
    improvement_high: Floats
    log: bool
    margin: float | None
    equivalence: Floats

    @property
    def known(self) -> int:
        """In how many conditions there is a difference at all, whether or not it can be tested."""
        return int((self.test.n > 0).sum())

    @property
    def made(self) -> int:
        """How many of the comparisons could be made."""
        return int(np.isfinite(self.test.p).sum())


@dataclass(frozen=True)
class Pairing:
    """What runs of one seed share over conditions. correlation: mean over all pairs of conditions, of the values on the
    scale on which they are compared, over ``seeds`` seeds that have every condition; by_chance: its standard deviation
    if runs are unrelated; ratio: width of an interval for a paired difference of two conditions of equal spread,
    relative to an unpaired one of as many seeds."""

    metric: Metric
    correlation: float
    seeds: int
    by_chance: float
    ratio: float


def compare(summary: Summary, analysis: Analysis) -> tuple[Comparison, ...]:
    """The primary metrics of every condition against the reference; none without a reference."""
    reference = _position(summary, analysis)
    if reference is None:
        return ()
    made = [_compare(summary, entry, reference, analysis) for entry in summary.primary_metrics()]
    return _adjusted(made)


def pairings(summary: Summary) -> tuple[Pairing, ...]:
    """The measured correlation of every metric between conditions under the same seed."""
    return tuple(_pairing(entry) for entry in summary.metrics)


def _position(summary: Summary, analysis: Analysis) -> int | None:
    if analysis.reference is None:
        return None
    wanted = dict(analysis.reference)
    return next((i for i, point in enumerate(summary.points) if dict(point) == wanted), None)


def _compare(summary: Summary, entry: MetricSummary, reference: int, analysis: Analysis) -> Comparison:
    level = summary.level
    alike = _alike(summary, entry.metric, reference)
    differences = np.where(alike, _differences(entry.scaled, reference), np.nan)
    nothing = np.full(len(differences), np.nan)
    improvement, low, high = nothing, nothing, nothing
    if entry.metric.better:
        others = np.where(alike, entry.values, np.nan)
        others[reference] = np.nan
        improvement, n = probability_of_improvement(others, entry.values[reference], entry.metric.better)
        low, high = improvement_interval(improvement, n, level)
    margin = analysis.margins.get(entry.metric.name)
    plain = np.where(alike, _differences(entry.values, reference), np.nan)
    return Comparison(
        metric=entry.metric,
        reference=reference,
        test=one_sample_t(differences, level),
        adjusted=nothing,
        dz=hedges_dz(differences),
        improvement=improvement,
        improvement_low=low,
        improvement_high=high,
        log=entry.log,
        margin=margin,
        # A margin is in the unit of the metric, and so is the difference that it is held against.
        equivalence=nothing if margin is None else equivalence_p(plain, margin),
    )


def _alike(summary: Summary, metric: Metric, reference: int) -> NDArray[np.bool_]:
    """Where the terms of the metric have the weights they have at the reference; shape (conditions, 1)."""
    weights = [dict(point).get(metric.scaled_by) for point in summary.points]
    return np.array([weight == weights[reference] for weight in weights])[:, None]


def _differences(values: Floats, reference: int) -> Floats:
    rounding = np.finfo(np.float64).eps * (np.abs(values) + np.abs(values[reference]))
    differences = without_rounding(values - values[reference], rounding)
    differences[reference] = np.nan
    return differences


def _adjusted(made: Sequence[Comparison]) -> tuple[Comparison, ...]:
    if not made:
        return ()
    together = benjamini_hochberg(np.concatenate([comparison.test.p for comparison in made]))
    parts = np.split(together, len(made))
    return tuple(replace(comparison, adjusted=part) for comparison, part in zip(made, parts, strict=True))


def _pairing(entry: MetricSummary) -> Pairing:
    correlation, conditions, seeds = seed_correlation(entry.scaled)
    by_chance = correlation_by_chance(conditions, seeds) if math.isfinite(correlation) else math.nan
    return Pairing(entry.metric, correlation, seeds, by_chance, pairing_ratio(correlation, seeds))
