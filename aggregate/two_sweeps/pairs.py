"""Differences between two sweeps, for every condition that both have and on average over these; nothing of this was
declared before the results could be seen, so it is a description."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from aggregate.analysis.study import Study
from aggregate.analysis.summary import MetricSummary, Summary
from aggregate.arrays import Floats, Integers
from aggregate.reading.declared import POSITIVE, Metric
from aggregate.stats.inference import benjamini_hochberg, one_sample_t
from aggregate.stats.intervals import describe, without_rounding
from aggregate.stats.weighted import averaged, cancels, weighted_test
from aggregate.wording import listed, value_text
from hpc.errors import ConfigError, unknown_key
from hpc.sweep.cell import FactorValue, Point
from hpc.units import counted

SEED, CONDITION = "seed", "condition"
Level = tuple[tuple[str, FactorValue], ...]


@dataclass(frozen=True)
class Rows:
    """Differences, second sweep minus first; arrays of shape (conditions + 1,), the average over conditions first.

    log: of logarithms. n: seeds that have both, or the smaller number of seeds if not paired. adjusted: p over all
    differences of the comparison, for the false discovery rate. per_seed: of paired ones, shape (conditions + 1,
    seeds). if_unrelated: interval of the average, were the conditions' errors unrelated within seeds; None unless the
    interval is narrow because they cancel.
    """

    metric: Metric
    log: bool
    estimate: Floats
    low: Floats
    high: Floats
    n: Integers
    p: Floats
    adjusted: Floats
    per_seed: Floats
    if_unrelated: tuple[float, float] | None = None


@dataclass(frozen=True)
class Pairs:
    """places: conditions in words. seeds: that are paired; empty if none are. level: of the intervals, uncorrected.
    left_out: conditions that only one sweep has, as (name of the sweep, condition). remarks: on missing values."""

    names: tuple[str, str]
    places: tuple[str, ...]
    seeds: tuple[int, ...]
    level: float
    metrics: tuple[Rows, ...]
    left_out: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...] = ()

    @property
    def paired(self) -> bool:
        return bool(self.seeds)


def pair(a: Study, b: Study, names: tuple[str, str], on: str, wanted: Sequence[str] = ()) -> Pairs:
    """Compare b with a. names: of the two. on: SEED pairs the runs of one seed, CONDITION compares their means alone.
    wanted: metrics; the primary ones of either if empty.

    Raises ConfigError if they have no condition, no seed or no metric in common.
    """
    rows = _conditions(a.summary, b.summary, names)
    theirs = set(b.summary.seeds)
    seeds = tuple(seed for seed in a.summary.seeds if seed in theirs) if on == SEED else ()
    if on == SEED and not seeds:
        fault = f"{names[0]} and {names[1]} have no seed in common; --on condition compares the means of conditions"
        raise ConfigError([fault])
    level = a.summary.level
    chosen, remarks = _metrics(a, b, names, wanted)
    _check_declared_alike(a.summary, b.summary, chosen, names)
    found = [_compare(a.summary, b.summary, name, rows, seeds, level) for name in chosen]
    adjusted = np.split(benjamini_hochberg(np.concatenate([made.p for made in found])), len(found))
    metrics = tuple(replace(made, adjusted=p) for made, p in zip(found, adjusted, strict=True))
    here = {i for i, _ in rows}, {j for _, j in rows}
    left_out = [
        (name, study.summary.place(i))
        for name, study, used in zip(names, (a, b), here, strict=True)
        for i in range(len(study.summary.points))
        if i not in used
    ]
    remarks += _missing((a.summary, b.summary), names, rows, metrics)
    places = tuple(a.summary.place(i) for i, _ in rows)
    return Pairs(names, places, seeds, level, metrics, tuple(left_out), tuple(remarks))


def _missing(
    summaries: tuple[Summary, Summary], names: tuple[str, str], rows: Sequence[tuple[int, int]], metrics: Sequence[Rows]
) -> list[str]:
    """What is to be said of compared runs without a value: those that are left may be the better ones."""
    told = []
    for made in metrics:
        for side, (summary, name) in enumerate(zip(summaries, names, strict=True)):
            values = _entry(summary, made.metric.name).values[[row[side] for row in rows]]
            lost = int(np.isnan(values).sum())
            if lost:
                left = f"the average rests on {counted(int(made.n[0]), 'seed')}"
                told.append(f"{made.metric.label}: {lost} of {values.size} runs of {name} have no value; {left}")
        if np.any((made.n > 1) & np.isnan(made.low) & np.isfinite(made.estimate)):
            told.append(f"{made.metric.label}: where all seeds have the same difference, nothing is known of chance")
    return told


def _conditions(a: Summary, b: Summary, names: tuple[str, str]) -> list[tuple[int, int]]:
    """Positions of the conditions that both have. A factor that one sweep lacks has a single level in the other."""
    common = {factor.name for factor in a.factors} & {factor.name for factor in b.factors}
    for summary, name, other in ((a, names[0], names[1]), (b, names[1], names[0])):
        for factor in summary.factors:
            if factor.name not in common and len(factor.values) > 1:
                levels = listed([value_text(value) for value in factor.values])
                raise ConfigError([f"{name}: {factor.name} has levels {levels}, and {other} has no such factor"])
    places: Mapping[Level, int] = {_level(point, common): j for j, point in enumerate(b.points)}
    matches = [(i, places[key]) for i, point in enumerate(a.points) if (key := _level(point, common)) in places]
    if not matches:
        raise ConfigError([f"{names[0]} and {names[1]} have no condition in common"])
    return matches


def _level(point: Point, common: set[str]) -> Level:
    return tuple(sorted(entry for entry in point if entry[0] in common))


def _metrics(a: Study, b: Study, names: tuple[str, str], wanted: Sequence[str]) -> tuple[list[str], list[str]]:
    """Metrics to compare, and what is to be said of primary ones that are not."""
    known = [{entry.metric.name for entry in study.summary.metrics} for study in (a, b)]
    both = sorted(known[0] & known[1])
    faults = [unknown_key(f"--metric {name}", name, both) for name in wanted if name not in both]
    if faults:
        raise ConfigError(faults)
    primary = [entry.metric.name for study in (a, b) for entry in study.summary.primary_metrics()]
    chosen = [name for name in dict.fromkeys([*wanted] or primary) if name in both]
    if not chosen:
        told = f"both have values of {listed(both)}; choose with --metric" if both else "no metric has values in both"
        raise ConfigError([f"{names[0]} and {names[1]} have no primary metric in common; {told}"])
    lacking = [] if wanted else [name for name in dict.fromkeys(primary) if name not in both]
    told_of = [f"{name}: {names[1 if name in known[0] else 0]} has no value of it; left out" for name in lacking]
    return chosen, told_of


def _check_declared_alike(a: Summary, b: Summary, metrics: Sequence[str], names: tuple[str, str]) -> None:
    for name in metrics:
        first, second = _entry(a, name).metric, _entry(b, name).metric
        if (first.kind, first.better) != (second.kind, second.better):
            one, other = (f"{metric.kind}, {metric.better or 'no direction'}" for metric in (first, second))
            raise ConfigError([f"{name} is declared as {one} in {names[0]} and as {other} in {names[1]}"])


def _compare(
    a: Summary, b: Summary, name: str, rows: Sequence[tuple[int, int]], seeds: Sequence[int], level: float
) -> Rows:
    first, second = _entry(a, name), _entry(b, name)
    x, y = first.values[[i for i, _ in rows]], second.values[[j for _, j in rows]]
    # As each sweep compares positive metrics, but by the values that are compared here.
    log = first.metric.kind == POSITIVE and not (np.any(x <= 0) or np.any(y <= 0))
    x, y = (np.log(x), np.log(y)) if log else (x, y)
    if not seeds:
        estimate, low, high, n, p = _welch(_with_average(x), _with_average(y), level)
        return Rows(first.metric, log, estimate, low, high, n, p, p, np.empty((len(rows) + 1, 0)))
    places = [{seed: place for place, seed in enumerate(summary.seeds)} for summary in (a, b)]
    x, y = (values[:, [place[seed] for seed in seeds]] for values, place in zip((x, y), places, strict=True))
    rounding = np.finfo(np.float64).eps * (np.abs(x) + np.abs(y))
    per_seed = _with_average(without_rounding(y - x, rounding))
    test = one_sample_t(per_seed, level)
    unrelated = _if_unrelated(per_seed, level)
    return Rows(first.metric, log, test.mean, test.low, test.high, test.n, test.p, test.p, per_seed, unrelated)


def _if_unrelated(per_seed: Floats, level: float) -> tuple[float, float] | None:
    """per_seed: the average first, then the conditions that it is of; of the seeds that have all of them."""
    own = per_seed[:, np.isfinite(per_seed[0])]
    tests = [weighted_test(row[None], np.ones(1)) for row in own]
    if len(tests) < 3 or not all(test.error > 0 for test in tests):
        return None
    other = averaged(tests[1:])
    return other.interval(level) if cancels(tests[0], other, level) else None


def _entry(summary: Summary, name: str) -> MetricSummary:
    return next(entry for entry in summary.metrics if entry.metric.name == name)


def _with_average(values: Floats) -> Floats:
    """First the average over conditions, of the seeds that have all of them; then each. Shape (1 + rows, seeds)."""
    return np.vstack([values.mean(axis=0), values])


def _welch(x: Floats, y: Floats, level: float) -> tuple[Floats, Floats, Floats, Integers, Floats]:
    """Differences of means of samples whose spreads may differ. Source: Welch 1947, Satterthwaite 1946."""
    a, b = describe(x), describe(y)
    estimate, error = b.mean - a.mean, np.hypot(a.sem, b.sem)
    known = error > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = a.sem**4 / (a.n - 1) + b.sem**4 / (b.n - 1)
        freedom = np.where(known, error**4 / parts, np.nan)
        p = np.where(known, 2 * special.stdtr(freedom, -np.abs(estimate / error)), np.nan)
        half = np.where(known, special.stdtrit(freedom, (1 + level) / 2) * error, np.nan)
    return estimate, estimate - half, estimate + half, np.minimum(a.n, b.n), p
