"""What a results.json says, and of which cell: one that is cut short, or holds what is no number, is never believed.

What it says is put together by hpc.sweep.outcome and hpc.node.attempt.
"""

from __future__ import annotations

import gc
import math
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypedDict

import msgspec

from hpc.errors import SweepError, shown
from hpc.files import limits, reading
from hpc.storage import documents
from hpc.storage.documents import Count, Finite, Seconds
from hpc.storage.layout import redos_in
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep
from hpc.sweep.states import FINAL

CELL_DIGEST = "cell_digest"


class NamedFile(msgspec.Struct):
    """A file that a result names by its content."""

    sha256: str = ""
    bytes: Count = 0
    sample: str = ""


class LineagePart(TypedDict):
    """From where on a cell was trained by which code, under which numerics."""

    from_step: Count
    code: str | None
    numerics: dict[str, Any]


class StoppedEarly(TypedDict, total=False):
    """The rule of stop_when by which a cell ended before its last epoch."""

    metric: str
    patience: Count
    min_delta: Finite
    last_improvement: Count
    planned_epochs: Count | None


class Redone(TypedDict):
    """An earlier result of a cell that a redo, with a number among the submissions, has set aside."""

    redo: Count
    status: str
    outcome_digest: str


class ResultProvenance(msgspec.Struct):
    """Of a cell's result; a Struct, for it is checked a hundred thousand times and fits in half the time."""

    attempts: Count = 0
    pack: Count = 0
    submission: Count = 0
    pack_size: Count = 0
    seconds: Seconds = 0.0
    peak_memory: Finite | None = None
    files: dict[str, NamedFile] = {}
    trained_by: list[LineagePart] | None = None
    redone: list[Redone] | None = None


def read_result(path: str) -> dict[str, Any]:
    """The result in a file. Raises SweepError naming the path and the reason if the file is no whole result, OSError if
    it is no file.
    """
    try:
        return parse_result(reading.read(path, limits.RESULT))
    except ValueError as error:
        raise SweepError(f"{path}: not a whole result: {error}; set it aside and run the cell again") from None


def parse_result(data: bytes) -> dict[str, Any]:
    """The content of a results.json. Raises ValueError with the reason if it is no whole result."""
    try:
        result = reading.parse_json(data)
        _check(result)
    except KeyError as error:
        raise ValueError(f"{error.args[0]!r} is missing") from None
    except (TypeError, OverflowError) as error:
        raise ValueError(str(error)) from None
    return result  # type: ignore[no-any-return]


def provenance_of(result: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Where a result comes from, as far as it says so: one from elsewhere may have anything in that place."""
    found = (result or {}).get("provenance")
    return found if isinstance(found, dict) else {}


def foreign(result: Mapping[str, Any], cell: Cell, sweep: Sweep, name: str = "") -> str:
    """Why a whole result is not one of this cell in this sweep, for people; empty if it is.

    name: of the cell, from whoever has it already.
    What a level stands for is no part of the configuration's digest, to which levels can be added, but of the cell's;
    results of versions that did not say that are believed.
    """
    if result["config_digest"] != sweep.config_digest:
        return "belongs to another configuration"
    if sweep.bundles and result.get(CELL_DIGEST, digest := sweep.cell_digest(cell)) != digest:
        return "was made with other settings of its levels"
    for key, own in (("seed", cell.seed), ("run_id", cell.run_id), ("cell", name or cell.name)):
        if result.get(key, own) != own:
            return f"is of another cell: {key} is {result[key]!r}, not {own!r}"
    return ""


def precedes_redo(result: Mapping[str, Any], names: Iterable[str]) -> bool:
    """Whether a result comes from a task that was queued before the cell's last redo: then it counts for nothing.

    names: what a listing of the cell's directory shows.
    """
    redos = redos_in(names)
    return bool(redos) and provenance_of(result).get("submission", 0) <= redos[-1]


_LARGEST = sys.float_info.max


def _check(result: Any) -> None:
    """Raises KeyError, TypeError, ValueError or OverflowError."""
    if result["status"] not in FINAL or not isinstance(result["metrics"], dict):
        raise ValueError("status or metrics are not as Holdfast writes them")
    if fault := limits.too_many(len(result["metrics"]), limits.MOST_METRICS, "metrics"):
        raise ValueError(f"it has {fault}")
    if not "".join(result["metrics"]).isprintable():  # half a character, which no table can hold, among them
        raise ValueError("a metric's name cannot be printed")
    if not _all_finite(result["metrics"].values()):
        for name, value in result["metrics"].items():
            _check_metric(name, value)
    for key in ("seed", "run_id", "epochs"):
        if type(result[key]) is not int:  # as JSON has them; a bool is one of its own
            raise ValueError(f"{key} is {shown(result[key])}, not a whole number")
    for key in ("config_digest", "outcome_digest"):
        if not str(result[key]).isprintable():
            raise ValueError(f"{key} cannot be printed")
    if "stopped_early" in result:
        documents.fitting(result["stopped_early"], StoppedEarly)
    provenance = result.get("provenance")
    if isinstance(provenance, dict):
        documents.fitting(provenance, ResultProvenance)


def _all_finite(values: Collection[Any]) -> bool:
    """Whether these are plain finite floats, as nearly always; False if that takes a closer look."""
    return set(map(type, values)) <= {float} and math.isfinite(sum(values))


def _check_metric(name: str, value: Any) -> None:
    if type(value) is float and -_LARGEST <= value <= _LARGEST:
        return
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        raise ValueError(f"metric {name!r} is {shown(value)}, not a number")
    if value is not None and not math.isfinite(value):  # JSON can write 1e999
        raise ValueError(f"metric {name!r} is beyond all numbers")


@contextmanager
def paused_collector() -> Iterator[None]:
    """A hundred thousand results are millions of objects, none of them garbage; looking doubles the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
