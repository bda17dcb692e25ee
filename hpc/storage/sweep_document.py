"""What sweep.json holds, by the types of its fields; hpc.storage.documents reads it by them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, Required, TypedDict

from msgspec import Meta

from hpc.storage.documents import Finite, Level, Name, Seed, Text

Share = Annotated[float, Meta(gt=0, lt=1)]
# Of files, as seen from a folder; the NUL ends a path.
Pattern = Annotated[str, Meta(min_length=1, max_length=4096, pattern=r"^[^\x00]*$")]


class FactorDeclaration(TypedDict, total=False):
    """See training/contract.py."""

    kind: str
    minimum: Finite
    ordered: bool
    field: Name
    label: Text
    slug: str
    log: bool
    overrides: str
    about: Text


class MetricDeclaration(TypedDict, total=False):
    """See training/contract.py."""

    kind: Literal["bounded", "positive", "real"]
    better: str
    chance: Finite | None
    label: Text
    slug: str
    optional: bool
    scaled_by: Text
    error: Literal["squared", "cross entropy"]
    about: Text


class TrainerDocument(TypedDict, total=False):
    """hpc.sweep.definition.Trainer."""

    target: Required[Annotated[str, Meta(min_length=1, max_length=4096)]]
    path: Required[str]
    factors: Required[dict[Name, FactorDeclaration]]
    metrics: Required[dict[Name, MetricDeclaration]]
    pack_mode: Literal["fused", "concurrent", "sequential"]
    data_files: Required[list[str]]
    seeded: Text
    files: Annotated[list[Pattern], Meta(max_length=10_000)]
    files_mb: Annotated[float, Meta(ge=0, le=1e12)]


class GridDocument(TypedDict):
    """hpc.sweep.grid.Grid."""

    axes: list[tuple[Name, Annotated[list[Level], Meta(min_length=1)]]]
    seeds: Annotated[list[Seed], Meta(min_length=1)]
    exclude: NotRequired[
        Annotated[list[Annotated[list[tuple[Name, list[Level]]], Meta(min_length=1)]], Meta(max_length=1100)]
    ]
    include: NotRequired[Annotated[list[list[tuple[Name, Level]]], Meta(max_length=2000)]]


class RetentionDocument(TypedDict, total=False):
    """aggregate.analysis.fixed_analysis.Retention."""

    kept: Required[Name]
    other: Required[Name]
    factor: Required[Name]
    kept_chance: Finite | None
    other_chance: Finite | None
    name: Text | None
    kept_name: Text | None
    other_name: Text | None


class TestDocument(TypedDict, total=False):
    """One of slope, compare and retention."""

    metric: Name
    slope: Name
    compare: Annotated[dict[str, tuple[Level, Level]], Meta(min_length=1, max_length=1)]
    retention: RetentionDocument


class RatioDocument(TypedDict):
    """The hypothesis of an earlier version."""

    numerator: Name
    denominator: Name
    factor: Name
    numerator_chance: Finite
    denominator_chance: Finite


class AnalysisDocument(TypedDict, total=False):
    """aggregate.analysis.fixed_analysis.Analysis."""

    primary_metrics: list[Name] | None
    reference: dict[str, Level] | None
    tests: list[TestDocument] | None
    ratio: RatioDocument | None
    alpha: Share
    looks: Annotated[int, Meta(ge=1, le=10_000)]
    equivalence_margin: dict[str, Finite] | None
    last_epochs: Annotated[int, Meta(ge=1, lt=2**31)]
    labels: dict[str, Text] | None
    figures: list[Name] | None
    formats: list[Literal["png", "pdf", "svg"]] | None


class ResourceDocument(TypedDict, total=False):
    """hpc.sweep.resources.ResourceRule."""

    when: Required[list[tuple[Name, list[Level]]]]
    mem_gb: Annotated[float, Meta(gt=0, le=1e9)]
    timeout_min: Annotated[int, Meta(ge=1, le=10**9)]
    cpus_per_task: Annotated[int, Meta(ge=1, le=10**9)]
    partition: Name
    constraint: Name
    qos: Name
    account: Name
    source: Name


class KeepDocument(TypedDict, total=False):
    """What is kept of a cell."""

    weights: Required[str]
    checkpoints: bool


class StopDocument(TypedDict, total=False):
    """hpc.sweep.stopping.StopRule; empty without one."""

    metric: Name
    patience: Annotated[int, Meta(ge=1, lt=2**53)]
    min_delta: Finite
    better: str


class MirrorDocument(TypedDict, total=False):
    """How runs are mirrored."""

    mode: str
    group: str | None
    job_type: str | None
    tags: list[str] | None


class WandbDocument(TypedDict, total=False):
    """Where runs are mirrored to."""

    wandb_project: str | None
    wandb_entity: str | None
    log_to_wandb: bool | MirrorDocument | None


class ProvenanceDocument(TypedDict, total=False):
    """What a revision was planned with."""

    trainer_digest: str | None
    code_change_allowed: bool
    git: dict[str, dict[str, Any] | None] | str | None
    versions: dict[str, Any]


class RevisionDocument(TypedDict, total=False):
    """hpc.sweep.definition.Sweep, with its provenance."""

    name: Required[Name]
    grid: Required[GridDocument]
    trainer: Required[TrainerDocument]
    options: Required[dict[str, Any]]
    sections: Required[dict[str, dict[str, Any]]]
    data_digest: Required[str]
    analysis: Required[AnalysisDocument]
    checkpoint_seconds: Required[Annotated[float, Meta(gt=0, le=1e12)]]
    keep: Required[KeepDocument]
    wandb: WandbDocument
    stop_when: StopDocument
    resources: Annotated[list[ResourceDocument], Meta(max_length=100)]
    provenance: ProvenanceDocument
    results_seen: bool


class SweepDocument(TypedDict):
    """sweep.json."""

    revisions: Annotated[list[RevisionDocument], Meta(min_length=1)]
