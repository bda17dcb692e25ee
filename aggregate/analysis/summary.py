"""The statistics of a sweep: gathered cells in, arrays over conditions and metrics out. No files, no drawing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from aggregate.arrays import Floats, Integers, Interval
from aggregate.reading.declared import BOUNDED, POSITIVE, Factor, Metric, factors_of, metrics_of
from aggregate.reading.records import Gathered
from aggregate.stats.intervals import (
    Description,
    clopper_pearson,
    delta_logit_interval,
    describe,
    median_interval,
    t_interval,
)
from aggregate.wording import value_text
from hpc.sweep.cell import Point
from hpc.sweep.crossing import Crossings
from hpc.sweep.definition import Sweep
from hpc.sweep.states import COMPLETED, MISSING, STARTED, STATES

AT_CHANCE = 0.05  # of the way from guessing to perfect: what a run that learnt next to nothing does not go
T, DELTA_LOGIT, LOG_T = "t", "delta-logit t", "t of logarithms"


@dataclass(frozen=True)
class MetricSummary:
    """One metric over all conditions, in the order of the grid.

    values: shape (conditions, seeds), NaN where a cell is not COMPLETED or has no finite value.
    absent: COMPLETED cells without a finite value, shape (conditions,).
    t: confidence interval for the mean, (low, high), each of shape (conditions,). median: for the median.
    log: a positive metric is compared on the scale of its logarithm throughout: intervals, slopes, curves.
    centre: the mean, or the geometric mean if ``log``; suited: the interval for it, which fits the declared kind; NaN
        where all seeds gave the same number.
    method: how ``suited`` was made. note: why that is not the method of the declared kind; empty if it is.
    """

    metric: Metric
    values: Floats
    description: Description
    absent: Integers
    t: Interval
    centre: Floats
    suited: Interval
    median: Interval
    method: str
    note: str = ""

    @property
    def log(self) -> bool:
        return self.method == LOG_T

    @property
    def centre_name(self) -> str:
        return "geometric mean" if self.log else "mean"

    @property
    def knows_chance(self) -> bool:
        """Whether both guessing and a perfect score are known, so that runs at chance can be told."""
        metric, chance = self.metric, self.metric.chance
        ends_at_1 = metric.kind == BOUNDED or bool(metric.error)
        return chance is not None and (chance > 0 if metric.better == "lower" else chance < 1 and ends_at_1)

    def near_chance(self, values: Floats) -> NDArray[np.bool_]:
        """Which of these values of the metric are less than AT_CHANCE of the way from guessing to perfect. Same shape;
        none where either is unknown."""
        if not self.knows_chance:
            return np.zeros(values.shape, dtype=bool)
        chance, perfect = self.metric.chance or 0.0, 0.0 if self.metric.better == "lower" else 1.0
        return np.asarray((values - chance) / (perfect - chance) < AT_CHANCE)

    @property
    def at_chance(self) -> NDArray[np.bool_]:
        """Runs that went less than AT_CHANCE of the way from guessing to perfect; shape (conditions, seeds). None where
        either is unknown."""
        return self.near_chance(self.values)

    @property
    def scaled(self) -> Floats:
        """The values on the scale on which they are compared; shape (conditions, seeds)."""
        return np.log(self.values) if self.log else self.values


@dataclass(frozen=True)
class Summary:
    """A sweep in numbers.

    conditions, points: name and factor values of each, in the order of the grid; not every combination of levels need
        be one.
    states: state of each cell, shape (conditions, seeds).
    primary: the metrics fixed before the first job, as declared, whether or not a result has a value of them.
    completion: exact interval for the rate of COMPLETED cells among those that ended, (low, high), each of shape
        (conditions,).
    early: COMPLETED cells that stop_when ended before their last epoch, shape (conditions, seeds); None where every
        cell trains all its epochs.
    together: positions of factors that move together, by design.
    """

    name: str
    level: float
    factors: tuple[Factor, ...]
    conditions: tuple[str, ...]
    points: tuple[Point, ...]
    seeds: tuple[int, ...]
    states: NDArray[np.str_]
    metrics: tuple[MetricSummary, ...]
    primary: tuple[Metric, ...]
    completion: Interval
    complete: bool
    early: NDArray[np.bool_] | None = None
    together: tuple[tuple[int, ...], ...] = ()

    @cached_property
    def crossings(self) -> Crossings:
        """Which levels of a factor occur together with which of the others."""
        return Crossings(tuple(factor.values for factor in self.factors), self.points)

    @property
    def completed(self) -> Integers:
        """COMPLETED cells of each condition, shape (conditions,)."""
        return self.count(COMPLETED)

    @property
    def waiting(self) -> NDArray[np.bool_]:
        """Cells that have not ended, shape (conditions, seeds)."""
        return np.asarray((self.states == MISSING) | (self.states == STARTED))

    @property
    def ended(self) -> Integers:
        """Cells of each condition that ended, in whatever state, shape (conditions,)."""
        return np.asarray((~self.waiting).sum(axis=1))

    def moving(self, axis: int) -> tuple[int, ...]:
        """Positions of the factors that a factor moves together with, and its own."""
        return next((axes for axes in self.together if axis in axes), (axis,))

    def place(self, condition: int) -> str:
        """A condition in words: ``workspace dimension 8, synergy loss scale 0.1``."""
        levels = zip(self.factors, self.points[condition], strict=True)
        return ", ".join(f"{factor.label} {value_text(value)}" for factor, (_, value) in levels)

    def cell_places(self) -> list[str]:
        """Every cell in words, in the order of the grid: ``workspace dimension 8, seed 43``."""
        places = map(self.place, range(len(self.conditions)))
        return [f"{place}, seed {seed}" for place in places for seed in self.seeds]

    def count(self, state: str) -> Integers:
        """Cells of each condition in one state, shape (conditions,)."""
        return np.asarray((self.states == state).sum(axis=1))

    def primary_metrics(self) -> list[MetricSummary]:
        """The metrics fixed before the first job that have values, in that order; were none fixed, the first one."""
        if not self.primary:
            return list(self.metrics[:1])
        found = {summary.metric.name: summary for summary in self.metrics}
        return [found[metric.name] for metric in self.primary if metric.name in found]


def summarise(gathered: Gathered) -> Summary:
    """Compute every statistic of a sweep."""
    sweep = gathered.sweep
    places = {axis.name: i for i, axis in enumerate(sweep.grid.axes)}
    together = tuple(tuple(places[name] for name in tie.factors) for tie in sweep.grid.rules.ties)
    found = summarise_arrays(
        sweep.name,
        factors_of(sweep),
        tuple(sweep.grid.conditions()),
        sweep.grid.seeds,
        _states(gathered),
        _values(gathered),
        primary=_primary(sweep),
        level=1 - float(sweep.analysis.get("alpha", 0.05)),
        complete=gathered.complete,
        early=_early(gathered),
    )
    return replace(found, together=together)


def summarise_arrays(
    name: str,
    factors: tuple[Factor, ...],
    conditions: Sequence[tuple[str, Point]],
    seeds: tuple[int, ...],
    states: NDArray[np.str_],
    values: Iterable[tuple[Metric, Floats]],
    *,
    primary: tuple[Metric, ...],
    level: float,
    complete: bool,
    early: NDArray[np.bool_] | None = None,
) -> Summary:
    """A sweep from its arrays. states, values, early: shape (conditions, seeds); see Summary for the others."""
    names, points = zip(*conditions, strict=True)
    ended = ((states != MISSING) & (states != STARTED)).sum(axis=1)
    return Summary(
        name=name,
        level=level,
        factors=factors,
        conditions=names,
        points=points,
        seeds=seeds,
        states=states,
        metrics=tuple(summarise_metric(metric, states, found, level) for metric, found in values),
        primary=primary,
        completion=clopper_pearson((states == COMPLETED).sum(axis=1), ended, level),
        complete=complete,
        early=early,
    )


def _primary(sweep: Sweep) -> tuple[Metric, ...]:
    names = sweep.analysis.get("primary_metrics") or ()
    declared = {metric.name: metric for metric in metrics_of(sweep, names)}
    return tuple(declared[name] for name in names)


def _early(gathered: Gathered) -> NDArray[np.bool_] | None:
    if gathered.sweep.stop_rule is None:
        return None
    found = [record.stopped_early and record.state == COMPLETED for record in gathered.records]
    return np.array(found, dtype=bool).reshape(-1, len(gathered.sweep.grid.seeds))


def _states(gathered: Gathered) -> NDArray[np.str_]:
    width = max(map(len, STATES))
    states = np.array([record.state for record in gathered.records], dtype=f"<U{width}")
    return states.reshape(-1, len(gathered.sweep.grid.seeds))


def _values(gathered: Gathered) -> list[tuple[Metric, Floats]]:
    """Every metric that some result has a value of, over cells, shape (conditions, seeds)."""
    measured = [{} if record.result is None else record.result["metrics"] for record in gathered.records]
    found = {name for names in {tuple(metrics) for metrics in measured} for name in names}
    table = np.array([list(map(metrics.get, found)) for metrics in measured], dtype=np.float64)
    columns = dict(zip(found, np.ascontiguousarray(table.T), strict=True))
    shape = (-1, len(gathered.sweep.grid.seeds))
    metrics = metrics_of(gathered.sweep, [name for name, values in columns.items() if not np.isnan(values).all()])
    return [(metric, columns[metric.name].reshape(shape)) for metric in metrics]


def summarise_metric(metric: Metric, states: NDArray[np.str_], values: Floats, level: float) -> MetricSummary:
    """One metric over conditions. states, values: of every cell, shape (conditions, seeds)."""
    values = np.where(states == COMPLETED, values, np.nan)
    description = describe(values)
    method, note = _method(metric, values)
    centre, ends = _suited(method, values, description, level)
    return MetricSummary(
        metric,
        values,
        description,
        (states == COMPLETED).sum(axis=1) - description.n,
        t_interval(description.mean, description.sem, description.n, level),
        centre,
        _with_width(ends, description),
        median_interval(values, level),
        method,
        note,
    )


def _with_width(interval: Interval, description: Description) -> Interval:
    """NaN where all seeds gave the same number: an interval without a width covers nothing but what was seen."""
    low, high = (np.where(description.zero_spread, np.nan, end) for end in interval)
    return low, high


def _suited(method: str, values: Floats, plain: Description, level: float) -> tuple[Floats, Interval]:
    """(what is estimated, the interval for it)."""
    if method == LOG_T:
        d = describe(np.log(values))
        low, high = t_interval(d.mean, d.sem, d.n, level)
        with np.errstate(over="ignore"):
            return np.exp(d.mean), (np.exp(low), np.exp(high))
    interval = delta_logit_interval if method == DELTA_LOGIT else t_interval
    return plain.mean, interval(plain.mean, plain.sem, plain.n, level)


def _method(metric: Metric, values: Floats) -> tuple[str, str]:
    """The interval that suits the declared kind, unless the values contradict it."""
    if metric.kind == BOUNDED:
        if np.any((values < 0) | (values > 1)):
            return T, "declared bounded, but values lie outside [0, 1]: plain t intervals"
        return DELTA_LOGIT, ""
    if metric.kind == POSITIVE:
        if np.any(values < 0):
            return T, "declared positive, but values are negative: compared as they are, not by their logarithms"
        if np.any(values == 0):
            return T, "some values are 0 and have no logarithm: compared as they are, not by their logarithms"
        return LOG_T, ""
    return T, ""
