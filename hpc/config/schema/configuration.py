"""A configuration file as a whole, with the sections that are short."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer

from hpc.checkout import BUILT_IN_TRAINER
from hpc.config.schema.analysis import AnalysisSection, replaced
from hpc.config.schema.built_in import Data, Model, Synergy, Training
from hpc.config.schema.sweep import SweepSection
from hpc.config.schema.values import Count, NotNegative, Options, Real, Truth, entries, read_seconds
from hpc.faults import Section
from hpc.slurm.profile_keys import Count as ProcessorCount
from hpc.slurm.profile_keys import Expression, Gigabytes, Minutes, Word
from hpc.sweep.definition import FILES_MB
from hpc.sweep.resources import MOST_RULES
from hpc.yaml_files import read_truth


class StopSection(Section):
    """When a cell ends early: after ``patience`` epochs in a row that did not improve the metric by over min_delta."""

    metric: str
    patience: Count
    min_delta: NotNegative = 0.0


# What W&B itself takes as a name; a slash would make two of one.
WandbName = Annotated[str, Field(pattern=r"^[^/\\#?%:\x00-\x1f\x7f]{1,128}$")]


class Mirror(Section):
    """How cells are shown in Weights & Biases. group: default by the trainer; see docs/wandb.md."""

    mode: Literal["off", "offline", "live"] = "offline"
    group: WandbName | None = None
    job_type: WandbName | None = None
    tags: list[Annotated[str, Field(min_length=1, max_length=64)]] = Field(default_factory=list)


def _read_mirror(value: Any) -> Any:
    """true, false and live are short for a section."""
    value = read_truth(value)
    if isinstance(value, bool):
        return Mirror(mode="offline" if value else "off")
    if value in ("off", "offline", "live"):
        return Mirror(mode=value)
    if not isinstance(value, dict | Mirror):
        raise ValueError("must be true, false, live, or a section with mode, group, job_type, tags")
    return value


def _short_mirror(mirror: Mirror) -> bool | dict[str, Any]:
    """In its shortest form: most sweeps only switch the mirror on or off."""
    given = mirror.model_dump()
    if given == Mirror(mode="off").model_dump() or given == Mirror().model_dump():
        return mirror.mode == "offline"
    return given


MirrorSetting = Annotated[Mirror, BeforeValidator(_read_mirror), PlainSerializer(_short_mirror)]


class Experiment(Section):
    name: str = "fusion_only"
    output_dir: Annotated[str, Field(min_length=1)] = "out"
    wandb_project: WandbName = "synergy-bottleneck-sweep-2025"
    wandb_entity: WandbName | None = None
    log_to_wandb: MirrorSetting = Field(default=Mirror(mode="off"))


_LONGEST_SOURCE = 200


def _rules(value: object) -> object:
    if not isinstance(value, list):
        every = "what every task asks for stands in a profile; " if isinstance(value, dict) else ""
        raise ValueError(f"{every}for some cells, write a list such as [{{when: {{width: 1024}}, mem_gb: 64}}]")
    return entries(value, MOST_RULES, "one rule can name several levels, as in {when: {width: [512, 1024]}}")


def _when(value: object) -> object:
    if value in ({}, None):
        raise ValueError("name factors with levels, such as {width: 1024}; for every cell, a profile says it")
    return value


def _one_line(text: str) -> str:
    if len(text) > _LONGEST_SOURCE or not text.isprintable():
        raise ValueError(f"must be one line of at most {_LONGEST_SOURCE} characters")
    return text


class ResourceSection(Section):
    """Keys of a profile (hpc.sweep.resources.KEYS) for the cells that ``when`` names. source: for people."""

    when: Annotated[dict[str, Any], BeforeValidator(_when)]
    mem_gb: Gigabytes | None = None
    timeout_min: Minutes | None = None
    cpus_per_task: ProcessorCount | None = None
    partition: Word | None = None
    constraint: Expression | None = None
    qos: Word | None = None
    account: Word | None = None
    source: Annotated[str, AfterValidator(_one_line)] = ""


class CheckpointSection(Section):
    every_seconds: Annotated[float, BeforeValidator(read_seconds), Field(gt=0)] = 60.0


class Keep(Section):
    weights: Literal["final", "none"] = "final"
    checkpoints: Truth = False


def _trainer(value: Any) -> Any:
    if not isinstance(value, str | dict):
        raise ValueError("must be module:function, path/to/file.py:function, or {command: ...}")
    return value


class Configuration(Section):
    data: Data = Field(default_factory=Data)
    model: Model = Field(default_factory=Model)
    synergy: Synergy = Field(default_factory=Synergy)
    training: Training = Field(default_factory=Training)
    experiment: Experiment = Field(default_factory=Experiment)
    sweep: SweepSection = Field(default_factory=SweepSection)
    trainer: Annotated[Any, AfterValidator(_trainer)] = BUILT_IN_TRAINER
    trainer_options: Options = Field(default_factory=dict)
    trainer_files: list[Annotated[str, Field(min_length=1, max_length=1000)]] = Field(
        default_factory=list, max_length=1000
    )
    trainer_files_mb: Annotated[Real, Field(ge=0, le=10_000)] = FILES_MB
    stop_when: StopSection | None = None
    resources: Annotated[list[ResourceSection], BeforeValidator(_rules)] = Field(default_factory=list)
    checkpoint: CheckpointSection = Field(default_factory=CheckpointSection)
    keep: Keep = Field(default_factory=Keep)
    analysis: Annotated[AnalysisSection, BeforeValidator(replaced)] = Field(default_factory=AnalysisSection)
    wandb: MirrorSetting | None = None  # short for experiment.log_to_wandb
