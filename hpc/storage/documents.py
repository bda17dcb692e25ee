"""What the JSON documents of a sweep directory hold, by the types of their fields; what does not fit is refused.

One function reads all of them. A type names the fields that Holdfast uses: what a later version, or a trainer, adds is
left alone, and what an earlier one did not write is optional. Values that are checked against each other, such as a
test's metric, are hpc.sweep.definition's. Types of results and task lists are in the modules that read these.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, Required, TypedDict

import msgspec
from msgspec import Meta

from hpc.errors import one_line
from hpc.storage import files
from hpc.storage.opening import DOCUMENT, RefusedFileError

Count = Annotated[int, Meta(ge=0, lt=2**53)]
Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Finite = Annotated[float, Meta(ge=-1.7e308, le=1.7e308)]
Share = Annotated[float, Meta(gt=0, lt=1)]
# Half a character, as JSON can write one, cannot be written to a file; only paths may have those that stand for bytes.
Text = Annotated[str, Meta(pattern=r"^[^\ud800-\udfff]*$")]
Name = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f\ud800-\udfff]*$")]
# From the first year that calendars have to the last, seconds since the epoch.
Moment = Annotated[float, Meta(ge=-62_000_000_000, le=253_000_000_000)]
# Three centuries of training: what is computed from a few of them stays a number.
Seconds = Annotated[float, Meta(ge=0, le=1e10)]
Level = int | float | str
# What a task may ask of a cluster, of any key of a profile; and the keys of what --escalate gives.
Amount = Annotated[int, Meta(ge=1, le=10**9)] | Annotated[float, Meta(gt=0, le=1e9)]
Raised = Annotated[str, Meta(pattern="^(mem_gb|timeout_min)$")]
# Of files, as seen from a folder; the NUL ends a path.
Pattern = Annotated[str, Meta(min_length=1, max_length=4096, pattern=r"^[^\x00]*$")]
# What reading a document gives that is not there, or is none, however often one asks. Any other OSError says nothing of
# the document: an answer that a file server did not give once would be taken for a state that was never saved.
ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError, RefusedFileError, ValueError)
_PLACE = re.compile(r"(?P<what>.*) - at (`key` in )?`\$\.?(?P<where>.*)`", re.DOTALL)
_PATTERN = re.compile(r"`str` matching regex .*", re.DOTALL)


class MalformedError(ValueError):
    """A document is not what Holdfast writes. The message names the field and what is expected there."""


def read(path: Path | str, kind: type[Any], most: float = DOCUMENT) -> Any:
    """The document in a file, whose fields are as ``kind`` says. most: bytes that are read.

    Raises MalformedError, RefusedFileError, OSError.
    """
    return parsed(files.read(path, most), kind)


def parsed(data: bytes, kind: type[Any]) -> Any:
    """The same of bytes that were read. Raises MalformedError."""
    try:
        return fitting(files.parse_json(data), kind)
    except MalformedError:
        raise
    except ValueError as error:
        raise MalformedError(one_line(f"not valid JSON: {error}")) from None


def known(path: Path | str, kind: type[Any], most: float = DOCUMENT) -> dict[str, Any]:
    """The same for what may be missing: empty if the document is not there, or is none. Raises OSError otherwise."""
    try:
        return dict(read(path, kind, most))
    except ABSENT:
        return {}


def fitting(data: Any, kind: type[Any]) -> Any:
    """The data itself if its fields are as ``kind`` says. Raises MalformedError."""
    try:
        msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        found = _PLACE.fullmatch(str(error))
        what, where = (found["what"], found["where"]) if found else (str(error), "")
        what = _PATTERN.sub("text without control characters or halves of characters", what)
        text = f"{what[:1].lower()}{what[1:]}".replace("`", "'")
        raise MalformedError(one_line(f"{where}: {text}" if where else text)) from None
    except RecursionError:
        raise MalformedError("it is nested too deeply") from None
    return data


# --- sweep.json -----------------------------------------------------------------------------------------------------


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
    """aggregate.analysis.fixed.Retention."""

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
    """aggregate.analysis.fixed.Analysis."""

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


# --- cells ----------------------------------------------------------------------------------------------------------


class OutcomeDocument(TypedDict, total=False):
    """An outcome beside the published one, as results.json has it."""

    metrics: Required[dict[str, Finite | None]]
    outcome_digest: str
    status: str
    epochs: Count
    best_epoch: Count | None


class ConflictDocument(TypedDict, total=False):
    """conflict.json."""

    outcome: Required[OutcomeDocument]
    pack: Count | None


class FailureDocument(TypedDict, total=False):
    """failure.json."""

    cause: str
    traceback: str | None
    submission: int
    node: str | None
    at_start: bool
    given_up: bool


class PointerDocument(TypedDict):
    """Which pack attempt a cell's attempt belongs to."""

    pack: Count


class PackDocument(TypedDict, total=False):
    """What a pack attempt wrote down at its start, and what is to be known of it even if its node goes down."""

    cells: list[str]
    nonce: str
    handed_over: list[str]
    repeats: bool
    submission: Count
    host: str
    node: str
    pid: Annotated[int, Meta(ge=0, lt=2**31)]
    began: int | float | None
    job: dict[str, Any]
    task: tuple[Count, Count] | None
    side_by_side: Count
    root: str
    device: int
    inode: int


class ProgressDocument(TypedDict, total=False):
    """Epochs of a pack's cells, and a metric of each over them, thinned."""

    cells: Required[dict[str, tuple[Count, Count]]]
    at: Moment
    ended: str
    metric: str
    curves: dict[str, list[float]]


class StatesDocument(TypedDict):
    """.states.json: stamp, state, attempts and epochs of finished cells, and whether they were stopped early."""

    format: int
    config_digest: str
    cells: dict[str, tuple[int, Literal["COMPLETED", "DIVERGED"], Count, Count, bool]]


class JournalDocument(TypedDict):
    """Outcome digests that a W&B server was seen to have, by place and cell."""

    same: dict[str, dict[str, str]]


# --- submissions ----------------------------------------------------------------------------------------------------


class QueuedArray(TypedDict):
    """An array that sbatch reported as queued."""

    token: Name
    job_id: Name


class ReceiptDocument(TypedDict):
    """receipt.json."""

    arrays: list[QueuedArray]


class OwnerDocument(TypedDict, total=False):
    """Who holds the lock."""

    command: str
    id: str
    pid: Annotated[int, Meta(ge=1, lt=2**31)]
    host: str
    began: int | float | None
    boot: str
    namespace: str
    machine: str
    root: str
    device: int
    inode: int


class CancelDocument(TypedDict):
    """cancel.json."""

    cells: list[str]
    by: str


class RedoDocument(TypedDict):
    """redo.json: cells whose results were set aside to be trained again. at: seconds since the epoch."""

    cells: list[str]
    by: str
    at: Moment
