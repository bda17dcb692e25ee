"""What the JSON documents of a sweep directory hold, by the types of their fields; what does not fit is refused.

One function reads all of them. A type names the fields that Holdfast uses: what a later version, or a trainer, adds is
left alone, and what an earlier one did not write is optional. Values that are checked against each other, such as a
test's metric, are hpc.sweep.definition's. Types of sweep.json are in hpc.storage.sweep_document, those of results and
task lists in the modules that read these.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Required, TypedDict

import msgspec
from msgspec import Meta

from hpc.errors import one_line
from hpc.files import reading
from hpc.files.limits import DOCUMENT
from hpc.files.opening import RefusedFileError

Count = Annotated[int, Meta(ge=0, lt=2**53)]
Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Finite = Annotated[float, Meta(ge=-1.7e308, le=1.7e308)]
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
    return parsed(reading.read(path, most), kind)


def parsed(data: bytes, kind: type[Any]) -> Any:
    """The same of bytes that were read. Raises MalformedError."""
    try:
        return fitting(reading.parse_json(data), kind)
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
