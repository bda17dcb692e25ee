"""The first files of a sweep, to be edited by hand: a commented configuration and a cluster profile."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hpc.checkout import BUILT_IN_TRAINER, PROJECT_ROOT
from hpc.config.schema.sweep import SweepSection
from hpc.config.script_section import read_script
from hpc.errors import ConfigError, shown
from hpc.slurm.profile_file import parse_profile
from hpc.starter.pasted_command import read_pasted
from hpc.trainers.declaration import read_declaration
from hpc.trainers.source import TrainerError

# Every key with its default, commented. Installed with the profiles, since a wheel has no repository around it.
ALL_KEYS = PROJECT_ROOT / "slurm_templates" / "config_template.yaml"
CONFIGURATION, PROFILE = "sweep.yaml", "cluster.yaml"
# Values for the axes of a custom trainer, to be replaced.
_PLACEHOLDERS: dict[str, list[Any]] = {"integer": [1, 2], "real": [0.1, 1.0], "word": ["a", "b"]}


@dataclass(frozen=True)
class Answers:
    """What a person answered, or the defaults. partition: "" for the default of the cluster.

    command: a command line that trains once, instead of a trainer.
    """

    name: str = "sweep"
    trainer: str = BUILT_IN_TRAINER
    runs: int = 5
    partition: str = ""
    timeout_min: int = 240
    gpus: int = 0
    cpus: int = 1
    mem_gb: float = 4
    command: str | None = None


def write(directory: Path, answers: Answers) -> list[Path]:
    """Write both files. Returns their paths. Raises ConfigError for wrong answers or if a file exists, OSError."""
    refuse_to_overwrite(directory)
    texts = {directory / CONFIGURATION: configuration(directory, answers), directory / PROFILE: profile(answers)}
    directory.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        with path.open("x") as file:  # whoever wrote one since then keeps it
            file.write(text)
    return list(texts)


def refuse_to_overwrite(directory: Path) -> None:
    """Raise ConfigError if one of the files exists."""
    there = [path for path in (directory / CONFIGURATION, directory / PROFILE) if path.exists()]
    if there:
        raise ConfigError(
            [f"{path}: already exists and is left alone; name another directory, or remove the file" for path in there]
        )


def fault(directory: Path, answers: Answers) -> str:
    """What is wrong with the answers so far, on one line; empty if nothing is."""
    try:
        configuration(directory, answers)
        profile(answers)
    except ConfigError as error:
        return error.faults[0].removeprefix("command line: --")
    return ""


def configuration(directory: Path, answers: Answers) -> str:
    """A configuration with the keys people change, commented. Raises ConfigError."""
    try:
        SweepSection(name=answers.name)
    except ValueError:
        raise ConfigError([f"command line: --name is {shown(answers.name)}; letters, digits, _ . - only"]) from None
    if answers.runs < 1:
        raise ConfigError([f"command line: --runs is {answers.runs}; give a whole number, 1 or more"])
    if answers.command is not None:
        body = _of_command(answers, directory)
    elif answers.trainer == BUILT_IN_TRAINER:
        body = _EXPERIMENT
    else:
        try:
            found = read_declaration(answers.trainer, [PROJECT_ROOT, Path.cwd(), directory])
        except TrainerError as error:
            raise ConfigError([f"command line: --trainer: {error}"]) from None
        axes = "".join(_axis(name, factor) for name, factor in found.factors.items())
        body = _OWN.format(
            trainer=_quoted(_from(answers.trainer, directory)),
            axes=axes or "    {}\n",
            metrics=", ".join(found.metrics),
        )
    return _CONFIGURATION.format(name=_quoted(answers.name), runs=answers.runs, body=body)


def _of_command(answers: Answers, directory: Path) -> str:
    if answers.trainer != BUILT_IN_TRAINER:
        raise ConfigError(["command line: --from and --trainer name two trainers; give one of them"])
    places = list(dict.fromkeys([Path.cwd(), directory.absolute()]))
    pasted = read_pasted(answers.command or "", places)
    plain = all(name == column for name, column in pasted.measures.items())
    measures = list(pasted.measures) if plain else pasted.measures
    section: dict[str, Any] = {"command": pasted.command, "metrics": pasted.metrics, "measures": measures}
    section |= {key: name for key in ("progress", "checkpoint", "resume") if (name := getattr(pasted, key))}
    axes = {name: [yaml.safe_load(value)] for name, value in pasted.axes.items()}
    try:
        read_script(section, axes, places, False)
    except TrainerError as error:
        raise ConfigError([f"command line: --from: {error}"]) from None
    from_here = directory.resolve() != Path.cwd().resolve()
    command = _located(pasted.command, directory) if from_here else pasted.command
    return _SCRIPT.format(
        axes="".join(f"    {name}: [{value}]\n" for name, value in pasted.axes.items()),
        command=_quoted(command),
        metrics=_quoted(pasted.metrics),
        measures=_quoted(measures),
        resume=f"resume: {_quoted(pasted.resume)}" if pasted.resume else "# resume: --resume {checkpoint}",
        progress=f"progress: {_quoted(pasted.progress)}" if pasted.progress else "# progress: log.csv",
        checkpoint=f"checkpoint: {_quoted(pasted.checkpoint)}" if pasted.checkpoint else "# checkpoint: checkpoint.pt",
        notes="".join(f"  # {note}\n" for note in pasted.notes),
    )


def _located(command: str, directory: Path) -> str:
    """The command with its script by its path from the new configuration."""
    words = command.split(" ")
    found = next((i for i, word in enumerate(words) if word.endswith(".py") and Path(word).is_file()), None)
    if found is not None and not os.path.isabs(words[found]):
        words[found] = os.path.relpath(Path(words[found]).resolve(), directory.resolve())
    return " ".join(words)


def profile(answers: Answers) -> str:
    """A cluster profile. Raises ConfigError if a value cannot be one."""
    partition = f"partition: {_quoted(answers.partition)}" if answers.partition else "# partition: gpu"
    gpus = f"gpus_per_node: {answers.gpus}" if answers.gpus else "# gpus_per_node: 1"
    text = _PROFILE.format(
        partition=f"{partition:<29}",
        gpus=f"{gpus:<29}",
        timeout=f"{f'timeout_min: {answers.timeout_min}':<29}",
        cpus=f"{f'cpus_per_task: {answers.cpus}':<29}",
        memory=f"{f'mem_gb: {answers.mem_gb:g}':<29}",
    )
    text = "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
    parse_profile(Path(PROFILE).stem, yaml.safe_load(text), PROFILE)
    return text


def _quoted(text: str | list[str] | dict[str, str]) -> str:
    """Text, or a list or section of texts, as YAML writes it on one line."""
    return yaml.safe_dump(text, width=10**6, default_flow_style=True).removesuffix("\n").removesuffix("\n...")


def _axis(name: str, factor: Mapping[str, Any]) -> str:
    values = _PLACEHOLDERS[factor["kind"]]
    least = factor.get("minimum")
    if least is not None:
        values = [value if value >= least else least + value for value in values]
    return (
        f"    {name}: {values}        # {factor['kind']}{f', {least} or more' if least is not None else ''}\n".replace(
            "'", ""
        )
    )


_CONFIGURATION = """\
# A sweep. `holdfast plan --config sweep.yaml` shows what would run, `holdfast run --config sweep.yaml` runs it here,
# and `holdfast submit --config sweep.yaml --profile cluster.yaml` submits it. All keys: `holdfast init --all-keys`.
sweep:
  name: {name}
  runs_per_condition: {runs}       # seeds 42, 43, ... in every condition
  # To raise it later and keep the claims confirmatory, declare before the first job how often you will look at the
  # results: analysis: {{looks: 2}}.
{body}
# What is tested is fixed before the first job (docs/howto/hypotheses.md); without this, slopes of the first metric are:
# analysis:
#   tests: [{{metric: METRIC, slope: FACTOR}}, {{metric: METRIC, compare: {{FACTOR: [A, B]}}}}]
checkpoint: {{every_seconds: 60}}   # at most this much training is lost when a task dies without warning
experiment:
  output_dir: out             # one directory per sweep; --output-dir overrides it
  log_to_wandb: false
