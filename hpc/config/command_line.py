"""Settings of the command line, merged over those of the configuration file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hpc.config.grid_section import SHORT_AXES
from hpc.errors import ConfigError
from hpc.yaml_files import read_yaml


@dataclass(frozen=True)
class CommandLine:
    """Grid options of the command line; None where not given. They win over the file."""

    config: Path | None = None
    dims: str | None = None
    scales: str | None = None
    runs_per_condition: int | None = None
    axes: Sequence[str] = ()
    experiment: str | None = None
    epochs: int | None = None
    batch_size: int | None = None
    output_dir: str | None = None
    no_wandb: bool = False
    overrides: Sequence[str] = ()
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
        target[key] = value
        self.given.add(name)

    def axes(self, line: CommandLine) -> None:
        for name, text in (("dim", line.dims), ("scale", line.scales)):
            if text is not None:
                self._axis(name, text)
        for axis in line.axes:
            name, equals, text = axis.partition("=")
            if equals:
                self._axis(name, text)
            else:
                self.faults.append(f"command line: --axis is {axis!r}; write --axis name=value,value")

    def _axis(self, name: str, text: str) -> None:
        text = text.strip()
        text = text[1:-1] if text[:1] + text[-1:] == "[]" else text  # as a list is written in the file
        values = [yaml_value(part.strip()) for part in text.split(",")]
        section = self._raw.get("sweep")
        in_axes = isinstance(section, dict) and isinstance(section.get("axes"), dict)
        # A file that spells out sweep.axes gets the values there: a factor given in both places is a fault.
        short = next((key for key, axis in SHORT_AXES.items() if axis == name), None)
        self.put(f"sweep.{short}" if short and not in_axes else f"sweep.axes.{name}", values)

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

    def overrides(self, settings: Sequence[str]) -> None:
        for setting in settings:
            name, equals, text = setting.partition("=")
            if equals and name:
                self.put(name, yaml_value(text))
                if name == "sweep.seeds":
                    self._drop_file_value("runs_per_condition")
            else:
                self.faults.append(f"command line: {setting!r} is not a setting; write section.key=value")


def yaml_value(text: str) -> Any:
    """As YAML reads it: 8 is a number, fusion_only a word."""
    try:
        return read_yaml(text)
    except (yaml.YAMLError, RecursionError):
        return text  # whoever wants another kind of value refuses it with a fault that names the key
