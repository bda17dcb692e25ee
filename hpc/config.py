"""Configuration files and command-line settings -> a validated Sweep.

Every fault is one line: file, field, value, fix. All faults of a file are reported together and nothing is written.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hpc.analysis import check_analysis
from hpc.cell import Axis, FactorValue, Grid, check_value
from hpc.documents import read_mapping, read_yaml
from hpc.errors import ConfigError, unknown_key
from hpc.faults import Faults
from hpc.schema import BUILT_IN, Configuration, LossConfig, SweepSection, read_number
from hpc.sweep import Sweep, Trainer
from hpc.trainer import PROJECT_ROOT, TrainerError, command_declaration, data_digest, read_declaration

FIRST_SEED = 42
# Which step trains: the compiled one where a C compiler is at hand, or torch's (docs/performance.md).
_KERNELS = ("auto", "native", "torch")
MOST_CELLS_UNASKED = 1_000_000
DEFAULT_AXES: dict[str, list[FactorValue]] = {
    "dim": [8, 12, 16, 24, 32],
    "scale": [0.1, 0.5, 1.0, 2.0, 5.0, 10.0],
}
# Short forms in the sweep section, and what a fault calls their values.
_SHORT_AXES = {"dims": "dim", "scales": "scale"}
_VALUE_NOUNS = {"dim": "a workspace dimension", "scale": "a loss scale"}


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


@dataclass(frozen=True)
class Loaded:
    """A validated sweep, where it goes, and remarks for the user (keys that have no effect)."""

    sweep: Sweep
    output_dir: Path
    notes: list[str] = field(default_factory=list)


def load(command_line: CommandLine) -> Loaded:
    """Read, merge and validate. Raises ConfigError with every fault found, OSError for an unreadable file."""
    source = command_line.config.name if command_line.config else "defaults"
    raw = read_mapping(command_line.config) if command_line.config else {}
    given = _merge_command_line(raw, command_line)
    faults = Faults(source, given)
    configuration = faults.validate(raw)
    trainer, options = _trainer(configuration, command_line, faults)
    grid = _grid(configuration.sweep, trainer, faults, command_line.allow_huge)
    sections = _sections(configuration, trainer, faults, epochs_given="training.epochs" in given)
    data_path = _data_directory(configuration, trainer, command_line, faults)
    if data_path is not None and "data" in sections:
        sections["data"] |= {"dir": str(data_path), "image_dir": _image_directory(configuration)}
    places = [Path.cwd()] + ([command_line.config.absolute().parent] if command_line.config else [])
    analysis = check_analysis(configuration.analysis, trainer, grid, places, faults)
    output = _path("experiment.output_dir", configuration.experiment.output_dir, faults) or Path()
    faults.stop()
    images = sections.get("data", {}).get("image_dir")
    content = _data_content(data_path, images, trainer.data_files, faults) if data_path is not None else ""
    faults.stop()
    sweep = Sweep(
        name=configuration.sweep.name,
        grid=grid,
        trainer=trainer,
        options=options,
        sections=sections,
        data_digest=content,
        analysis=analysis,
        checkpoint_seconds=configuration.checkpoint.every_seconds,
        keep=configuration.keep.model_dump(),
        wandb=_wandb(configuration, command_line.no_wandb),
    )
    return Loaded(sweep, output.absolute(), _notes(configuration, source))


def _merge_command_line(raw: dict[str, Any], line: CommandLine) -> set[str]:
    """Put the command line's values over the file's. Returns the dotted names it set, for naming faults."""
    given: set[str] = set()
    faults: list[str] = []

    def put(name: str, value: Any) -> None:
        target: Any = raw
        *sections, key = name.split(".")
        for section in sections:
            target = target.setdefault(section, {})
            if not isinstance(target, dict):
                faults.append(f"command line: {name}: {section!r} is no section; check the dotted name")
                return
        target[key] = value
        given.add(name)

    for name, text in (("dim", line.dims), ("scale", line.scales)):
        if text is not None:
            _put_axis(raw, put, name, text)
    for axis in line.axes:
        name, equals, text = axis.partition("=")
        if not equals:
            faults.append(f"command line: --axis is {axis!r}; write --axis name=value,value")
        else:
            _put_axis(raw, put, name, text)
    if line.runs_per_condition is not None:
        put("sweep.runs_per_condition", line.runs_per_condition)
        if isinstance(raw["sweep"], dict):
            raw["sweep"].pop("seeds", None)
    if line.experiment is not None:
        put("experiment.name", line.experiment)
    if line.epochs is not None:
        put("training.epochs", line.epochs)
    if line.batch_size is not None:
        put("data.batch_size", line.batch_size)
    if line.output_dir is not None:
        put("experiment.output_dir", line.output_dir)
    if line.no_wandb:
        put("experiment.log_to_wandb", False)
    for override in line.overrides:
        name, equals, text = override.partition("=")
        if not equals or not name:
            faults.append(f"command line: {override!r} is no setting; write section.key=value")
            continue
        put(name, _yaml_value(text))
    if faults:
        raise ConfigError(faults)
    return given


def _put_axis(raw: dict[str, Any], put: Any, name: str, text: str) -> None:
    values = [_yaml_value(part.strip()) for part in text.split(",")]
    section = raw.get("sweep")
    in_axes = isinstance(section, dict) and isinstance(section.get("axes"), dict)
    short = next((key for key, axis in _SHORT_AXES.items() if axis == name), None)
    put(f"sweep.{short}" if short and not in_axes else f"sweep.axes.{name}", values)


def _yaml_value(text: str) -> Any:
    try:
        return read_yaml(text)
    except (yaml.YAMLError, RecursionError):
        return text


def _trainer(configuration: Configuration, line: CommandLine, faults: Faults) -> tuple[Trainer, dict[str, Any]]:
    """The trainer and its options; a shell command is an option of the trainer that runs commands."""
    base = [line.config.absolute().parent] if line.config else []
    try:
        if isinstance(configuration.trainer, dict):
            trainer, command = command_declaration(configuration.trainer)
            return trainer, {**configuration.trainer_options, "command": command}
        trainer = read_declaration(configuration.trainer, list(dict.fromkeys([PROJECT_ROOT, Path.cwd(), *base])))
        return trainer, configuration.trainer_options
    except TrainerError as error:
        faults.add("trainer", f"trainer: {error}".replace("trainer: trainer ", "trainer "))
        raise ConfigError(faults.lines) from None


def _grid(section: SweepSection, trainer: Trainer, faults: Faults, allow_huge: bool) -> Grid:
    axes: list[Axis] = []
    for key, name, values in _raw_axes(section, trainer):
        if any(axis.name == name for axis in axes):
            faults.add(key, f"{key}: {name!r} has its values already; give them once")
        elif name not in trainer.factors:
            known = ", ".join(trainer.factors) or "none"
            faults.add(key, f"{key}: trainer {trainer.target} has no factor {name!r}; its factors: {known}")
        elif not values:
            faults.value(key, values, "give at least one value")
        else:
            axes.append(Axis(name, _axis_values(key, name, values, trainer.factors[name], faults)))
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
    return Grid(tuple(axes), _seeds(section, count, faults))


def _raw_axes(section: SweepSection, trainer: Trainer) -> list[tuple[str, str, list[Any]]]:
    """(configuration key, factor, values) in order: dims, scales, then axes; the predecessor's grid where none is."""
    found = [
        (f"sweep.{key}", name, getattr(section, key))
        for key, name in _SHORT_AXES.items()
        if getattr(section, key) is not None
    ]
    if section.axes is not None:
        return found + [(f"sweep.axes.{name}", name, values) for name, values in section.axes.items()]
    if trainer.target == BUILT_IN:
        given = {name for _, name, _ in found}
        found += [(f"sweep.{name}s", name, list(v)) for name, v in DEFAULT_AXES.items() if name not in given]
    return sorted(found, key=lambda axis: list(DEFAULT_AXES).index(axis[1]))


