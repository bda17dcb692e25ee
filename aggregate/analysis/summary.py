"""The statistics of a sweep: gathered cells in, arrays over conditions and metrics out. No files, no drawing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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
    centre: the mean, or the geometric mean if ``log``; suited: the interval for it, which fits the declared kind.
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
    def at_chance(self) -> NDArray[np.bool_]:
        """Runs that went less than AT_CHANCE of the way from guessing to perfect; shape (conditions, seeds). None where
        either is unknown."""
        metric, chance = self.metric, self.metric.chance
        ends_at_1 = metric.kind == BOUNDED or bool(metric.error)
        if chance is None or not (chance > 0 if metric.better == "lower" else chance < 1 and ends_at_1):
            return np.zeros(self.values.shape, dtype=bool)
        perfect = 0.0 if metric.better == "lower" else 1.0
        return np.asarray((self.values - chance) / (perfect - chance) < AT_CHANCE)

    @property
    def scaled(self) -> Floats:
        """The values on the scale on which they are compared; shape (conditions, seeds)."""
        return np.log(self.values) if self.log else self.values


@dataclass(frozen=True)
class Summary:
    """A sweep in numbers.

    conditions, points: name and factor values of each, in the order of the grid.
    shape: number of values of each factor; their product is the number of conditions.
    states: state of each cell, shape (conditions, seeds).
    primary: the metrics fixed before the first job, as declared, whether or not a result has a value of them.
    completion: exact interval for the rate of COMPLETED cells among those that ended, (low, high), each of shape
        (conditions,).
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

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(factor.values) for factor in self.factors)

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
    return summarise_arrays(
        sweep.name,
        factors_of(sweep),
        tuple(sweep.grid.conditions()),
        sweep.grid.seeds,
        _states(gathered),
        _values(gathered),
        primary=_primary(sweep),
        level=1 - float(sweep.analysis.get("alpha", 0.05)),
        complete=gathered.complete,
    )


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
) -> Summary:
    """A sweep from its arrays. states, values: shape (conditions, seeds); see Summary for the others."""
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
    )


def _primary(sweep: Sweep) -> tuple[Metric, ...]:
    names = sweep.analysis.get("primary_metrics") or ()
    declared = {metric.name: metric for metric in metrics_of(sweep, names)}
    return tuple(declared[name] for name in names)


def _states(gathered: Gathered) -> NDArray[np.str_]:
    width = max(map(len, STATES))
    states = np.array([record.state for record in gathered.records], dtype=f"<U{width}")
    return states.reshape(-1, len(gathered.sweep.grid.seeds))


def _values(gathered: Gathered) -> list[tuple[Metric, Floats]]:
    """Every metric that some result has a value of, over cells, shape (conditions, seeds)."""
    measured = [{} if record.result is None else record.result["metrics"] for record in gathered.records]
    found = {name for names in {tuple(metrics) for metrics in measured} for name in names}
    columns = {name: np.array([metrics.get(name) for metrics in measured], dtype=np.float64) for name in found}
    shape = (-1, len(gathered.sweep.grid.seeds))
    metrics = metrics_of(gathered.sweep, [name for name, values in columns.items() if not np.isnan(values).all()])
    return [(metric, columns[metric.name].reshape(shape)) for metric in metrics]


def summarise_metric(metric: Metric, states: NDArray[np.str_], values: Floats, level: float) -> MetricSummary:
    """One metric over conditions. states, values: of every cell, shape (conditions, seeds)."""
    values = np.where(states == COMPLETED, values, np.nan)
    description = describe(values)
    method, note = _method(metric, values)
    centre, suited = _suited(method, values, description, level)
    return MetricSummary(
        metric,
        values,
        description,
        (states == COMPLETED).sum(axis=1) - description.n,
        t_interval(description.mean, description.sem, description.n, level),
        centre,
        suited,
        median_interval(values, level),
        method,
        note,
    )


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
