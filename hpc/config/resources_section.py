"""The resources section -> rules: which cells ask of a cluster for something else than the profile says."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from hpc.checkout import SCRIPT_TRAINER
from hpc.config.design.rules import DesignReader
from hpc.config.grid_section import settled_factors
from hpc.config.schema import ResourceSection
from hpc.faults import Faults
from hpc.sweep.cell import Point
from hpc.sweep.definition import DeclaredTrainer
from hpc.sweep.grid import Grid
from hpc.sweep.resources import KEYS, ResourceRule, clash, matches_none, ordered, text, too_many_named


def make_rules(
    sections: Sequence[ResourceSection],
    grid: Grid,
    trainer: DeclaredTrainer,
    faults: Faults,
    *,
    given: Collection[str] = (),
) -> tuple[ResourceRule, ...]:
    """The rules of a sound grid. Faults are added, not raised.

    given: dotted names that the command line set: rules may be of levels that it left out.
    """
    before, settled = len(faults.lines), settled_factors(given)
    reader = DesignReader(grid.axes, trainer, faults, trainer.target == SCRIPT_TRAINER, settled, {})
    rules = [_rule(f"resources[{i}]", section, reader) for i, section in enumerate(sections)]
    if fault := too_many_named(rules):
        faults.add("resources", f"{fault}; name fewer in `when`")
    if len(faults.lines) == before:
        for i, rule in enumerate(rules):
            if matches_none(rule, grid) and not settled.intersection(name for name, _ in rule.when):
                fix = f"the design leaves out all of these conditions; the nearest is {_nearest(rule, grid)}"
                faults.value(f"resources[{i}].when", sections[i].when, fix)
        if fault := told_clash(rules, grid):
            faults.add("resources", fault)
    return tuple(rules)


def told_clash(rules: Sequence[ResourceRule], grid: Grid) -> str:
    """A line about two rules that say different things of one condition; empty if none do."""
    found = clash(rules, grid)
    if found is None:
        return ""
    first, second = (text([(found.key, dict(rules[i].asked)[found.key])]) for i in (found.first, found.second))
    fix = f"name levels in `when` so that only one of them is about {_told(found.point)}"
    both = f"resources[{found.second}] asks for {second}, and resources[{found.first}] for {first}"
    return f"{both}, of the same cells; {fix}"


def _rule(field: str, section: ResourceSection, reader: DesignReader) -> ResourceRule:
    when = tuple((axis.name, tuple(levels)) for axis, levels in reader.pattern(f"{field}.when", section.when))
    asked = {key: value for key in KEYS if (value := getattr(section, key)) is not None}
    if not asked:
        reader.faults.add(field, f"{field} asks for nothing; add one of {', '.join(KEYS)}")
    return ResourceRule(when, ordered(asked))


def _nearest(rule: ResourceRule, grid: Grid) -> str:
    """The condition that has most of a rule's levels."""
    when = dict(rule.when)
    points = (point for _, point in grid.conditions())
    return _told(max(points, key=lambda point: sum(value in when.get(name, ()) for name, value in point)))


def _told(point: Point) -> str:
    return ", ".join(f"{name} {value}" for name, value in point)