def _axis_values(
    key: str, name: str, values: list[Any], factor: Mapping[str, Any], faults: Faults
) -> tuple[FactorValue, ...]:
    checked: list[FactorValue] = []
    seen: set[object] = set()
    for i, raw in enumerate(values):
        try:
            value = _factor_value(raw, factor, _VALUE_NOUNS.get(name, f"{name!r}"))
        except ValueError as error:
            faults.value(f"{key}[{i}]", raw, str(error))
            continue
        if value in seen:
            faults.value(f"{key}[{i}]", raw, "this value is given twice; remove one")
        seen.add(value)
        checked.append(value)
    return tuple(checked)


def _factor_value(raw: Any, factor: Mapping[str, Any], noun: str) -> FactorValue:
    kind, minimum = factor["kind"], factor.get("minimum")
    if kind == "word":
        if not isinstance(raw, str):
            raise ValueError(f"{noun} must be a word; put it in quotes")
        return check_value(raw)
    try:
        value = read_number(raw)
    except ValueError:
        raise ValueError(f"{noun} must be a number") from None
    if not isinstance(value, int | float):
        raise ValueError(f"{noun} must be a number")
    if not math.isfinite(value if isinstance(value, float) else 0):
        raise ValueError(f"{noun} must be finite")
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


def _sections(
    configuration: Configuration, trainer: Trainer, faults: Faults, *, epochs_given: bool
) -> dict[str, dict[str, Any]]:
    """What the trainer gets: everything for the built-in one, what the user wrote for another.

    epochs_given: on the command line, which wins over the chosen loss configuration's own number.
    """
    names = ("data", "model", "synergy", "training")
    if trainer.target != BUILT_IN:
        written = configuration.model_dump(exclude_unset=True)
        sections = {name: written[name] for name in names if name in written}
        _drop_paths(sections)
        return sections
    sections = {name: getattr(configuration, name).model_dump() for name in names}
    _drop_paths(sections)
    _check_built_in_options(configuration.trainer_options, faults)
    sections["training"] = {
        key: value
        for key, value in sections["training"].items()
        if key not in ("loss_configs", "reset_model_per_experiment")
    }
    chosen = _loss_config(configuration, faults)
    if chosen is not None:
        if chosen.epochs is not None and not epochs_given:
            sections["training"]["epochs"] = chosen.epochs
        sections["experiment"] = {"name": chosen.name, "weights": chosen.weights.model_dump()}
    return sections


