"""Configuration files and command-line settings -> a validated Sweep.

Every fault is one line: file, field, value, fix. All faults of a file are reported together and nothing is written.
What a section says against the others is checked by the module that has its name, or here; notes refuse nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hpc.checkout import BUILT_IN_TRAINER, PROJECT_ROOT
from hpc.config.analysis_section import check_analysis
from hpc.config.bundles import Bundles, checked_bundles, take_bundles
from hpc.config.command_line import CommandLine, merge_command_line
from hpc.config.data_paths import data_content, data_directory, data_samples, image_directory, read_path
from hpc.config.declared_tests import cannot_be_tested
from hpc.config.grid_section import MOST_CELLS_UNASKED, SHORT_AXES, make_grid
from hpc.config.schema import Configuration, LossConfig
from hpc.config.script_section import check_paths_of, is_script, read_script
from hpc.config.trainer_files import trainer_files
from hpc.errors import ConfigError, unknown_key
from hpc.faults import Faults
from hpc.sweep.definition import DeclaredTrainer, Sweep
from hpc.trainers.declaration import command_declaration, read_declaration
from hpc.trainers.source import TrainerError
from hpc.yaml_files import read_mapping

__all__ = ["MOST_CELLS_UNASKED", "CommandLine", "Loaded", "load"]

# Which step trains (docs/performance.md): the compiled one, torch's, or auto: compiled where there is a C compiler. The
# built-in trainer relies on this check.
_KERNELS = ("auto", "native", "torch")


@dataclass(frozen=True)
class Loaded:
    """A validated sweep, its output directory, and remarks for the user (keys that have no effect)."""

    sweep: Sweep
    output_dir: Path
    notes: list[str] = field(default_factory=list)


def load(command_line: CommandLine) -> Loaded:
    """Read, merge and validate. Raises ConfigError with every fault found, OSError for an unreadable file."""
    source = command_line.config.name if command_line.config else "defaults"
    raw = read_mapping(command_line.config) if command_line.config else {}
    given = merge_command_line(raw, command_line)
    faults = Faults(source, given)
    places = [Path.cwd()] + ([command_line.config.absolute().parent] if command_line.config else [])
    bundles = take_bundles(raw)
    configuration = faults.validate(raw, Configuration)
    notes: list[str] = []
    trainer, options = _trainer(configuration, places, faults, notes, bundles)
    before = len(faults.lines)
    grid = make_grid(configuration.sweep, trainer, faults, command_line.allow_huge)
    # A reference condition must be in the file's own grid, if that is sound; a grid from the command line may lack it.
    other_grid = len(faults.lines) > before or any(name.startswith("sweep.") for name in given)
    sections = _sections(configuration, trainer, faults, epochs_given="training.epochs" in given)
    data_path = data_directory(configuration, trainer, places, faults)
    if data_path is not None and "data" in sections:
        sections["data"] |= {"dir": str(data_path), "image_dir": image_directory(configuration, faults)}
        if trainer.target == BUILT_IN_TRAINER and (samples := data_samples(data_path)):
            sections["data"]["samples"] = samples
    analysis = check_analysis(configuration.analysis, trainer, grid, places, faults, other_grid=other_grid)
    output = read_path("experiment.output_dir", configuration.experiment.output_dir, faults) or Path()
    faults.stop()
    images = sections.get("data", {}).get("image_dir")
    content = data_content(data_path, images, trainer.data_files, faults) if data_path is not None else ""
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
    notes += _notes(configuration, source, analysis)
    notes += cannot_be_tested(analysis, trainer, grid)
    return Loaded(sweep, output.absolute(), notes)


def _trainer(
    configuration: Configuration,
    places: Sequence[Path],
    faults: Faults,
    notes: list[str],
    bundles: Mapping[str, Mapping[Any, Any]],
) -> tuple[DeclaredTrainer, dict[str, Any]]:
    """The trainer and its options; a shell command is an option of the trainer that runs commands."""
    try:
        if is_script(configuration.trainer):
            return _script(configuration, places, faults, notes, checked_bundles(bundles, faults))
        for name, levels in bundles.items():
            fix = f"only a script's command gets them; write the names: [{', '.join(map(str, levels))}]"
            faults.add(f"sweep.axes.{name}", f"sweep.axes.{name} has levels with settings; {fix}")
        if isinstance(configuration.trainer, dict):
            trainer, command = command_declaration(configuration.trainer)
            check_paths_of(command, places)
            return trainer, {**configuration.trainer_options, "command": command}
        trainer = read_declaration(
            configuration.trainer, list(dict.fromkeys([PROJECT_ROOT, *places])), configuration.trainer_options
        )
        files = trainer_files(configuration, trainer, places, faults)
        return replace(trainer, files=files, files_mb=configuration.trainer_files_mb), configuration.trainer_options
    except TrainerError as error:
        faults.add("trainer", f"trainer: {error}".replace("trainer: trainer ", "trainer "))
        raise ConfigError(faults.lines) from None


def _script(
    configuration: Configuration, places: Sequence[Path], faults: Faults, notes: list[str], bundles: Bundles
) -> tuple[DeclaredTrainer, dict[str, Any]]:
    """A script that knows nothing of us, with its command as an option. Raises TrainerError."""
    if configuration.trainer_options:
        faults.add("trainer_options", "trainer_options do not reach a script; write them into trainer.command")
    section = configuration.sweep
    short = {name: getattr(section, key) for key, name in SHORT_AXES.items() if getattr(section, key) is not None}
    with_data = "dir" in configuration.data.model_fields_set
    faults.stop()
    script = read_script(configuration.trainer, short | (section.axes or {}), places, with_data, bundles)
    notes += script.notes
    files = trainer_files(configuration, script.trainer, places, faults)
    return replace(
        script.trainer, files=(*script.trainer.files, *files), files_mb=configuration.trainer_files_mb
    ), script.options


def _sections(
    configuration: Configuration, trainer: DeclaredTrainer, faults: Faults, *, epochs_given: bool
) -> dict[str, dict[str, Any]]:
    """What the trainer gets: everything for the built-in one, what the user wrote for another.

    epochs_given: on the command line, which wins over the chosen loss configuration's own number.
    """
    names = ("data", "model", "synergy", "training")
    if trainer.target != BUILT_IN_TRAINER:
        written = configuration.model_dump(exclude_unset=True)
        sections = {name: written[name] for name in names if name in written}
        _drop_paths(sections)
        return sections
    sections = {name: getattr(configuration, name).model_dump() for name in names}
    _drop_paths(sections)
    _check_built_in_options(configuration.trainer_options, faults)
    # Of the loss configurations only the chosen one decides a cell's numbers; the others may change.
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


def _wandb(configuration: Configuration, refused: bool) -> dict[str, Any]:
    """What the mirror needs to know. ``wandb: live`` is short for experiment.log_to_wandb."""
    section = configuration.experiment.model_dump(include={"wandb_project", "wandb_entity", "log_to_wandb"})
    if configuration.wandb is not None and not refused:
        section["log_to_wandb"] = configuration.model_dump(include={"wandb"})["wandb"]
    return section


def _notes(configuration: Configuration, source: str, analysis: Mapping[str, Any]) -> list[str]:
    notes: list[str] = []
    for i, domain in enumerate(configuration.model.domains):
        if domain.checkpoint_path:
            notes.append(f"{source}: model.domains[{i}].checkpoint_path is not used: latents are precomputed")
    if configuration.analysis.reference is not None and analysis["reference"] is None:
        reference = ", ".join(f"{name} {value}" for name, value in configuration.analysis.reference.items())
        notes.append(f"{source}: analysis.reference ({reference}) is not in this grid; nothing is compared with it")
    return notes
