"""Settings of the command line, merged over those of the configuration file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hpc.checkout import BUILT_IN_TRAINER
from hpc.config.grid_section import SHORT_AXES
from hpc.config.schema.values import read_number
from hpc.errors import ConfigError, shown
from hpc.yaml_files import read_yaml


@dataclass(frozen=True)
class CommandLine:
    """Grid options of the command line; None where not given. They win over the file.

    axes, overrides: ``name=values`` as typed, or from Python the name with the values themselves.
    """

    config: Path | None = None
    dims: str | None = None
    scales: str | None = None
    runs_per_condition: int | None = None
    axes: Sequence[str | tuple[str, Sequence[Any]]] = ()
    experiment: str | None = None
    epochs: int | None = None
    batch_size: int | None = None
    output_dir: str | None = None
    no_wandb: bool = False
    overrides: Sequence[str | tuple[str, Any]] = ()
    allow_huge: bool = False


def merge_command_line(raw: dict[str, Any], line: CommandLine) -> set[str]:
    """Merge the command line's values over the file's. Returns the dotted names it set: faults name their source."""
    merge = _Merge(raw)
    merge.axes(line)
    merge.runs(line.runs_per_condition)
    named = {
        "experiment.name": line.experiment,
        "training.epochs": line.epochs,
        "data.batch_size": line.batch_size,
        "experiment.output_dir": line.output_dir,
        "experiment.log_to_wandb": False if line.no_wandb else None,
    }
    for name, value in named.items():
        if value is not None:
            merge.put(name, value)
    merge.overrides(line.overrides)
    if merge.faults:
        raise ConfigError(merge.faults)
    return merge.given


def added_values(line: CommandLine) -> dict[str, list[Any]]:
    """The values that the command line names, by factor: those to add to a sweep that has others."""
    raw: dict[str, Any] = {}
    merge = _Merge(raw)
    merge.axes(line)
    if merge.faults:
        raise ConfigError(merge.faults)
    section = dict(raw.get("sweep", {}))
    named = {axis: section.pop(key) for key, axis in SHORT_AXES.items() if key in section}
    return named | dict(section.get("axes", {}))


class _Merge:
    """A file's content while the command line is merged over it. given: dotted names that were set."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self._raw = raw
        self.given: set[str] = set()
        self.faults: list[str] = []

    def put(self, name: str, value: Any) -> None:
        target: Any = self._raw
        *sections, key = name.split(".")
        for section in sections:
            target = target.setdefault(section, {})
            if not isinstance(target, dict):
                self.faults.append(f"command line: {name}: {section!r} is not a section; check the dotted name")
                return
        target[key] = self._with_settings(name, target.get(key), value) if sections == ["sweep", "axes"] else value
        self.given.add(name)

    def _with_settings(self, name: str, levels: Any, asked: Any) -> Any:
        """Names of levels with the settings that they stand for in the file, where they stand for some."""
        if not isinstance(levels, dict) or not all(isinstance(entry, dict) for entry in levels.values()):
            return asked
        if not isinstance(asked, list):
            return asked
        known = list(levels)  # what is asked for may have no hash
        for level in asked:
            if level not in known:
                valid = ", ".join(map(str, known))
                self.faults.append(
                    f"command line: {name} is {shown(level)}; this level has no settings; valid: {valid}"
                )
        return {level: levels[level] for level in asked if level in known}

    def axes(self, line: CommandLine) -> None:
        """Put the levels that the line names in the place of the file's."""
        for name, text in (("dim", line.dims), ("scale", line.scales)):
            if text is not None:
                self._axis(name, text)
        for axis in line.axes:
            if not isinstance(axis, str):
                self._levels(*axis)
                continue
            name, equals, text = axis.partition("=")
            if equals:
                self._axis(name, text)
            else:
                self.faults.append(f"command line: --axis is {axis!r}; write --axis name=value,value")

    def _single(self) -> list[Any]:
        """The single conditions of a file that are its whole design; empty if it crosses levels."""
        section = self._raw.get("sweep")
        if not isinstance(section, dict) or self._raw.get("trainer", BUILT_IN_TRAINER) == BUILT_IN_TRAINER:
            return []
        crossed = any(section.get(key) for key in ("axes", *SHORT_AXES))
        single = section.get("include")
        return single if isinstance(single, list) and not crossed else []

    def _choose(self, name: str, values: list[Any], single: list[Any]) -> None:
        """Leave of a list of single conditions those that have one of these levels."""
        wanted = [_number(value) for value in values]
        left = [
            entry for entry in single if isinstance(entry, dict) and name in entry and _number(entry[name]) in wanted
        ]
        if not left:
            told = ", ".join(map(str, values))
            self.faults.append(f"command line: --axis {name}={told}: none of the conditions of sweep.include has that")
        self._raw["sweep"]["include"] = left or single
        self.given.add("sweep.include")

    def _axis(self, name: str, text: str) -> None:
        text = text.strip()
        text = text[1:-1] if text[:1] + text[-1:] == "[]" else text  # as a list is written in the file
        self._levels(name, [yaml_value(part.strip()) for part in text.split(",")])

    def _levels(self, name: str, levels: Sequence[Any]) -> None:
        values = list(levels)
        if single := self._single():
            self._choose(name, values, single)
        elif columns := self._columns(name):
            self._choose_rows(name, values, columns)
        else:
            self.put(self._key(name), values)

    def _columns(self, name: str) -> dict[str, list[Any]]:
        """The levels of the factors that move together with one, and its own; none if it moves alone."""
        section = self._raw.get("sweep")
        groups = section.get("zip") if isinstance(section, dict) else None
        group = next((g for g in groups if isinstance(g, list) and name in g), []) if isinstance(groups, list) else []
        found = {other: self._levels_in_file(other) for other in group if isinstance(other, str)}
        return found if len({len(levels) for levels in found.values()}) == 1 else {}

    def _choose_rows(self, name: str, values: list[Any], columns: dict[str, list[Any]]) -> None:
        """Leave of factors that move together the levels that stand beside one of these."""
        known = [_number(level) for level in columns[name]]
        for value in values:
            if _number(value) not in known:
                valid = ", ".join(dict.fromkeys(map(str, columns[name])))
                told = f"{shown(value)}; no level of sweep.zip stands beside it; valid: {valid}"
                self.faults.append(f"command line: --axis {name} is {told}")
        wanted = [_number(value) for value in values]
        for other, levels in columns.items():
            self.put(self._key(other), [level for level, mine in zip(levels, known, strict=True) if mine in wanted])

    def _levels_in_file(self, name: str) -> list[Any]:
        section = self._raw["sweep"]
        key = self._key(name).rpartition(".")[2]
        levels = (section["axes"] if isinstance(section.get("axes"), dict) else section).get(key, [])
        return list(levels) if isinstance(levels, list | dict) else []

    def _key(self, name: str) -> str:
        """Where the file has the values of a factor, or would have them."""
        section = self._raw.get("sweep")
        in_axes = isinstance(section, dict) and isinstance(section.get("axes"), dict)
        # A file that spells out sweep.axes gets the values there: a factor given in both places is a fault.
        short = next((key for key, axis in SHORT_AXES.items() if axis == name), None)
        return f"sweep.{short}" if short and not in_axes else f"sweep.axes.{name}"

    def runs(self, count: int | None) -> None:
        if count is None:
            return
        self.put("sweep.runs_per_condition", count)
        self._drop_file_value("seeds")

    def _drop_file_value(self, key: str) -> None:
        """Seeds and their number say the same thing: the one on the command line replaces the other in the file."""
        section = self._raw["sweep"]
        if isinstance(section, dict) and f"sweep.{key}" not in self.given:
            section.pop(key, None)

    def overrides(self, settings: Sequence[str | tuple[str, Any]]) -> None:
        for setting in settings:
            if not isinstance(setting, str):
                self._set(*setting)
                continue
            name, equals, text = setting.partition("=")
            if equals and (fix := self._no_key(name, text)):
                self.faults.append(f"command line: {setting!r}: {fix}")
            elif equals and name:
                self._set(name, yaml_value(text))
            else:
                self.faults.append(f"command line: {setting!r} is not a setting; write section.key=value")

    def _set(self, name: str, value: Any) -> None:
        self.put(name, value)
        if name == "sweep.seeds":
            self._drop_file_value("runs_per_condition")

    def _no_key(self, name: str, text: str) -> str:
        """What to write for a setting as Hydra has it, of a factor or of a script; empty if it names a key of ours."""
        plain = name.lstrip("+~")
        section = self._raw.get("sweep")
        axes = section.get("axes") if isinstance(section, dict) else None
        known = {*(axes if isinstance(axes, dict) else ()), *SHORT_AXES.values()}
        if (factor := plain.replace(".", "_")) in known:
            return f"{factor} is a factor; write --axis {factor}={text}"
        trainer = self._raw.get("trainer")
        command = str(trainer.get("command", "")) if isinstance(trainer, dict) else ""
        if re.search(rf"(?<![\w.-])(--)?{re.escape(plain)}[= ]", command):
            return f"{plain} is the script's own; change it in trainer.command, or make it a factor there"
        return f"+ and ~ are Hydra's; write {plain}={text}" if name != plain else ""


def _number(value: Any) -> Any:
    """A level as it is compared: 1e-3 and 0.001 are one, however they are written."""
    try:
        return read_number(value)
    except ValueError:
        return value


def yaml_value(text: str) -> Any:
    """As YAML reads it: 8 is a number, fusion_only a word."""
    try:
        return read_yaml(text)
    except (yaml.YAMLError, RecursionError):
        return text  # whoever wants another kind of value refuses it with a fault that names the key
