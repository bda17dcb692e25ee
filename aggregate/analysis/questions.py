"""Tests as numbers: rows of seeds and their weights, and all that a verdict has to know of them; and which tests are
made besides the declared ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from aggregate.analysis.contrasts import (
    Block,
    block,
    comparable,
    ordered_levels,
    slope_unit,
    slope_weights,
    without_logarithm,
)
from aggregate.analysis.fixed_analysis import Analysis, Compared, Retention, Slope, Test
from aggregate.analysis.retention import Retained, retained
from aggregate.analysis.summary import MetricSummary, Summary
from aggregate.arrays import Floats
from aggregate.reading.declared import BOUNDED, REAL, Metric
from aggregate.stats.intervals import describe
from aggregate.stats.repeats import repeats
from aggregate.stats.weighted import WeightedTest, weighted_test
from aggregate.wording import value_text
from hpc.sweep.cell import FactorValue

SLOPE, COMPARISON, RETENTION = "slope", "comparison", "retention"
Mask = NDArray[np.bool_]
_NO_ROWS = np.empty((0, 0))


@dataclass(frozen=True)
class Part:
    """The same question within one combination of the other factors. rows: positions among the question's rows; empty
    if nothing can be said there, and why."""

    where: str
    rows: tuple[int, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class Question:
    """One test before it is made.

    unit: what the estimate is per, or of what it is the difference. log: values are logarithms. levels: of the factor
    that are used. values: shape (rows, seeds), NaN where unknown; weights: shape (rows,). in_nats: of a retention, the
    values if information is counted in nats, or None. sides: of a retention, names of the two kinds of information.
    failed: rows of cells that ended without a value, same shape; worst: what they count as, one or two values.
    alone: the one combination of the other factors that it is about, where the design has others. combinations: how
    many of them the design has. waiting: cells that have not ended. notes: what else must be said. why: why nothing
    can be tested; bar: why nothing may be claimed. pair: of a comparison, values of the two levels, each of shape
    (combinations, seeds).
    """

    test: Test
    kind: str
    metric: Metric
    factors: tuple[str, ...]
    unit: str = ""
    log: bool = False
    levels: tuple[FactorValue, ...] = ()
    values: Floats = field(default_factory=lambda: _NO_ROWS)
    weights: Floats = field(default_factory=lambda: np.empty(0))
    in_nats: Floats | None = None
    sides: tuple[str, str] = ("", "")
    failed: Mask = field(default_factory=lambda: np.empty((0, 0), dtype=bool))
    worst: tuple[float, ...] = ()
    waiting: int = 0
    notes: tuple[str, ...] = ()
    why: str = ""
    bar: str = ""
    parts: tuple[Part, ...] = ()
    retained: Retained | None = None
    pair: tuple[Floats, Floats] | None = None
    alone: str = ""
    combinations: int = 0
    conditions: tuple[int, ...] = ()

    def whole(self, part: Part) -> Floats:
        """Weights of the same question within one combination: they were shared out over all, and one alone has them
        all. Shape (rows of the part,)."""
        weights = self.weights[list(part.rows)]
        return weights * (np.abs(self.weights).sum() / np.abs(weights).sum()) if part.rows else weights

    @property
    def means_within(self) -> Floats:
        """Of a slope, the mean over seeds, of logarithms if ``log``; shape (levels, combinations)."""
        return np.asarray(describe(self.values).mean.reshape(len(self.levels), -1))

    @property
    def means(self) -> Floats:
        """The same over combinations as well, shape (levels,)."""
        return np.asarray(self.means_within.mean(axis=1))

    @property
    def steps(self) -> Floats:
        """Of a slope, the change of the mean from each level to the next, shape (levels - 1, combinations)."""
        return np.diff(self.means_within, axis=0)

    def step(self, level: int, combination: int) -> WeightedTest:
        """Of a slope, one of its steps, from a level to the next, tested within seeds as the slope is."""
        each = len(self.values) // len(self.levels)
        rows = [level * each + combination, (level + 1) * each + combination]
        return weighted_test(self.values[rows], np.array([-1.0, 1.0]))


def question(summary: Summary, test: Test, planned: Mask) -> Question:
    """planned: the conditions of the first revision of the grid, shape (conditions,)."""
    if isinstance(test, Retention):
        return _of_retention(summary, test, planned)
    kind = SLOPE if isinstance(test, Slope) else COMPARISON
    entry = next((e for e in summary.metrics if e.metric.name == test.metric), None)
    axis = next((i for i, factor in enumerate(summary.factors) if factor.name == test.factor), None)
    if entry is None or axis is None:
        declared = next((m for m in summary.primary if m.name == test.metric), None)
        metric = entry.metric if entry else declared or Metric(test.metric, test.metric, "", REAL, "", None)
        why = f"the grid has no factor {test.factor}" if axis is None else "no run has a finite value"
        return Question(test, kind, metric, (test.factor,), why=why)
    return _of_contrast(summary, entry, axis, test, planned)


def _of_contrast(summary: Summary, entry: MetricSummary, axis: int, test: Slope | Compared, planned: Mask) -> Question:
    factor = summary.factors[axis]
    if isinstance(test, Slope):
        wanted = ordered_levels(summary, axis, planned, logarithm=True)
        unit, notes = slope_unit(factor), without_logarithm(factor)
    else:
        wanted = [factor.values.index(level) for level in test.levels if level in factor.values]
        unit, notes = f"{' minus '.join(map(value_text, test.levels))} ({factor.label})", ""
    values = entry.scaled
    alive = (np.isfinite(values) | summary.waiting).sum(axis=1) >= min(2, len(summary.seeds))
    found = block(summary, axis, wanted, alive, planned)
    made = Question(
        test,
        SLOPE if isinstance(test, Slope) else COMPARISON,
        entry.metric,
        (factor.name,),
        unit,
        entry.log,
        found.values,
        notes=tuple(filter(None, (notes, *found.notes))),
    )
    if len(found.levels) < 2:
        return replace(made, why=found.why or "fewer than two levels are left to compare")
    used = found.conditions.ravel()
    return replace(
        made,
        values=values[used],
        weights=_weights(test, found),
        failed=(np.isnan(values) & ~summary.waiting)[used],
        worst=_worst_values(entry),
        waiting=int(summary.waiting[used].sum()),
        pair=None
        if isinstance(test, Slope)
        else (entry.values[found.conditions[0]], entry.values[found.conditions[1]]),
        conditions=tuple(used.tolist()),
        parts=_parts(found),
        alone=found.alone,
        combinations=found.possible,
    )


def _parts(found: Block) -> tuple[Part, ...]:
    rows = np.arange(found.conditions.size).reshape(found.conditions.shape)
    return (
        tuple(Part(name, tuple(rows[:, c].tolist())) for c, name in enumerate(found.names))
        if len(found.names) > 1
        else ()
    )


def _weights(test: Slope | Compared, found: Block) -> Floats:
    if isinstance(test, Slope):
        return slope_weights(found)
    each = found.conditions.shape[1]
    return np.repeat([1.0 / each, -1.0 / each], each)


def _worst_values(entry: MetricSummary) -> tuple[float, ...]:
    """What a failed cell counts as: the worst value seen, or chance if that is worse; where no direction is declared,
    both ends, and the test must hold with either."""
    seen = entry.values[np.isfinite(entry.values)].tolist()
    if not seen:
        return ()
    seen += [] if entry.metric.chance is None or (entry.log and entry.metric.chance <= 0) else [entry.metric.chance]
    ends = {"higher": (min(seen),), "lower": (max(seen),)}.get(entry.metric.better, (min(seen), max(seen)))
    return tuple(float(np.log(end)) for end in ends) if entry.log else ends


def _of_retention(summary: Summary, asked: Retention, planned: Mask) -> Question:
    labels = {entry.metric.name: entry.metric.label for entry in summary.metrics}
    kept = asked.kept_name or labels.get(asked.kept, asked.kept)
    other = asked.other_name or labels.get(asked.other, asked.other)
    metric = Metric(RETENTION, f"retention, {kept} minus {other}", RETENTION, REAL, "", None)
    found = retained(summary, asked, planned)
    if isinstance(found, str):
        return Question(asked, RETENTION, metric, (asked.factor,), sides=(kept, other), why=found)
    whys = [found.why_not(c) for c in range(len(found.names))]
    made = Question(
        asked,
        RETENTION,
        metric,
        (asked.factor,),
        f"share of the information at {found.widest}",
        levels=found.found.values,
        sides=(found.kept.name, found.other.name),
        notes=found.found.notes,
        alone=found.found.alone,
        combinations=found.found.possible,
        retained=found,
        conditions=tuple(found.found.conditions.ravel().tolist()),
        waiting=int(summary.waiting[found.found.conditions].sum()),
    )
    learnt = np.flatnonzero(found.learnt)
    if not len(learnt):
        reasons = [f"{why} ({name})" if name else why for why, name in zip(whys, found.names, strict=True)]
        reason = whys[0] if len(set(whys)) == 1 else "; ".join(reasons)
        return replace(made, bar=f"{reason}, and what was not learnt cannot be lost")
    values, in_nats = found.difference[:, learnt], found.difference_in_nats
    narrower, _, seeds = values.shape
    failed = _failed(summary, found)[:, learnt].reshape(-1, seeds)
    seen = values[np.isfinite(values)]
    rows = np.arange(narrower * len(learnt)).reshape(narrower, -1)
    places = {int(c): i for i, c in enumerate(learnt)}
    return replace(
        made,
        conditions=tuple(found.found.conditions[:, learnt].ravel().tolist()),
        values=values.reshape(-1, seeds),
        weights=np.full(rows.size, 1 / rows.size),
        in_nats=None if in_nats is None else in_nats[:, learnt].reshape(-1, seeds),
        failed=failed,
        worst=(float(seen.min()), float(seen.max())) if seen.size else (),
        parts=tuple(
            Part(name, tuple(rows[:, places[c]].tolist()) if c in places else (), why)
            for c, (name, why) in enumerate(zip(found.names, whys, strict=True))
            if name
        ),
    )


def _failed(summary: Summary, found: Retained) -> Mask:
    """Where a difference is unknown because its own cell or that of its widest level failed."""
    ended = ~summary.waiting[found.found.conditions]
    return np.asarray(np.isnan(found.difference) & ended[:-1] & ended[-1:])


def others(
    summary: Summary, analysis: Analysis, tests: Sequence[Test], slopes: Sequence[str], planned: Mask
) -> tuple[list[Test], tuple[str, ...]]:
    """Slopes of every metric on every ordered factor outside the family, and an earlier version's hypothesis; and what
    is left out, since it would say nothing, or nothing new."""
    found: list[Test] = [] if analysis.former is None else [analysis.former]
    left_out: list[str] = []
    labels = {factor.name: factor.label for factor in summary.factors}
    whole = [name for name in slopes if _is_crossed(summary, name, planned)]
    left_out += [
        f"slopes on {labels[name]}, of which no combination of the other factors has all levels"
        for name in slopes
        if name not in whole
    ]
    for i, entry in enumerate(summary.metrics):
        metric = entry.metric
        if twin := _twin(summary, i):
            left_out.append(f"{metric.label}, which {twin} in every run")
            continue
        found += [Slope(metric.name, name) for name in whole if name != metric.scaled_by]
        if metric.scaled_by in whole:
            left_out.append(f"{metric.label} over {labels[metric.scaled_by]}, which multiplies a term of it")
    return [test for test in found if test not in tests], tuple(left_out)


def _is_crossed(summary: Summary, name: str, planned: Mask) -> bool:
    """Whether some combination of the other factors has all levels of a slope on this factor."""
    axis = next(i for i, factor in enumerate(summary.factors) if factor.name == name)
    wanted = ordered_levels(summary, axis, planned, logarithm=True)
    return bool(comparable(summary, axis, wanted, planned)[0].any())


def _twin(summary: Summary, position: int) -> str:
    """What another metric has to do with one that only repeats it; empty if it does not. Of several, the first stays
    that is not clipped."""
    entry = summary.metrics[position]
    for i, other in enumerate(summary.metrics):
        if i == position:
            continue
        same, clipped = repeats(entry.values, other.values, bounded=entry.metric.kind == BOUNDED)
        if same and (clipped or i < position):
            if np.array_equal(entry.values, other.values, equal_nan=True):
                return f"has the values of {other.metric.label}"
            return f"is a {'clipped ' if clipped else ''}linear function of {other.metric.label}"
    return ""


def seeds_named(seeds: Sequence[int]) -> str:
    """``seed 44``, ``seeds 44 and 46``."""
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    return f"seeds {', '.join(map(str, seeds[:-1]))} and {seeds[-1]}"
