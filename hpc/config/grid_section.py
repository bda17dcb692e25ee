"""The sweep section -> a grid: named factors with their values, which of their combinations are run, and seeds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from hpc.checkout import BUILT_IN_TRAINER, SCRIPT_TRAINER
from hpc.config.design.draws import drawn_axes
from hpc.config.design.levels import axis_values, longer
from hpc.config.design.rules import DesignReader, tied_axes
from hpc.config.schema.sweep import SweepSection
from hpc.errors import ConfigError
from hpc.faults import Faults
from hpc.files import limits
from hpc.sweep.cell import FactorValue
from hpc.sweep.definition import DeclaredTrainer
from hpc.sweep.design import FULL
from hpc.sweep.grid import FIRST_SEED, Axis, Grid

# More is far likelier a slip (a runs_per_condition of a million) than a plan, and would fill the file system.
MOST_CELLS_UNASKED = 1_000_000
DEFAULT_AXES: dict[str, list[FactorValue]] = {
    "dim": [8, 12, 16, 24, 32],
    "scale": [0.1, 0.5, 1.0, 2.0, 5.0, 10.0],
}
# Keys of the sweep section that are short for an axis.
SHORT_AXES = {"dims": "dim", "scales": "scale"}


def make_grid(
    section: SweepSection,
    trainer: DeclaredTrainer,
    faults: Faults,
    allow_huge: bool,
    *,
    given: Collection[str] = (),
    bundles: Mapping[str, Collection[Any]] | None = None,
) -> Grid:
    """The grid that a sweep section describes. Faults are added, not raised.

    allow_huge: accept more than MOST_CELLS_UNASKED cells. given: dotted names that the command line set: what the
    file's rules say of other levels of these factors does not count. bundles: levels with settings, by factor.
    """
    before = len(faults.lines)
    truths = trainer.target == SCRIPT_TRAINER
    axes, ties = tied_axes(section.zip, _axes(section, trainer, faults, truths), faults)
    drawn, together = drawn_axes(section.draw, [axis.name for axis in axes], trainer, faults)
    axes, ties = [*axes, *drawn], (*ties, *together)
    seeds_given = section.seeds is not None and section.runs_per_condition is not None
    if seeds_given and len(section.seeds or ()) != section.runs_per_condition:
        faults.value("sweep.runs_per_condition", section.runs_per_condition, "it differs from the number of seeds")
    count = len(section.seeds) if section.seeds is not None else section.runs_per_condition or 5
    rules = FULL
    if len(faults.lines) == before:
        reader = DesignReader(axes, trainer, faults, truths, settled_factors(given), bundles or {}, ties)
        axes, rules = reader.rules(section)
    elif section.zip or section.draw:  # which combinations there are is not known
        return Grid(tuple(axes), _seeds(section, count, faults))
    whole = math.prod(max(1, len(axis.values)) for axis in axes)
    total = count * (rules.most(axes) if rules else whole)
    if total > MOST_CELLS_UNASKED and not allow_huge:
        faults.add("sweep", f"the grid has {total:,} cells; if that is meant, confirm with -y")
        faults.stop()
    if fault := limits.too_many(total, limits.MOST_CELLS, "cells"):
        faults.add("sweep", f"the grid has {fault}")
        faults.stop()
    grid = Grid(tuple(axes), _seeds(section, count, faults), rules)
    if not rules or len(faults.lines) > before:
        return grid
    if not (section.exclude or section.when) and not ties and grid.n_conditions == grid.combinations:
        return replace(grid, rules=FULL)
    return _sound(grid, faults)


def settled_factors(given: Collection[str]) -> set[str]:
    """Factors whose levels the command line names. given: dotted names that it set."""
    named = {name.rpartition(".")[2] for name in given if name.startswith("sweep.")}
    return named | {SHORT_AXES[key] for key in named & SHORT_AXES.keys()}


def departures(grid: Grid) -> list[str]:
    """A line on a design that is no full product; none of one that is."""
    if not grid.rules:
        return []
    alone = f", {len(grid.rules.include)} of them by sweep.include" if grid.rules.include else ""
    tied = (f"{' and '.join(tie.factors)} move together: {len(tie.rows):,} combinations" for tie in grid.rules.ties)
    return [f"{grid.share} of levels are conditions{alone}", *tied]


def levels_as_written(section: SweepSection) -> dict[str, list[Any]]:
    """Factor -> its values in the file, those of single conditions too, unchecked."""
    found = {name: list(getattr(section, key)) for key, name in SHORT_AXES.items() if getattr(section, key) is not None}
    found |= {name: list(values) for name, values in (section.axes or {}).items()}
    if section.draw:
        found |= {name: [ends.min, ends.max] for name, ends in section.draw.ranges.items()}
    names = set(found) or {name for entry in section.include for name in entry}
    for entry in section.include:
        for name in names.intersection(entry):
            found.setdefault(name, []).append(entry[name])
    return found


def grow(grid: Grid, added: Mapping[str, list[Any]], trainer: DeclaredTrainer) -> Grid:
    """The same grid with more values of its factors. Raises ConfigError for a factor it does not have, or a value."""
    faults = Faults("command line")
    names = [axis.name for axis in grid.axes]
    for name in added:
        if name not in names:
            hint = "a new factor is another sweep: give it a configuration and a directory of its own"
            faults.add(name, f"--axis {name}: the sweep's factors are {', '.join(names)}; {hint}")
    truths = trainer.target == SCRIPT_TRAINER
    axes: list[Axis] = []
    rules = grid.rules
    for axis in grid.axes:
        raw, factor = added.get(axis.name, []), trainer.factors[axis.name]
        values = axis_values(f"--axis {axis.name}", axis.name, raw, factor, faults, truths)
        axes.append(longer(axis, values))
        if (tie := rules.tie_of(axis.name)) and len(axes[-1].values) > len(axis.values):
            others = " and ".join(name for name in tie.factors if name != axis.name)
            hint = "add combinations in the configuration (longer lists, a larger sweep.draw.n), and give --config"
            faults.add(axis.name, f"--axis {axis.name}: {axis.name} moves together with {others}; {hint}")
        rules = rules.crossing(axis.name, values)
    if added and rules and rules.most(axes) == len(rules.include):
        hint = "add conditions to sweep.include, and give --config"
        faults.add("axis", f"--axis: the sweep is a list of single conditions, and crosses no levels; {hint}")
    faults.stop()
    try:
        return Grid.from_json(Grid(tuple(axes), grid.seeds, rules).to_json())  # with the names of its cells checked
    except ValueError as error:
        raise ConfigError([f"command line: --axis: {error}"]) from None


def _axes(section: SweepSection, trainer: DeclaredTrainer, faults: Faults, truths: bool) -> list[Axis]:
    """The crossed levels; none of every factor where a list of single conditions is all there is. Of factors that move
    together, the columns as they are written."""
    before = len(faults.lines)
    zipped = set(itertools.chain(*section.zip))
    axes: list[Axis] = []
    raw = _raw_axes(section, trainer)
    listed = not raw and bool(section.include) and section.draw is None
    for key, name, values in raw or [("sweep.include[0]", name, []) for entry in section.include[:1] for name in entry]:
        if any(axis.name == name for axis in axes):
            faults.add(key, f"{key}: {name!r} has its values already; give them once")
        elif name not in trainer.factors:
            known = ", ".join(trainer.factors) or "none"
            faults.add(key, f"{key}: trainer {trainer.target} has no factor {name!r}; its factors: {known}")
        elif not values and not listed:
            faults.value(key, values, "give at least one value")
        else:
            factor, repeated = trainer.factors[name], name in zipped
            found = axis_values(key, name, values, factor, faults, truths, repeated=repeated)
            axes.append(Axis(name, found))
    if not axes and section.draw is None and len(faults.lines) == before:
        faults.add("sweep.axes", f"sweep.axes is missing; name a factor of {trainer.target} and its values")
    return axes


def _sound(grid: Grid, faults: Faults) -> Grid:
    """The grid without what its rules say twice. A fault for a level that no condition has."""
    product = replace(grid, rules=replace(grid.rules, include=()))
    added = tuple(point for point in grid.rules.include if not product.has(point))
    used = {pair for _, point in grid.conditions() for pair in point}
    for axis in grid.axes if used else ():
        for value in axis.values:
            if (axis.name, value) not in used:
                fix = f"take it out of sweep.axes.{axis.name}"
                faults.add("sweep.exclude", f"sweep.exclude leaves no condition with {axis.name} {value}; {fix}")
    if not used:
        faults.add("sweep.exclude", "sweep.exclude leaves no condition; leave out less")
    return replace(grid, rules=replace(grid.rules, include=added))


def _raw_axes(section: SweepSection, trainer: DeclaredTrainer) -> list[tuple[str, str, list[Any]]]:
    """(configuration key, factor, values) in order: dims, scales, then axes; the predecessor's grid where none is."""
    found = [
        (f"sweep.{key}", name, getattr(section, key))
        for key, name in SHORT_AXES.items()
        if getattr(section, key) is not None
    ]
    if section.axes is not None:
        return found + [(f"sweep.axes.{name}", name, values) for name, values in section.axes.items()]
    if trainer.target == BUILT_IN_TRAINER:
        given = {name for _, name, _ in found}.union(section.draw.ranges if section.draw else ())
        found += [(f"sweep.{name}s", name, list(v)) for name, v in DEFAULT_AXES.items() if name not in given]
    return sorted(found, key=lambda axis: list(DEFAULT_AXES).index(axis[1]))


def _seeds(section: SweepSection, count: int, faults: Faults) -> tuple[int, ...]:
    if section.seeds is None:
        return tuple(range(FIRST_SEED, FIRST_SEED + count))
    if not section.seeds:
        faults.value("sweep.seeds", [], "give at least one seed")
    seen: set[int] = set()
    for i, seed in enumerate(section.seeds):
        if seed in seen:
            faults.value(f"sweep.seeds[{i}]", seed, "this seed is given twice; remove one")
        seen.add(seed)
    return tuple(section.seeds)
