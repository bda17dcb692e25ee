"""The task list of a submission's array, and which of its tasks are not to train any more.

A line per task, its cells in full, so that a task reads its own line only.

Whether sbatch has queued an array cannot always be found out: a request may reach slurmctld after sbatch has given up,
and a prepared script may be submitted at any time, or twice. So whoever queues the cells again first declares void, in
the directory of the old submission, what could not be found in the queue. A task looks there when it starts.
"""

from __future__ import annotations

import json
import shlex
import uuid
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Required, TypedDict

from msgspec import Meta

from hpc.errors import OutdatedError, SweepError
from hpc.files import atomic, limits, reading
from hpc.storage import documents
from hpc.storage.documents import Count, Level, Name, Seed
from hpc.storage.layout import Layout
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep


class CellDocument(TypedDict):
    """hpc.sweep.cell.Cell."""

    point: list[tuple[Name, Level]]
    seed: Seed
    run_id: Count


class TaskDocument(TypedDict, total=False):
    """A line of a task list."""

    cells: Required[Annotated[list[CellDocument], Meta(min_length=1)]]
    config_digest: str
    cell_digests: list[str]


@dataclass(frozen=True)
class ListedTask:
    """One line of a task list.

    config_digest: of the configuration that the cells were queued for; empty in lists of versions that did not say.
    cell_digests: of each cell, where its levels stand for settings; else, and in lists of such versions, empty.
    """

    cells: list[Cell]
    config_digest: str = ""
    cell_digests: tuple[str, ...] = ()


def read_task(path: Path, index: int) -> ListedTask:
    """One line of a task list. Raises SweepError naming file and index, OSError."""
    lines = _lines(path)
    if 0 <= index < len(lines):
        return _task(path, index, lines[index])
    raise SweepError(f"{path}: there is no task {index}; submit with indices below the number of lines")


def task_cells(path: Path) -> list[tuple[str, ...]]:
    """Names of the cells of each task. Raises SweepError naming file and line, OSError."""
    names, cells = list[tuple[str, ...]](), 0
    for number, line in enumerate(_lines(path)):
        names.append(tuple(cell.name for cell in _task(path, number, line).cells))
        cells += len(names[-1])
        if fault := limits.too_many(cells, limits.MOST_CELLS, "cells"):
            raise SweepError(f"{path}: has {fault}")
    return names


def _lines(path: Path) -> list[bytes]:
    data = reading.read(path, limits.LIST)
    if fault := limits.too_many(data.count(b"\n"), limits.MOST_CELLS, "tasks"):
        raise SweepError(f"{path}: has {fault}")
    lines = data.split(b"\n")
    return lines if lines[-1] else lines[:-1]


def task_line(cells: Sequence[Cell], sweep: Sweep) -> str:
    """A task as read_task reads it. sweep: that its cells are queued for."""
    entry: dict[str, Any] = {"cells": [cell.to_json() for cell in cells], "config_digest": sweep.config_digest}
    if sweep.bundles:
        entry["cell_digests"] = [sweep.cell_digest(cell) for cell in cells]
    return json.dumps(entry, separators=(",", ":")) + "\n"


def _task(path: Path, index: int, line: bytes) -> ListedTask:
    try:
        entry = documents.fitting(reading.parse_json(line), TaskDocument)
        cells = [Cell.from_json(cell) for cell in entry["cells"]]
        return ListedTask(cells, entry.get("config_digest", ""), tuple(entry.get("cell_digests", ())))
    except ValueError:
        raise SweepError(f"{path}: line {index + 1} is no task; submit again") from None


class ArraysDocument(TypedDict):
    """What a task reads of its submission's intent; all of it is hpc.submission.intents.Intent."""

    tokens: list[Name]


def check_array(layout: Layout, submission: int, array: int, token: str) -> None:
    """Raise OutdatedError if the array of this number is not the one with this name.

    Where a sweep directory was removed and the sweep submitted again, the numbers, and even the digests of code and
    configuration, are those of before; only the name is new. Raises OSError.
    """
    path = layout.intent_file(submission)
    try:
        tokens = documents.read(path, ArraysDocument)["tokens"]
    except ValueError:
        tokens = []
    if token not in tokens[array : array + 1]:
        others = f"scancel --name={shlex.quote(token)} ends the others of it"
        raise OutdatedError(
            f"{path}: this task belongs to {token}, of a directory that was here before; nothing is trained; {others}"
        )


# --- void tasks ------------------------------------------------------------------------------------------------------


class VoidDocument(TypedDict, total=False):
    """Which tasks of an array are not to train; None: all."""

    why: str
    tasks: list[Count] | None


@dataclass(frozen=True)
class Void:
    """Tasks of an array that are not to train. why: for people, the rest of a sentence. tasks: None for all of them."""

    array: int
    why: str
    tasks: frozenset[int] | None = None

    def covers(self, array: int, index: int) -> bool:
        return self.array == array and (self.tasks is None or index in self.tasks)


def declare_void(layout: Layout, submission: int, array: int, why: str, tasks: Collection[int] | None = None) -> None:
    """Declare tasks of an array void, for good. tasks: indices; None: all of them. Raises OSError."""
    record = {"why": why, "tasks": None if tasks is None else sorted(tasks)}
    atomic.publish_once(layout.void_file(submission, array, uuid.uuid4().hex[:10]), json.dumps(record).encode())


def declared_voids(layout: Layout, submission: int) -> list[Void]:
    """What has been declared void of a submission. A file that cannot be read counts for its whole array."""
    found = []
    for array, path in layout.void_files(submission):
        try:
            record = documents.read(path, VoidDocument)
        except ValueError:
            record = {}
        tasks = record.get("tasks")
        why = str(record.get("why", "it was declared void"))
        found.append(Void(array, why, None if tasks is None else frozenset(tasks)))
    return found


def why_void(layout: Layout, submission: int, array: int, index: int) -> str:
    """Why a task is not to train; empty if it is to. Raises OSError."""
    return next((void.why for void in declared_voids(layout, submission) if void.covers(array, index)), "")


def all_void(voids: Iterable[Void], array: int) -> bool:
    """Whether all tasks of an array are void."""
    return any(void.array == array and void.tasks is None for void in voids)
