"""The resources section: read into rules of which cells ask for other resources than the profile's, and written."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from hpc.checkout import SCRIPT_TRAINER
from hpc.config.design.rules import DesignReader
from hpc.config.grid_section import settled_factors
from hpc.config.schema.configuration import ResourceSection
from hpc.errors import ConfigError, shown
from hpc.faults import Faults
from hpc.files import atomic, reading
from hpc.sweep.cell import Point
from hpc.sweep.definition import DeclaredTrainer
from hpc.sweep.grid import Grid
from hpc.sweep.resources import KEYS, ResourceRule, clash, matches_none, ordered, text, too_many_named
from hpc.units import counted
from hpc.yaml_files import Loader, read_mapping, read_yaml

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
    return str(value) if plain else "".join(map(_escaped, json.dumps(value, ensure_ascii=False)))


def _escaped(letter: str) -> str:
    """A letter between quotes as YAML has it: two \\u of JSON for one beyond the BMP would be two there."""
    return letter if letter.isprintable() else f"\\U{ord(letter):08X}"


def check_can_be_added(path: Path) -> None:
    """Raise ConfigError if a configuration is no file to whose end a section of resources can be added."""
    if path.suffix == ".json":
        raise ConfigError(
            [f"command line: --write adds to YAML files, and {path.name} is JSON; leave it out and paste"]
        )
    _longer(path, section_text(()))
    file = path.resolve()
    if closed := next((place for place in (file, file.parent) if not os.access(place, os.W_OK)), None):
        raise ConfigError([f"command line: --write cannot write to {closed}; leave it out and paste, or permit it"])


def add_section(path: Path, section: str) -> None:
    """Add a section of resources to a configuration that has none; all else stays as it is. Raises ConfigError,
    OSError."""
    check_can_be_added(path)
    file = path.resolve()
    atomic.publish(file, _longer(path, section), permissions=stat.S_IMODE(file.stat().st_mode))


def _longer(path: Path, section: str) -> bytes:
    """A file with a section at its end. Raises ConfigError if there is one, or if the file would say something else."""
    before, old = read_mapping(path), reading.read(path.resolve())
    if "resources" in before:
        rules = counted(len(before["resources"]), "rule") if before["resources"] else "no rule"
        told = f"{path.name}: line {_line_of('resources', old)}: resources are there already, with {rules}"
        raise ConfigError([f"{told}; remove them from the file, or leave out --write and paste"])
    end = b"\r\n" if b"\r\n" in old else b"\n"
    new = old + (b"" if old.endswith(b"\n") or not old else end) + section.encode().replace(b"\n", end)
    try:
        found = read_yaml(new)
    except (yaml.YAMLError, RecursionError):
        found = None
    if found != before | read_yaml(section):
        raise ConfigError([f"{path.name}: {_closed(old)}; leave out --write and paste the resources"])
    return new


def _line_of(key: str, data: bytes) -> int:
    """Where a section of a sound file begins; one that is merged into it, with the file."""
    root = yaml.compose(data, Loader=Loader)
    pairs = root.value if isinstance(root, yaml.MappingNode) else ()
    return next((name.start_mark.line for name, _ in pairs if name.value == key), 0) + 1


def _closed(data: bytes) -> str:
    """Why nothing can be added to the end of a sound file."""
    root = yaml.compose(data, Loader=Loader)
    lines = [(i, line.strip()) for i, line in enumerate(data.decode(errors="replace").splitlines(), 1)]
    number, last = next((i, line) for i, line in reversed(lines) if line)
    why = "what follows would not be read as a section"
    if last == "...":
        why = "it ends the document"
    elif isinstance(root, yaml.MappingNode) and root.flow_style:
        why = "braces hold all sections"
    return f"line {number} is {shown(last)}, after which nothing can be added: {why}"


def _nearest(rule: ResourceRule, grid: Grid) -> str:
    """The condition that has most of a rule's levels."""
    when = dict(rule.when)
    points = (point for _, point in grid.conditions())
    return _told(max(points, key=lambda point: sum(value in when.get(name, ()) for name, value in point)))


def _told(point: Point) -> str:
    return ", ".join(f"{name} {value}" for name, value in point)
