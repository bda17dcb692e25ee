"""The keys of a configuration file, their types, bounds and defaults; nothing else."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator

from hpc.checkout import BUILT_IN_TRAINER
from hpc.errors import shown
from hpc.faults import Section
from hpc.slurm.profile_keys import Count as ProcessorCount
from hpc.slurm.profile_keys import Expression, Gigabytes, Minutes, Word
from hpc.sweep.definition import FILES_MB
from hpc.sweep.resources import MOST_RULES
from hpc.units import slurm_seconds
from hpc.yaml_files import Unquoted, read_truth

Modality = Literal["v", "attr"]


def read_number(value: object) -> object:
    """YAML 1.1 and JSON users write 1e-3 as text; it is read as the number it is."""
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            raise ValueError(value.choice if isinstance(value, Unquoted) else "must be a number") from None
        if isinstance(value, Unquoted) and math.isfinite(number):  # 010
            raise ValueError(value.choice)
        return number
    return value


def _read_seconds(value: object) -> object:
    """A number of seconds, or a time as Slurm writes it."""
    seconds = slurm_seconds(value) if isinstance(value, str) else None
    return read_number(value) if seconds is None else seconds


Truth = Annotated[bool, BeforeValidator(read_truth)]
Real = Annotated[float, BeforeValidator(read_number)]
NotNegative = Annotated[Real, Field(ge=0)]
Positive = Annotated[Real, Field(gt=0)]
Count = Annotated[int, Field(ge=1, le=10**12)]
Indices = dict[str, list[Annotated[int, Field(ge=0, le=10**12)]]]
# Options are walked by recursion, here and in json. No configuration comes near this depth.
_DEEPEST = 50


def _plain(value: Any, name: str = "", depth: int = 0) -> Any:
    """Options go to sweep.json and into digests: they must come back from JSON as they went in."""
    if depth > _DEEPEST:
        raise ValueError(f"must be nested less than {_DEEPEST} deep")
    if isinstance(value, dict):
        for key, entry in value.items():
            if not isinstance(key, str):
                raise ValueError(f"key {key!r:.40} of {name or 'the section'} must be text; put it in quotes")
            _plain(entry, f"{name}.{key}" if name else key, depth + 1)
    elif isinstance(value, list):
        for i, entry in enumerate(value):
            _plain(entry, f"{name}[{i}]", depth + 1)
    elif isinstance(value, Unquoted):
        raise ValueError(f"{name} is {value}; {value.choice}")
    elif not isinstance(value, str | int | float | None):
        raise ValueError(f"{name} must be text, a number, a list or a section; put it in quotes")
    elif isinstance(value, int | float) and not -(2**63) < value < 2**63:
        raise ValueError(f"{name} must be a finite number below 2^63")
    return value


Options = Annotated[dict[str, Any], AfterValidator(_plain)]


class Data(Section):
    dir: str = "data/simple_shapes_xor_targets"
    image_dir: str | None = None
    batch_size: Count = 32
    num_workers: Annotated[int, Field(ge=0)] = 0


class Domain(Section):
    domain_type: str
    checkpoint_path: str | None = None
    name: Modality


# Of a mutable default pydantic gives each model a copy of its own.
_SYNERGY_FEATURE: dict[str, list[Any]] = {"attr": ["xor_target_normalized"]}


def _synergy_feature(value: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The data sets hold one synergy feature, by name or position; it is stored by name so that both mean the same."""
    known = ("xor_target_normalized", 11, -1)
    if set(value) != {"attr"} or len(value["attr"]) != 1 or value["attr"][0] not in known:
        raise ValueError("the data has one synergy feature: {attr: [xor_target_normalized]}")
    return _SYNERGY_FEATURE


class Model(Section):
    domains: list[Domain] = Field(
        default=[Domain(domain_type="v_latents", name="v"), Domain(domain_type="attr", name="attr")]
    )
    workspace_dim: Count = 12
    hidden_dim: Count = 128
    decoder_hidden_dim: Count = 128
    n_layers: Annotated[int, Field(ge=0)] = 4
    fusion_weights: dict[Modality, NotNegative] = Field(default={"v": 0.5, "attr": 0.5})


class Synergy(Section):
    domains: list[Modality] = Field(default=["attr", "v"])
    feature_indices: Annotated[dict[str, list[Any]], AfterValidator(_synergy_feature)] = Field(default=_SYNERGY_FEATURE)
    loss_scale: NotNegative = 1.0
    unique_indices: Indices = Field(default_factory=dict)
    redundant_indices: Indices = Field(default_factory=dict)