"""
_EXPERIMENT = """\
  dims: [8, 12, 16, 24, 32]   # workspace dimensions
  scales: [0.1, 1.0, 10.0]    # synergy loss scales

data:
  dir: data/simple_shapes_xor_targets   # made by `holdfast data generate data/simple_shapes_xor_targets`
  batch_size: 32
training:
  epochs: 50
  optimizer: {type: Adam, lr: 1.0e-3}
analysis:                     # fixed before the first job; anything added later is marked as exploratory
  primary_metrics: [predictability/synergy_acc, best_val_loss]
  reference: {dim: 32, scale: 1.0}      # every other condition is compared with it
"""


def _from(trainer: str, directory: Path) -> str:
    """A trainer's file by its path from the new configuration; a module keeps its name."""
    source, _, function = trainer.rpartition(":")
    if not source.endswith(".py") or not Path(source).is_file():
        return trainer
    return f"{os.path.relpath(Path(source).resolve(), directory.resolve())}:{function}"


_OWN = """\
  axes:                       # the factors of the trainer; every combination is a condition
{axes}
trainer: {trainer}
trainer_options: {{}}           # passed to the trainer unchanged
analysis:                     # fixed before the first job; anything added later is marked as exploratory
  # primary_metrics: [{metrics}]
  alpha: 0.05
"""
_SCRIPT = """\
  axes:                       # what the script is called with; every combination is a condition
{axes}
trainer:                      # placeholders: the factors, {{seed}}, {{dir}}, the cell's own directory, {{name}}
{notes}  command: {command}
  metrics: {metrics}       # a file the script writes in {{dir}}: .json, .jsonl, .csv, .tsv
  measures: {measures}     # what it has; {{NAME: {{from: COLUMN, kind: bounded, better: higher}}}} says more
  {progress}         # the same during training: a row per epoch
  {checkpoint}       # what the script resumes from
  {resume}       # added to the command where there is a checkpoint, if the script has to be told
"""
_PROFILE = """\
# A cluster profile. `holdfast check cluster --profile cluster.yaml` checks that the cluster accepts it, on a node too.
{partition} # as `sinfo` lists it; preemptible partitions are fine
{timeout} # time limit per task in minutes; a task that needs longer is requeued and resumes
{gpus} # GPUs per task; without this key, tasks train on the CPU
{cpus} # also the number of CPU threads
{memory}
array_parallelism: 64         # at most this many tasks run at once
# account: lab
# mail_user: ada@example.org  # Slurm mails when an array has ended, and if tasks of it failed
# modules: [cuda/12.4]        # loaded before the task starts
# python: /shared/env/bin/python         # the Python on the node; default: the one that submits
"""