def _check_built_in_options(options: Mapping[str, Any], faults: Faults) -> None:
    for key, value in options.items():
        if key != "kernel":
            faults.add("trainer_options", unknown_key(f"trainer_options.{key}", key, ["kernel"]))
        elif value not in _KERNELS:
            faults.value("trainer_options.kernel", value, f"valid: {', '.join(_KERNELS)}")


def _drop_paths(sections: dict[str, dict[str, Any]]) -> None:
    """Checkpoint paths are not used, and a path is never part of a cell's identity."""
    for domain in sections.get("model", {}).get("domains", []):
        domain.pop("checkpoint_path", None)


def _loss_config(configuration: Configuration, faults: Faults) -> LossConfig | None:
    names = [entry.name for entry in configuration.training.loss_configs]
    for i, name in enumerate(names):
        if names.index(name) != i:
            faults.value(f"training.loss_configs[{i}].name", name, "this name is given twice; rename one")
    for entry in configuration.training.loss_configs:
        if entry.name == configuration.experiment.name:
            if not any(entry.weights.model_dump().values()):
                faults.add("training", f"training.loss_configs: {entry.name!r} has no weight above 0; raise one")
            return entry
    faults.value("experiment.name", configuration.experiment.name, f"valid: {', '.join(names)}")
    return None


def _data_directory(configuration: Configuration, trainer: Trainer, line: CommandLine, faults: Faults) -> Path | None:
    if trainer.target != BUILT_IN and "dir" not in configuration.data.model_fields_set:
        return None
    given = _path("data.dir", configuration.data.dir, faults)
    if given is None:
        return None
    places = [Path.cwd()] + ([line.config.absolute().parent] if line.config else [])
    for place in places:
        if (place / given).is_dir():
            return (place / given).resolve()
    fix = "there is no such directory; `holdfast data generate DIR` makes one"
    faults.value("data.dir", configuration.data.dir, fix)
    return None


def _path(name: str, text: str, faults: Faults) -> Path | None:
    """A path as users write it, with ~ for home; None if it can be none. Paths go into scripts: no line breaks."""
    try:
        path = Path(text).expanduser()
        if not str(path).isprintable():
            raise ValueError
        os.lstat(path)
    except (ValueError, RuntimeError):  # control characters; the home of somebody nobody knows
        faults.value(name, text, "this cannot be a path")
        return None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            faults.value(name, text, "this is too long for a path")
            return None
    return path


def _wandb(configuration: Configuration, refused: bool) -> dict[str, Any]:
    """What the mirror needs to know. ``wandb: live`` is short for experiment.log_to_wandb."""
    section = configuration.experiment.model_dump(include={"wandb_project", "wandb_entity", "log_to_wandb"})
    if configuration.wandb is not None and not refused:
        section["log_to_wandb"] = configuration.model_dump(include={"wandb"})["wandb"]
    return section


def _image_directory(configuration: Configuration) -> str | None:
    """The predecessor's second directory, if it is there: its latents may lie in it."""
    given = configuration.data.image_dir
    return str(Path(given).expanduser().absolute()) if given and Path(given).expanduser().is_dir() else None


def _data_content(directory: Path, images: str | None, patterns: Sequence[str], faults: Faults) -> str:
    try:
        return data_digest(directory, patterns, Path(images) if images else None)
    except FileNotFoundError:
        fix = "it holds no data set; `holdfast data generate DIR` makes one"
        faults.value("data.dir", str(directory), fix)
        return ""


def _notes(configuration: Configuration, source: str) -> list[str]:
    notes: list[str] = []
    for i, domain in enumerate(configuration.model.domains):
        if domain.checkpoint_path:
            notes.append(f"{source}: model.domains[{i}].checkpoint_path is not used: latents are precomputed")
    return notes