class Optimizer(Section):
    type: Literal["Adam"] = "Adam"
    lr: Positive = 1e-3
    weight_decay: NotNegative = 0.0


class Weights(Section):
    fusion: NotNegative = 0.0
    demi_cycle: NotNegative = 0.0
    cycle: NotNegative = 0.0
    translation: NotNegative = 0.0


class LossConfig(Section):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    weights: Weights
    epochs: Count | None = None


_LOSSES = [
    LossConfig(name="fusion_only", weights=Weights(fusion=1.0)),
    LossConfig(name="fusion_demi", weights=Weights(fusion=1.0, demi_cycle=1.0)),
    LossConfig(name="fusion_cycle", weights=Weights(fusion=1.0, cycle=1.0)),
    LossConfig(name="translation_only", weights=Weights(translation=1.0)),
    LossConfig(name="all_losses", weights=Weights(fusion=0.5, demi_cycle=0.5, cycle=0.5, translation=0.5)),
]


def _moved(value: object) -> object:
    """The built-in trainer's own rule, which any trainer can have now. Left empty it meant what it means now."""
    if value is not None:
        raise ValueError("write stop_when: {metric: val_loss, patience: 5} instead, beside training; drop it here")
    return value


class StopSection(Section):
    """When a cell ends early: after ``patience`` epochs in a row that did not improve the metric by over min_delta."""

    metric: str
    patience: Count
    min_delta: NotNegative = 0.0


class Training(Section):
    epochs: Count = 50
    optimizer: Optimizer = Field(default_factory=Optimizer)
    grad_clip: NotNegative | None = 1.0
    reset_model_per_experiment: Truth = True
    loss_configs: list[LossConfig] = Field(default=_LOSSES, min_length=1)
    standardize_inputs: Truth = False
    source_feature_weight: Positive = 1.0
    early_stopping: Annotated[None, BeforeValidator(_moved)] = None


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


def _no_number(value: object) -> object:
    """One number could be how many seeds there are, or the only one."""
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueError(f"write runs_per_condition: {value} for so many seeds, or [{value}] for the only one")
    return value


# Every revision of sweep.json repeats these entries.
_MOST_PARTS, _MOST_SINGLES = 1000, 2000


def _parts(value: object) -> object:
    return _entries(value, _MOST_PARTS, "one entry can name several levels, as in {width: [64, 256]}")


def _singles(value: object) -> object:
    return _entries(value, _MOST_SINGLES, "cross levels in sweep.axes, and leave out with sweep.exclude")


def _entries(value: object, most: int, otherwise: str) -> object:
    """Entries of a design. Raises ValueError unless they are a list, and not too long."""
    if not isinstance(value, list):
        raise ValueError(f"must be a list, such as [{shown(value) if isinstance(value, dict) else '{width: 4}'}]")
    if len(value) > most:
        raise ValueError(f"has {len(value):,} entries, where at most {most:,} are read; {otherwise}")
    return value


def _groups(value: object) -> object:
    """Groups of factors. Raises ValueError for what is more likely one group, without the brackets around it."""
    if isinstance(value, list) and value and all(isinstance(name, str) for name in value):
        raise ValueError(f"each group of factors is a list of its own: [{shown(value)}]")
    if not isinstance(value, list):
        raise ValueError("must be a list of groups of factors, such as [[width, depth]]")
    return value


def _both_ends(value: object) -> object:
    """Raises ValueError for what is no section: a list may be two ends, or levels to choose from."""
    if not isinstance(value, dict | RangeSection):
        raise ValueError("write {min: 0.001, max: 0.1, log: true}; a list of levels stands in sweep.axes")
    return value


def _end(value: object) -> object:
    """A finite number, whole or not: that decides what is drawn."""
    number = read_number(value)
    if not isinstance(number, int | float):
        raise ValueError("must be a number")
    if not -(2**63) < number < 2**63 and not isinstance(number, float):
        raise ValueError("must be below 2^63")
    if not math.isfinite(number):
        raise ValueError("must be finite")
    return number


class RangeSection(Section):
    """What a factor is drawn from. log: evenly on a logarithmic scale; default: as the factor is declared."""

    min: Annotated[Any, AfterValidator(_end)]
    max: Annotated[Any, AfterValidator(_end)]
    log: Truth | None = None


