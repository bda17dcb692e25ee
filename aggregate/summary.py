"""The statistics of a sweep: gathered cells in, arrays over conditions and metrics out. No files, no drawing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aggregate.declaration import BOUNDED, POSITIVE, Factor, Metric, factors_of, metrics_of
from aggregate.gather import Gathered
from aggregate.statistics import (
    Description,
    Floats,
    Integers,
    Interval,
    clopper_pearson,
    delta_log_interval,
    delta_logit_interval,
    describe,
    median_interval,
    t_interval,
)
from hpc.sweep.cell import Point
from hpc.sweep.definition import Sweep
from hpc.sweep.states import COMPLETED, STATES

T, DELTA_LOGIT, DELTA_LOG = "t", "delta-logit t", "delta-log t"


@dataclass(frozen=True)
class MetricSummary:
    """One metric over all conditions, in the order of the grid.

    values: shape (conditions, seeds), NaN where a cell is not COMPLETED or has no finite value.
    absent: COMPLETED cells without a finite value, shape (conditions,).
    t, suited: confidence intervals for the mean, (low, high), each of shape (conditions,). median: for the median.
    method: how ``suited`` was made, which fits the declared kind of the metric.
    note: why that is not the method of the declared kind; empty if it is.
    """

    metric: Metric
    values: Floats
    description: Description
    absent: Integers
    t: Interval
    suited: Interval
    median: Interval
    method: str
    note: str = ""


@dataclass(frozen=True)
class Summary:
    """A sweep in numbers.

    conditions, points: name and factor values of each, in the order of the grid.
    shape: number of values of each factor; their product is the number of conditions.
    states: state of each cell, shape (conditions, seeds).
    primary: the metrics fixed before the first job, as declared, whether or not a result has a value of them.
    completion: exact interval for the rate of COMPLETED cells, (low, high), each of shape (conditions,).
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
    level = 1 - float(sweep.analysis.get("alpha", 0.05))
    states = _states(gathered)
    metrics = tuple(summarise_metric(metric, states, values, level) for metric, values in _values(gathered))
    names, points = zip(*sweep.grid.conditions(), strict=True)
    return Summary(
        name=sweep.name,
        level=level,
        factors=factors_of(sweep),
        conditions=names,
        points=points,
        seeds=sweep.grid.seeds,
        states=states,
        metrics=metrics,
        primary=_primary(sweep),
        completion=clopper_pearson((states == COMPLETED).sum(axis=1), np.full(len(names), states.shape[1]), level),
        complete=gathered.complete,
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
    absent = (states == COMPLETED).sum(axis=1) - description.n
    moments = (description.mean, description.sem, description.n, level)
    method, note = _method(metric, values)
    interval = {T: t_interval, DELTA_LOGIT: delta_logit_interval, DELTA_LOG: delta_log_interval}[method]
    return MetricSummary(
        metric,
        values,
        description,
        absent,
        t_interval(*moments),
        interval(*moments),
        median_interval(values, level),
        method,
        note,
    )


def _method(metric: Metric, values: Floats) -> tuple[str, str]:
    """The interval that suits the declared kind, unless the values contradict it."""
    if metric.kind == BOUNDED:
        if np.any((values < 0) | (values > 1)):
            return T, "declared bounded, but values lie outside [0, 1]: plain t intervals"
        return DELTA_LOGIT, ""
    if metric.kind == POSITIVE:
        if np.any(values < 0):
            return T, "declared positive, but values are negative: plain t intervals"
        return DELTA_LOG, ""
    return T, ""
