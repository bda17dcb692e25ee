"""The resources section -> rules: which cells ask of a cluster for something else than the profile says; and back."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from hpc.checkout import SCRIPT_TRAINER
from hpc.config.design.rules import DesignReader
from hpc.config.grid_section import settled_factors
from hpc.config.schema.configuration import ResourceSection
from hpc.errors import ConfigError
from hpc.faults import Faults
from hpc.files import logs, reading
from hpc.sweep.cell import Point
from hpc.sweep.definition import DeclaredTrainer
from hpc.sweep.grid import Grid
from hpc.sweep.resources import KEYS, ResourceRule, clash, matches_none, ordered, text, too_many_named
from hpc.yaml_files import read_mapping, read_yaml

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_.+-]*")


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
    return ResourceRule(when, ordered(asked), section.source)


def written(rule: ResourceRule) -> dict[str, Any]:
    """A rule as a configuration has it."""
    when = {name: values[0] if len(values) == 1 else list(values) for name, values in rule.when}
    return {"when": when, **dict(rule.asked)} | ({"source": rule.source} if rule.source else {})


def section_text(rules: Iterable[ResourceRule]) -> str:
    """The section, a line for each rule."""
    return "\n".join(["resources:", *(f"  - {_flow(written(rule))}" for rule in rules)]) + "\n"


def _flow(value: Any) -> str:
    """A value as YAML on one line; quoted where another word or number could be read."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_flow(key)}: {_flow(entry)}' for key, entry in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    plain = isinstance(value, str) and _WORD.fullmatch(value) and type(read_yaml(value)) is str
    return str(value) if plain else json.dumps(value)


def check_can_be_added(path: Path) -> None:
    """Raise ConfigError if a configuration is no file to whose end a section of resources can be added."""
    if path.suffix == ".json":
        raise ConfigError(
            [f"command line: --write adds to YAML files, and {path.name} is JSON; leave it out and paste"]
        )
    if "resources" in read_mapping(path):
        raise ConfigError([f"{path.name}: resources are there already; remove them, or leave out --write and paste"])
    _longer(path, section_text(()))


def add_section(path: Path, section: str) -> None:
    """Add a section of resources to a configuration that has none; all else stays as it is. Raises ConfigError,
    OSError."""
    check_can_be_added(path)
    logs.append(path.resolve(), _longer(path, section))


def _longer(path: Path, section: str) -> str:
    """What is to be added to a file for it to have a section. Raises ConfigError if it would say something else."""
    before, old = read_mapping(path), reading.read(path.resolve())
    addition = section if old.endswith(b"\n") or not old else f"\n{section}"
    try:
        found = read_yaml(old + addition.encode())
    except (yaml.YAMLError, RecursionError):
        found = None
    if found != before | read_yaml(section):
        raise ConfigError([f"{path.name}: nothing can be added at its end; leave out --write and paste the resources"])
    return addition


def _nearest(rule: ResourceRule, grid: Grid) -> str:
    """The condition that has most of a rule's levels."""
    when = dict(rule.when)
    points = (point for _, point in grid.conditions())
    return _told(max(points, key=lambda point: sum(value in when.get(name, ()) for name, value in point)))


def _told(point: Point) -> str:
    return ", ".join(f"{name} {value}" for name, value in point)
