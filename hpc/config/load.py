"""Configuration files and command-line settings -> a validated Sweep.

Every fault is one line: file, field, value, fix. All faults of a file are reported together and nothing is written.
What a section says against the others is checked by the module that has its name, or here; notes refuse nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hpc.checkout import BUILT_IN_TRAINER, PROJECT_ROOT, SCRIPT_TRAINER
from hpc.config import other_tools
from hpc.config.analysis_section import check_analysis
from hpc.config.bundles import Bundles, checked_bundles, take_bundles
from hpc.config.command_line import CommandLine, merge_command_line
from hpc.config.data_paths import data_content, data_directory, data_section, output_directory
from hpc.config.declared_tests import cannot_be_tested
from hpc.config.grid_section import MOST_CELLS_UNASKED, departures, levels_as_written, make_grid
from hpc.config.resources_section import make_rules
from hpc.config.schema.built_in import LossConfig
from hpc.config.schema.configuration import Configuration
from hpc.config.script_section import check_paths_of, is_script, read_script
from hpc.config.trainer_files import trainer_files
from hpc.errors import ConfigError, meant, unknown_key
from hpc.faults import Faults
from hpc.sweep.definition import DeclaredTrainer, Sweep
from hpc.trainers.declaration import command_declaration, read_declaration
from hpc.trainers.source import TrainerError
from hpc.yaml_files import read_mapping

__all__ = ["MOST_CELLS_UNASKED", "CommandLine", "Loaded", "load"]

# Options of the built-in trainer (docs/performance.md), which relies on this check. kernel: the step that trains, the
# compiled one, torch's, or auto: compiled where there is a C compiler. precision: of the factors of its products.
_OPTIONS = {"kernel": ("auto", "native", "torch"), "precision": ("fp32", "bf16")}
# Of the built-in trainer's metrics, those that no epoch has.
_KNOWN_AT_THE_END = ("best_val_loss", "final_val_loss")


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
    for name, levels in bundles.items():
        if fix := other_tools.axis(levels):
            faults.value(f"sweep.axes.{name}", levels, fix)
    faults.stop()
    configuration = faults.validate(raw, Configuration, other_tools.pointer)
    notes: list[str] = []
    trainer, options = _trainer(configuration, places, faults, notes, bundles)
    before = len(faults.lines)
    named = options.get("bundles") if trainer.target == SCRIPT_TRAINER else None
    grid = make_grid(configuration.sweep, trainer, faults, command_line.allow_huge, given=given, bundles=named)
    sound = len(faults.lines) == before
    resources = make_rules(configuration.resources, grid, trainer, faults, given=given) if sound else ()
    # A reference condition must be in the file's own grid, if that is sound; a grid from the command line may lack it.
    other_grid = not sound or any(name.startswith("sweep.") for name in given)
    sections = _sections(configuration, trainer, faults, epochs_given="training.epochs" in given)
    data_path = data_directory(configuration, trainer, places, faults)
    if data_path is not None and "data" in sections:
        sections["data"] |= data_section(configuration, trainer, data_path, faults)
    stop_when = _stop_when(configuration, trainer, options, faults)
    analysis = check_analysis(configuration.analysis, trainer, grid, places, faults, other_grid=other_grid)
    output = output_directory(configuration, faults)
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
        stop_when=stop_when,
        resources=resources,
    )
    notes += _notes(configuration, source, analysis) + departures(grid) + cannot_be_tested(analysis, trainer, grid)
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
    _refuse_sections(configuration, faults)
    if configuration.trainer_options:
        faults.add("trainer_options", "trainer_options do not reach a script; write them into trainer.command")
    with_data = "dir" in configuration.data.model_fields_set
    faults.stop()
    script = read_script(configuration.trainer, levels_as_written(configuration.sweep), places, with_data, bundles)
    notes += script.notes
    files = trainer_files(configuration, script.trainer, places, faults)
    return replace(
        script.trainer, files=(*script.trainer.files, *files), files_mb=configuration.trainer_files_mb
    ), script.options


def _refuse_sections(configuration: Configuration, faults: Faults) -> None:
    """What a command is never told would make another sweep of it, and change nothing."""
    for name in ("model", "synergy", "training", "data"):
        given = getattr(configuration, name).model_fields_set if name in configuration.model_fields_set else ()
        for key in sorted(given):
            if (name, key) != ("data", "dir"):
                fix = "it does not reach a command; write it into trainer.command"
                faults.add(f"{name}.{key}", f"{name}.{key} is for trainers in Python: {fix}")


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


def _stop_when(
    configuration: Configuration, trainer: DeclaredTrainer, options: Mapping[str, Any], faults: Faults
) -> dict[str, Any]:
    """The rule by which cells end early, with the direction that its metric declares; empty without one."""
    section = configuration.stop_when
    if section is None:
        return {}
    if trainer.target == SCRIPT_TRAINER and "progress" not in options:
        fix = "name the file to which the script adds a row per epoch"
        faults.add("stop_when", f"stop_when follows a script by its epochs, and trainer.progress is missing; {fix}")
    if trainer.target == BUILT_IN_TRAINER and section.metric in _KNOWN_AT_THE_END:
        faults.value("stop_when.metric", section.metric, "it is known at the end alone; write val_loss")
    if section.metric in trainer.metrics:
        return {**section.model_dump(), "better": trainer.metrics[section.metric]["better"]}
    hint = meant(section.metric, trainer.metrics)
    faults.value("stop_when.metric", section.metric, f"{hint}valid: {', '.join(trainer.metrics)}")
    return {}


def _check_built_in_options(options: Mapping[str, Any], faults: Faults) -> None:
    for key, value in options.items():
        if key not in _OPTIONS:
            faults.add("trainer_options", unknown_key(f"trainer_options.{key}", key, list(_OPTIONS)))
        elif value not in _OPTIONS[key]:
            faults.value(f"trainer_options.{key}", value, f"valid: {', '.join(_OPTIONS[key])}")
    if (options.get("kernel"), options.get("precision")) == ("torch", "bf16"):
        fix = "only the compiled step multiplies in bf16; remove kernel, or set precision to fp32"
        faults.value("trainer_options.precision", "bf16", fix)


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
