"""How Slurm says that the last task of a cell ended, where it still knows."""

from __future__ import annotations

from pathlib import Path

from hpc.slurm.answers import AccountedTask, QueuedTask
from hpc.slurm.commands import Slurm, SlurmError
from hpc.storage.store import Store
from hpc.submission.intents import SLURM, Intent, intents, is_copied, tasks_of
from hpc.sweep.cell import Cell


def word(store: Store, cell: Cell) -> str:
    """`task 12_3 OUT_OF_MEMORY on n4, signal 9`: from sacct, or from the controller for as long as it remembers.

    Empty if no task had the cell, or nobody can tell. Raises SweepError, OSError.
    """
    for intent in reversed([intent for intent in intents(store) if not is_copied(store, intent)]):
        place = place_of(store, intent, cell.name)
        if place is not None:
            return _ended(intent, *place) if intent.kind == SLURM else ""
    return ""


def place_of(store: Store, intent: Intent, name: str) -> tuple[int, int] | None:
    """Array and index of the task that has a cell."""
    return next(((array, index) for array, index, cells in tasks_of(store, intent) if name in cells), None)


def _ended(intent: Intent, array: int, index: int) -> str:
    slurm, token = Slurm(Path(intent.conf) if intent.conf else None), intent.tokens[array]
    remembered: list[AccountedTask] | list[QueuedTask] = slurm.accounting([token]) or []
    try:
        remembered = remembered or slurm.queue([token], finished=True)
    except SlurmError:
        return ""
    task = next((task for task in remembered if task.index == index), None)
    if task is None:
        return ""
    said = f"task {task.job_id}_{index} {task.state}" + (f" on {task.node}" if task.node else "")
    if isinstance(task, AccountedTask):
        said += f", signal {task.signal}" if task.signal else ""
        said += f", exit status {task.exit_code}" if task.exit_code else ""
        said += f" (signal {task.exit_code - 128})" if task.exit_code > 128 else ""
    return said
