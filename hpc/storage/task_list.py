"""The task list of a submission's array: a line a task, its cells in full, so that a task reads its own line only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hpc.errors import SweepError
from hpc.sweep.cell import Cell


def read_task(path: Path, index: int) -> list[Cell]:
    """Cells of one line of a task list. Raises SweepError naming file and index, OSError."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines):
            if number == index:
                return _cells(path, number, line)
    raise SweepError(f"{path}: there is no task {index}; submit with indices below the number of lines")


def task_cells(path: Path) -> list[tuple[str, ...]]:
    """Names of the cells of each task. Raises SweepError naming file and line, OSError."""
    with path.open("rb") as lines:
        return [tuple(cell.name for cell in _cells(path, number, line)) for number, line in enumerate(lines)]


def task_line(cells: Sequence[Cell]) -> str:
    """A task as read_task reads it."""
    entry: dict[str, Any] = {"cells": [cell.to_json() for cell in cells]}
    return json.dumps(entry, separators=(",", ":")) + "\n"


def _cells(path: Path, index: int, line: bytes) -> list[Cell]:
    try:
        return [Cell.from_json(entry) for entry in json.loads(line)["cells"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SweepError(f"{path}: line {index + 1} is no task; submit again") from None