class DrawSection(Section):
    """n conditions drawn from ranges by a seed."""

    n: Annotated[int, Field(ge=1, le=10_000)]
    method: Literal["random", "sobol"] = "sobol"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    ranges: Annotated[dict[str, Annotated[RangeSection, BeforeValidator(_both_ends)]], Field(min_length=1)]


class SweepSection(Section):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")] = "sweep"
    dims: list[Any] | None = None
    scales: list[Any] | None = None
    axes: dict[str, list[Any]] | None = None
    zip: Annotated[list[list[str]], BeforeValidator(_groups)] = Field(default_factory=list)
    draw: DrawSection | None = None
    when: dict[str, dict[str, Any]] = Field(default_factory=dict)
    exclude: Annotated[list[dict[str, Any]], BeforeValidator(_parts)] = Field(default_factory=list)
    include: Annotated[list[dict[str, Any]], BeforeValidator(_singles)] = Field(default_factory=list)
    runs_per_condition: Count | None = None
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**63)]] | None, BeforeValidator(_no_number)] = None


_LONGEST_SOURCE = 200


def _rules(value: object) -> object:
    if not isinstance(value, list):
        every = "what every task asks for stands in a profile; " if isinstance(value, dict) else ""
        raise ValueError(f"{every}for some cells, write a list such as [{{when: {{width: 1024}}, mem_gb: 64}}]")
    return _entries(value, MOST_RULES, "one rule can name several levels, as in {when: {width: [512, 1024]}}")


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
    every_seconds: Annotated[float, BeforeValidator(_read_seconds), Field(gt=0)] = 60.0


class Keep(Section):
    weights: Literal["final", "none"] = "final"
    checkpoints: Truth = False


class RetentionSection(Section):
    """The hypothesis: as the factor narrows, more of what ``kept`` measures is left than of what ``other`` measures.

    kept_chance, other_chance: value of each metric under guessing; default: as the trainer declares it.
    name, kept_name, other_name: what the report calls the hypothesis and the two kinds of information.
    """

    kept: str
    other: str
    factor: str
    name: str | None = None
    kept_name: str | None = None
    other_name: str | None = None
    kept_chance: Real | None = None
    other_chance: Real | None = None


class DeclaredTest(Section):
    """One test of the family: a metric with a slope or a comparison of two levels, or a retention."""

    metric: str | None = None
    slope: str | None = None
    compare: Annotated[dict[str, list[Any]], Field(min_length=1, max_length=1)] | None = None
    retention: RetentionSection | None = None

    @model_validator(mode="after")
    def _one_question(self) -> DeclaredTest:
        asked = [name for name in ("slope", "compare", "retention") if getattr(self, name) is not None]
        if len(asked) != 1 or (self.metric is None) != (asked == ["retention"]):
            raise ValueError(
                "write one of {metric: M, slope: FACTOR}, {metric: M, compare: {FACTOR: [A, B]}}, {retention: {...}}"
            )
        return self


def _replaced(value: Any) -> Any:
    """Keys of earlier versions, with the way out."""
    if isinstance(value, dict) and value.get("ratio") is not None:
        raise ValueError(
            "ratio is gone, since it says which error grew more and not what was kept; write "
            "retention: {kept: METRIC, other: METRIC, factor: FACTOR} instead"
        )
    if isinstance(value, dict) and "correction" in value:
        raise ValueError("correction is gone: the family is corrected by Holm's method, which no other beats; drop it")
    # `ratio: null` asked for none, as every configuration does now.
    return {key: entry for key, entry in value.items() if key != "ratio"} if isinstance(value, dict) else value


class AnalysisSection(Section):
    primary_metrics: list[str] | None = None
    reference: dict[str, Any] | None = None
    alpha: Annotated[Real, Field(gt=0, lt=1)] = 0.05
    tests: list[DeclaredTest] | None = None
    retention: RetentionSection | None = None
    looks: Annotated[int, Field(ge=1, le=100)] = 1
    equivalence_margin: dict[str, Positive] = Field(default_factory=dict)
    last_epochs: Annotated[int, Field(ge=1, le=10**6)] = 5
    figures: list[str] = Field(default_factory=list)
    formats: Annotated[list[Literal["png", "pdf", "svg"]], Field(min_length=1)] = Field(default=["png"])
    labels: dict[str, Annotated[str, Field(min_length=1, max_length=200)]] = Field(default_factory=dict)


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
    analysis: Annotated[AnalysisSection, BeforeValidator(_replaced)] = Field(default_factory=AnalysisSection)
    wandb: MirrorSetting | None = None  # short for experiment.log_to_wandb
