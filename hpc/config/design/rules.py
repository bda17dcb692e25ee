"""What a design says of the combinations of levels: which factors move together, what is left out, what is added."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpc.config.design.levels import factor_value, longer
from hpc.config.schema.sweep import SweepSection
from hpc.errors import meant
from hpc.faults import Faults
from hpc.sweep.cell import FactorValue, Point
from hpc.sweep.definition import DeclaredTrainer
from hpc.sweep.design import FULL, MOST_NAMED, Pattern, Tie
from hpc.sweep.grid import Axis, Rules


def tied_axes(
    groups: Sequence[Sequence[str]], axes: Sequence[Axis], faults: Faults
) -> tuple[list[Axis], tuple[Tie, ...]]:
    """The levels of every factor, each once, and the factors that move together. Faults are added, not raised.

    axes: as written; those of one group have as many levels, which belong together by their order.
    """
    if faults.lines:  # a level may be missing
        groups = ()
    columns = {axis.name: axis.values for axis in axes}
    named: set[str] = set()
    ties: list[Tie] = []
    for i, group in enumerate(groups):
        field = f"sweep.zip[{i}]"
        if fault := _no_group(group, columns, named):
            faults.value(field, list(group), fault)
            continue
        named.update(group)
        factors = tuple(name for name in columns if name in group)
        rows = list(zip(*(columns[name] for name in factors), strict=False))  # of faulty levels, one may be shorter
        if twice := next((row for row, count in Counter(rows).items() if count > 1), None):
            told = ", ".join(f"{name} {level}" for name, level in zip(factors, twice, strict=True))
            faults.add(field, f"{field}: the levels {told} stand together twice; remove them once")
        ties.append(Tie(factors, tuple(rows)))
    return [Axis(axis.name, tuple(dict.fromkeys(axis.values))) for axis in axes], tuple(ties)


def _no_group(group: Sequence[str], columns: Mapping[str, Sequence[FactorValue]], named: Collection[str]) -> str:
    """Why factors cannot move together, with the way out; empty if they can."""
    if len(set(group)) < 2 or len(set(group)) < len(group):
        return "name two or more factors, each once"
    if absent := next((name for name in group if name not in columns), None):
        return f"no levels of {absent} are listed; valid: {', '.join(columns)}"
    if taken := next((name for name in group if name in named), None):
        return f"{taken} is in another group; join the groups"
    lengths = {name: len(columns[name]) for name in group}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {count:,}" for name, count in lengths.items())
        return (
            f"they have different numbers of levels ({told}); list as many of each, in the order they belong together"
        )
    return ""


@dataclass(frozen=True)
class DesignReader:
    """Reads what is said of levels: the rules of a design, and which cells ask for other resources.

    axes: the crossed levels. settled: factors whose levels the command line names.
    """

    axes: Sequence[Axis]
    trainer: DeclaredTrainer
    faults: Faults
    truths: bool
    settled: Collection[str]
    bundles: Mapping[str, Collection[Any]]
    ties: tuple[Tie, ...] = ()

    def rules(self, section: SweepSection) -> tuple[list[Axis], Rules]:
        """All levels of every factor, and the rules. A level of single conditions is crossed with nothing."""
        points = self._included(section.include)
        axes = [longer(axis, [dict(point)[axis.name] for point in points]) for axis in self.axes]
        exclude = [*self._excluded(section.exclude), *self._conditional(section.when)]
        for axis, crossed in zip(axes, self.axes, strict=True):
            if alone := tuple(value for value in axis.values if value not in crossed.values):
                exclude.append(((axis.name, alone),))
        rules = Rules(tuple(exclude), tuple(points), self.ties)
        if (tied := sum(len(tie.factors) * len(tie.rows) for tie in self.ties)) > MOST_NAMED:
            told = f"sweep: the factors that move together have {tied:,} levels, where {MOST_NAMED:,} can be read"
            self.faults.add("sweep", f"{told}; list or draw fewer")
            return axes, FULL
        if rules.named > MOST_NAMED:
            fix = "leave levels out of sweep.axes, or leave out less"
            told = f"sweep.exclude names {rules.named:,} levels, where {MOST_NAMED:,} can be named"
            self.faults.add("sweep.exclude", f"{told}; {fix}")
            return axes, FULL
        return axes, rules

    def _excluded(self, entries: Sequence[Mapping[str, Any]]) -> list[Pattern]:
        found: list[Pattern] = []
        for i, entry in enumerate(entries):
            field = f"sweep.exclude[{i}]"
            if not entry:
                self.faults.value(field, entry, "name factors with the levels to leave out, such as {width: 64}")
            # What the command line left out is not among them.
            pattern = tuple(
                (axis.name, tuple(value for value in axis.values if value in levels))
                for axis, levels in self.pattern(field, entry)
            )
            if pattern and all(values for _, values in pattern):  # else it matches nothing
                found.append(pattern)
        return found

    def _conditional(self, entries: Mapping[str, Mapping[str, Any]]) -> list[Pattern]:
        """What is left out where factors depend on levels of others: elsewhere each keeps its first level."""
        self._check_factors("sweep.when", entries)
        found: list[Pattern] = []
        for axis in self.axes:
            if (entry := entries.get(axis.name)) is None:
                continue
            field = f"sweep.when.{axis.name}"
            if not entry:
                self.faults.value(field, entry, "name factors with the levels that it needs, such as {model: big}")
            elif axis.name in entry or any(axis.name in tie.factors for tie in self.ties):
                fix = "it can depend on other factors only, and moves with none; take it out of sweep.when"
                self.faults.value(field, entry, fix)
            for other, levels in self.pattern(field, entry):
                absent = tuple(value for value in other.values if value not in levels)
                if absent and len(axis.values) > 1 and other is not axis:
                    found.append(((other.name, absent), (axis.name, axis.values[1:])))
        return found

    def pattern(self, field: str, entry: Mapping[str, Any]) -> list[tuple[Axis, list[FactorValue]]]:
        """Factors with the levels that an entry names, also those that the command line left out."""
        self._check_factors(field, entry)
        return [
            (axis, self._levels(f"{field}.{axis.name}", entry[axis.name], axis))
            for axis in self.axes
            if axis.name in entry
        ]

    def _included(self, entries: Sequence[Mapping[str, Any]]) -> list[Point]:
        found: dict[Point, None] = {}
        for i, entry in enumerate(entries):
            field = f"sweep.include[{i}]"
            self._check_factors(field, entry)
            if absent := [axis.name for axis in self.axes if axis.name not in entry]:
                self.faults.value(field, entry, f"a single condition has a level of every factor; add {absent[0]}")
                continue
            pairs = [(axis.name, self._level(f"{field}.{axis.name}", entry[axis.name], axis)) for axis in self.axes]
            point = tuple((name, value) for name, value in pairs if value is not None)
            if point in found:
                self.faults.value(field, entry, "this condition is given twice; remove one")
            elif len(point) == len(self.axes) and self._is_asked_for(point):
                found[point] = None
        return list(found)

    def _check_factors(self, field: str, entry: Mapping[str, Any]) -> None:
        names = [axis.name for axis in self.axes]
        for name in entry:
            if name not in names:
                fix = f"the grid has no such factor; valid: {', '.join(names)}"
                self.faults.value(f"{field}.{name}", entry[name], fix)

    def _is_asked_for(self, point: Point) -> bool:
        """Whether a condition has levels that the command line names, where it names any."""
        return all(
            value in axis.values or axis.name not in self.settled
            for axis, (_, value) in zip(self.axes, point, strict=True)
        )

    def _levels(self, field: str, asked: Any, axis: Axis) -> list[FactorValue]:
        """One level or several."""
        found = []
        if asked == []:
            self.faults.value(field, asked, "name at least one level")
        for raw in asked if isinstance(asked, list) else [asked]:
            value = self._level(field, raw, axis)
            if value is None:
                continue
            found.append(value)
            if value not in axis.values and axis.name not in self.settled:
                valid = ", ".join(map(str, axis.values))
                self.faults.value(field, raw, f"the grid lacks this level; {_nearest(value, axis)}valid: {valid}")
        return found

    def _level(self, field: str, raw: Any, axis: Axis) -> FactorValue | None:
        name = axis.name
        try:
            value = factor_value(raw, name, self.trainer.factors[name], self.truths)
        except ValueError as error:
            self.faults.value(field, raw, str(error))
            return None
        if name in self.bundles and name not in self.settled and value not in self.bundles[name]:
            self.faults.value(field, raw, f"this level has no settings; add it to sweep.axes.{name}")
        return value


def _nearest(value: FactorValue, axis: Axis) -> str:
    """`did you mean 1024? `; empty where no level is near."""
    if isinstance(value, str):
        words = [level for level in axis.values if isinstance(level, str)]
        return meant(value, words)
    numbers = [level for level in axis.values if not isinstance(level, str)]
    nearest = min(numbers, key=lambda level: abs(level - value), default=None)
    return f"did you mean {nearest}? " if nearest is not None and len(axis.values) > 1 else ""
