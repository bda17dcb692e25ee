"""The hypothesis: how much of what was learnt at the widest level of a factor is retained at narrower ones.

Information I is 0 for guessing and 1 for no error: 1 - error / error of guessing, or (score - chance) / (1 - chance).
Retention R(level) = I(level) / I(widest), of the same seed and the same combination of the other factors.

A share of a squared error and a share of a cross entropy are in different units. Whether the answer depends on that is
seen in nats, in which both can be counted: a cross entropy is in nats as it is, and a Gaussian variable of which the
share I of the variance is explained has -1/2 ln(1 - I).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from aggregate.analysis.contrasts import Block, block, ordered_levels
from aggregate.analysis.fixed_analysis import Retention
from aggregate.analysis.summary import MetricSummary, Summary
from aggregate.arrays import Floats, Interval
from aggregate.reading.declared import CROSS_ENTROPY, SQUARED, Factor
from aggregate.stats.intervals import describe, t_interval
from aggregate.wording import listed, percent, span, value_text
from hpc.sweep.cell import FactorValue

_HALF = 0.5


@dataclass(frozen=True)
class Side:
    """One kind of information. formula: what it is, in words. information: shape (levels, combinations, seeds), narrow
    to wide. level: of the intervals. error: kind of error of its metric, or empty."""

    name: str
    formula: str
    information: Floats
    level: float
    error: str = ""

    @cached_property
    def interval(self) -> Interval:
        """For the mean over seeds at the widest level, (low, high), each of shape (combinations,)."""
        d = describe(self.information[-1])
        return t_interval(d.mean, d.sem, d.n, self.level)

    def interval_text(self, combination: int) -> str:
        low, high = (end[combination] for end in self.interval)
        if low == high:
            return "the same in every seed"
        return f"{percent(round(self.level, 4))} interval [{low:.2f}, {high:.2f}]"

    @cached_property
    def learnt(self) -> NDArray[np.bool_]:
        """In which combinations it is above guessing at the widest level, shape (combinations,): the interval over
        seeds lies above 0, and so does every seed, since it is divided by."""
        return np.asarray((self.interval[0] > 0) & (describe(self.information[-1]).minimum > 0))

    @property
    def retention(self) -> Floats:
        """Share of the widest level's, same shape; 1 at the widest level."""
        return _share_of_widest(self.information)

    @property
    def in_nats(self) -> Floats:
        """The same with information counted in nats; all NaN if the metric's kind of error is not declared."""
        if self.error == CROSS_ENTROPY:
            return self.retention
        if self.error != SQUARED:
            return np.full_like(self.information, np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            nats = -0.5 * np.log1p(-self.information)
        return _share_of_widest(np.where(np.isfinite(nats), nats, np.nan))

    def bracket(self, combination: int, levels: tuple[FactorValue, ...]) -> str:
        """Between which neighbouring levels the share falls below half, in how many seeds: a description, no
        estimate. A mean over seeds would lose its half where none of them does."""
        values = self.retention[:, combination]
        below = np.where(np.isnan(values), np.inf, values) < _HALF
        # The widest level at which less than half is left, so that a seed counts once; -1 if there is none.
        widest = np.where(below.any(axis=0), len(values) - 1 - np.argmax(below[::-1], axis=0), -1)
        counts = Counter(widest[~np.isnan(values).any(axis=0)].tolist())
        told = [f"{_between(i, levels)} ({count})" for i, count in sorted(counts.items(), reverse=True)]
        return listed(told) or "unknown, for lack of results"


@dataclass(frozen=True)
class Retained:
    """Both kinds of information over a factor. names: of the combinations of other factors; one empty name if there is
    no other factor. difference: kept minus other retention at narrower levels, shape (levels - 1, combinations, seeds),
    NaN where either is unknown."""

    factor: Factor
    found: Block
    names: tuple[str, ...]
    kept: Side
    other: Side

    @property
    def difference(self) -> Floats:
        return self.kept.retention[:-1] - self.other.retention[:-1]

    @property
    def difference_in_nats(self) -> Floats | None:
        """The same with both counted in nats; None where that is unknown, or no other than ``difference``."""
        if self.unit_unchecked or {self.kept.error, self.other.error} == {CROSS_ENTROPY}:
            return None
        return self.kept.in_nats[:-1] - self.other.in_nats[:-1]

    @property
    def unit_unchecked(self) -> bool:
        """Whether the answer may hang on the unit of information, and nothing says so: some metric's kind of error is
        not declared."""
        return "" in (self.kept.error, self.other.error)

    @property
    def learnt(self) -> NDArray[np.bool_]:
        return self.kept.learnt & self.other.learnt

    @property
    def shares(self) -> tuple[float, float]:
        """Shares of either retained at narrower levels, averaged over seeds, levels and combinations with both."""
        return self._mean(self.kept.retention), self._mean(self.other.retention)

    @property
    def shares_of_nats(self) -> tuple[float, float]:
        """The same with information counted in nats; NaN where it cannot be."""
        return self._mean(self.kept.in_nats), self._mean(self.other.in_nats)

    def _mean(self, retention: Floats) -> float:
        return float(describe(retention[:-1, self.learnt]).mean.mean()) if self.learnt.any() else float("nan")

    @property
    def widest(self) -> str:
        return f"{self.factor.label} {value_text(self.found.values[-1])}"

    def ranges(self, combination: int) -> tuple[tuple[str, float, float], ...]:
        """Of either, its name and the lowest and highest information of a run at the widest level of a combination."""
        found = [(side.name, describe(side.information[-1, combination])) for side in (self.kept, self.other)]
        return tuple((name, float(d.minimum), float(d.maximum)) for name, d in found)

    @property
    def brackets(self) -> str:
        """Between which levels the share of either falls below half in every combination: what the seeds show, no
        estimate."""
        lines = []
        for i in np.flatnonzero(self.learnt).tolist():
            sides = ", ".join(f"{side.name} {side.bracket(i, self.found.values)}" for side in (self.kept, self.other))
            lines.append(f"at {self.names[i]}, {sides}" if self.names[i] else sides)
        return f"Where the share falls below half (in how many seeds): {'; '.join(lines)}." if lines else ""

    def why_not(self, combination: int) -> str:
        """What was not shown to be learnt in a combination, and by what; empty if both were."""
        sides = zip((self.kept, self.other), self.ranges(combination), strict=True)
        missing = [
            f"the information on {name} is {span(low, high)} over seeds ({side.interval_text(combination)})"
            for side, (name, low, high) in sides
            if not side.learnt[combination]
        ]
        if not missing:
            return ""
        return f"even at {self.widest}, {' and '.join(missing)}, not reliably above 0, the level of guessing"


def _between(below: int, levels: tuple[FactorValue, ...]) -> str:
    """below: position of the widest level at which less than half is left, or -1."""
    if below < 0:
        return f"not even at {value_text(levels[0])}"
    return f"between {value_text(levels[below + 1])} and {value_text(levels[below])}"


def retained(summary: Summary, asked: Retention, planned: NDArray[np.bool_]) -> Retained | str:
    """Retention as far as the sweep has it, or why there is none. planned: see questions.question."""
    entries = {entry.metric.name: entry for entry in summary.metrics}
    axis = next((i for i, factor in enumerate(summary.factors) if factor.name == asked.factor), None)
    if axis is None:
        return f"the grid has no factor {asked.factor}"
    for name in (asked.kept, asked.other):
        if name not in entries:
            return f"no run has a value of {name}"
    kept, other = entries[asked.kept], entries[asked.other]
    both = np.isfinite(kept.values) & np.isfinite(other.values)
    factor = summary.factors[axis]
    alive = (both | summary.waiting).sum(axis=1) >= min(2, len(summary.seeds))
    wanted = ordered_levels(summary, axis, planned, logarithm=False)
    found = block(summary, axis, wanted, alive, planned)
    if found.why:
        return found.why
    if len(found.levels) < 2:
        return "; ".join(["fewer than two levels are left", *found.notes])
    sides = [
        _side(entry, chance, name, found, both, summary.level, asked.errors)
        for entry, chance, name in (
            (kept, asked.kept_chance, asked.kept_name),
            (other, asked.other_chance, asked.other_name),
        )
    ]
    return Retained(factor, found, found.names, sides[0], sides[1])


def _side(
    entry: MetricSummary, chance: float, name: str, found: Block, both: NDArray[np.bool_], level: float, errors: bool
) -> Side:
    values = np.where(both, entry.values, np.nan)[found.conditions]
    if entry.metric.better == "higher":
        guess = 1 - chance if errors else chance
        information = (values - guess) / (1 - guess)
        formula = f"(({entry.metric.label}) - {guess:.4g}) / {1 - guess:.4g}"
    else:
        information = 1 - values / chance
        formula = f"1 - ({entry.metric.label}) / {chance:.4g}"
    return Side(name or entry.metric.label, formula, information, level, entry.metric.error)


def _share_of_widest(information: Floats) -> Floats:
    """Shape (levels, combinations, seeds); NaN where there is nothing to be a share of."""
    widest = information[-1]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return np.asarray(np.where(widest > 0, information / widest, np.nan))
