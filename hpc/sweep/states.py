"""The states of cells, as files tell them: COMPLETED and DIVERGED are final, the others are not.

The states of Slurm's jobs are in hpc/slurm/answers.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hpc.sweep.cell import Cell

COMPLETED = "COMPLETED"
DIVERGED = "DIVERGED"
FAILED = "FAILED"
STARTED = "STARTED"
MISSING = "MISSING"
CONFLICT = "CONFLICT"
STATES = (COMPLETED, DIVERGED, FAILED, CONFLICT, STARTED, MISSING)
FINAL = (COMPLETED, DIVERGED)


def is_done(states: Iterable[str]) -> bool:
    """Whether a sweep ended as it should, by the states of its cells: each is final, and not all diverged, which would
    leave no number at all."""
    found = set(states)
    return found.issubset(FINAL) and COMPLETED in found


@dataclass(frozen=True)
class CellStatus:
    """What the files say of one cell.

    attempts: claims so far. epoch, epochs: progress of the newest attempt, 0 if none. cause: of a failure or conflict.
    pack_attempt: number of the newest one, or None. stopped_early: whether stop_when ended a cell that has a result.
    """

    cell: Cell
    state: str
    attempts: int = 0
    epoch: int = 0
    epochs: int = 0
    cause: str = ""
    pack_attempt: int | None = None
    stopped_early: bool = False
