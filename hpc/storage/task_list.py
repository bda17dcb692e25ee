"""The task list of a submission's array: a line a task, its cells in full, so that a task reads its own line only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpc.errors import SweepError
from hpc.sweep.cell import Cell


@dataclass(frozen=True)
class ListedTask:
    """One line of a task list.

    config_digest: of the configuration that the cells were queued for; empty in lists of versions that did not say.
    """

    cells: list[Cell]
    config_digest: str = ""


def read_task(path: Path, index: int) -> ListedTask:
    """One line of a task list. Raises SweepError naming file and index, OSError."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines):
            if number == index:
                return _task(path, number, line)
    raise SweepError(f"{path}: there is no task {index}; submit with indices below the number of lines")


def task_cells(path: Path) -> list[tuple[str, ...]]:
    """Names of the cells of each task. Raises SweepError naming file and line, OSError."""
    with path.open("rb") as lines:
        return [tuple(cell.name for cell in _task(path, number, line).cells) for number, line in enumerate(lines)]


def task_line(cells: Sequence[Cell], config_digest: str) -> str:
    """A task as read_task reads it."""
    entry: dict[str, Any] = {"cells": [cell.to_json() for cell in cells], "config_digest": config_digest}
    return json.dumps(entry, separators=(",", ":")) + "\n"


def _task(path: Path, index: int, line: bytes) -> ListedTask:
    try:
        entry = json.loads(line)
        return ListedTask([Cell.from_json(cell) for cell in entry["cells"]], str(entry.get("config_digest", "")))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise SweepError(f"{path}: line {index + 1} is no task; submit again") from None
