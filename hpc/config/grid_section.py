"""The sweep section -> a grid: named factors with their values, and seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hpc.checkout import BUILT_IN_TRAINER, SCRIPT_TRAINER
from hpc.config.schema import SweepSection, read_number
from hpc.errors import ConfigError
from hpc.faults import Faults
from hpc.storage import opening
from hpc.sweep.cell import FactorValue, check_value
from hpc.sweep.definition import DeclaredTrainer
from hpc.sweep.grid import FIRST_SEED, Axis, Grid
from hpc.yaml_files import Unquoted

# More is far likelier a slip (a runs_per_condition of a million) than a plan, and would fill the file system.
MOST_CELLS_UNASKED = 1_000_000
DEFAULT_AXES: dict[str, list[FactorValue]] = {
    "dim": [8, 12, 16, 24, 32],
    "scale": [0.1, 0.5, 1.0, 2.0, 5.0, 10.0],
}
# Keys of the sweep section that are short for an axis, and what faults call the values of these axes.
SHORT_AXES = {"dims": "dim", "scales": "scale"}
_VALUE_NOUNS = {"dim": "a workspace dimension", "scale": "a loss scale"}


def make_grid(section: SweepSection, trainer: DeclaredTrainer, faults: Faults, allow_huge: bool) -> Grid:
    """The grid that a sweep section describes. Faults are added, not raised.

    allow_huge: accept more than MOST_CELLS_UNASKED cells.
    """
    axes: list[Axis] = []
    truths = trainer.target == SCRIPT_TRAINER
    for key, name, values in _raw_axes(section, trainer):
        if any(axis.name == name for axis in axes):
            faults.add(key, f"{key}: {name!r} has its values already; give them once")
        elif name not in trainer.factors:
            known = ", ".join(trainer.factors) or "none"
            faults.add(key, f"{key}: trainer {trainer.target} has no factor {name!r}; its factors: {known}")
        elif not values:
            faults.value(key, values, "give at least one value")
        else:
            axes.append(Axis(name, _axis_values(key, name, values, trainer.factors[name], faults, truths)))
    if not axes and not faults.lines:
        faults.add("sweep.axes", f"sweep.axes is missing; name a factor of {trainer.target} and its values")
    seeds_given = section.seeds is not None and section.runs_per_condition is not None
    if seeds_given and len(section.seeds or ()) != section.runs_per_condition:
        faults.value("sweep.runs_per_condition", section.runs_per_condition, "it differs from the number of seeds")
    count = len(section.seeds) if section.seeds is not None else section.runs_per_condition or 5
    total = count * math.prod(max(1, len(axis.values)) for axis in axes)
    if total > MOST_CELLS_UNASKED and not allow_huge:
        faults.add("sweep", f"the grid has {total:,} cells; if that is meant, confirm with -y")
        faults.stop()
    if fault := opening.too_many(total, opening.MOST_CELLS, "cells"):
        faults.add("sweep", f"the grid has {fault}")
        faults.stop()
    return Grid(tuple(axes), _seeds(section, count, faults))


def grow(grid: Grid, added: Mapping[str, list[Any]], trainer: DeclaredTrainer) -> Grid:
    """The same grid with more values of its factors. Raises ConfigError for a factor it does not have, or a value."""
    faults = Faults("command line")
    names = [axis.name for axis in grid.axes]
    for name in added:
        if name not in names:
            hint = "a new factor is another sweep: give it a configuration and a directory of its own"
            faults.add(name, f"--axis {name}: the sweep's factors are {', '.join(names)}; {hint}")
    truths = trainer.target == SCRIPT_TRAINER
    axes = tuple(
        _longer(axis, added.get(axis.name, []), trainer.factors[axis.name], faults, truths) for axis in grid.axes
    )
    faults.stop()
    try:
        return Grid.from_json(Grid(axes, grid.seeds).to_json())  # with the names of its cells checked
    except ValueError as error:
        raise ConfigError([f"command line: --axis: {error}"]) from None


def _longer(axis: Axis, raw: list[Any], factor: Mapping[str, Any], faults: Faults, truths: bool) -> Axis:
    """An axis with more values: in order if it was in order, else at its end."""
    added = _axis_values(f"--axis {axis.name}", axis.name, raw, factor, faults, truths)
    values = [*axis.values, *(value for value in added if value not in axis.values)]
    numeric = not any(isinstance(value, str) for value in values)
    if numeric and list(axis.values) == sorted(axis.values):
        values.sort()
    return Axis(axis.name, tuple(values))


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
        given = {name for _, name, _ in found}
        found += [(f"sweep.{name}s", name, list(v)) for name, v in DEFAULT_AXES.items() if name not in given]
    return sorted(found, key=lambda axis: list(DEFAULT_AXES).index(axis[1]))


def _axis_values(
    key: str, name: str, values: list[Any], factor: Mapping[str, Any], faults: Faults, truths: bool
) -> tuple[FactorValue, ...]:
    checked: list[FactorValue] = []
    seen: set[object] = set()
    for i, raw in enumerate(values):
        try:
            value = _factor_value(raw, factor, _VALUE_NOUNS.get(name, f"{name!r}"), truths)
        except ValueError as error:
            faults.value(f"{key}[{i}]", raw, str(error))
            continue
        if value in seen:
            faults.value(f"{key}[{i}]", raw, "this value is given twice; remove one")
        seen.add(value)
        checked.append(value)
    return tuple(checked)


def _factor_value(raw: Any, factor: Mapping[str, Any], noun: str, truths: bool) -> FactorValue:
    """truths: true and false are words, as for a command; in Python the text false would count as true."""
    kind, minimum = factor["kind"], factor.get("minimum")
    if kind == "word":
        if isinstance(raw, bool) and truths:
            return check_value("true" if raw else "false")
        if not isinstance(raw, str):
            raise ValueError(f"{noun} must be a word; put it in quotes")
        return check_value(str(raw))
    try:
        value = read_number(raw)
    except ValueError as error:
        raise ValueError(str(error) if isinstance(raw, Unquoted) else f"{noun} must be a number") from None
    if not isinstance(value, int | float):
        raise ValueError(f"{noun} must be a number")
    if not math.isfinite(value if isinstance(value, float) else 0):
        raise ValueError(f"{noun} must be finite")
    # Tables hold factors as 64-bit integers.
    if abs(value) >= 2**63 and (kind == "integer" or isinstance(value, int)):
        raise ValueError(f"{noun} must be below 2^63")
    if kind == "integer" and (isinstance(value, float) and not value.is_integer()):
        raise ValueError(f"{noun} must be a whole number")
    if minimum is not None and value < minimum:
        raise ValueError(f"{noun} must be {minimum} or more")
    return check_value(int(value) if kind == "integer" else float(value))


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
