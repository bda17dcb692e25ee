"""Tasks that ended too early: before training began, or saved and not requeued; and what is known of the reason."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from hpc.errors import SweepError
from hpc.files import logs
from hpc.protocol import TaskExit
from hpc.status import task_end
from hpc.storage.layout import FailedStart
from hpc.storage.store import Store
from hpc.submission.intents import intents, tasks_of
from hpc.sweep.cell import Cell
from hpc.units import counted

# What went wrong stands first; what it led to follows.
_FIRST_LINES = 3
_FIRST_BYTES = 16_384
_LOST_GPU, _UNFIT = str(int(TaskExit.DEVICE)), str(int(TaskExit.UNFIT))


def log_of(store: Store, cell: Cell) -> Path | None:
    """The log of the newest task that had a cell, if it says anything. Raises SweepError, OSError."""
    for intent in reversed(intents(store)):
        if place := task_end.place_of(store, intent, cell.name):
            log = store.paths.task_log(intent.number, *place)
            return log if log.is_file() and log.stat().st_size else None
    return None


def first_lines(log: Path) -> str:
    """The beginning of a log, on one line."""
    lines = [line.strip() for line in logs.head(log, _FIRST_BYTES).splitlines() if line.strip()]
    return " / ".join(lines[:_FIRST_LINES]) + (" / ..." if len(lines) > _FIRST_LINES else "")


def told(store: Store, missing: Collection[Cell]) -> str:
    """How many tasks of the last submission ended before they began, where, and what the first of them said.

    missing: cells that were never begun and are not queued. Empty if all tasks began.
    """
    last = max(intents(store), key=lambda intent: intent.number, default=None)
    if last is None or not missing:
        return ""
    begun = store.present()  # those with a directory may wait for a redo, which is newer than the submission
    redone = {
        cell.name for cell in missing if cell.name in begun and max(store.redos(cell.name), default=0) > last.number
    }
    names = {cell.name for cell in missing} - redone
    try:
        ended = [(array, index) for array, index, cells in tasks_of(store, last) if names.intersection(cells)]
    except SweepError as error:  # a damaged list keeps nobody from seeing the rest
        return str(error)
    written = (store.paths.task_log(last.number, *place) for place in ended)
    speaking = [log for log in written if log.is_file() and log.stat().st_size]
    marks = [mark for mark in store.paths.failed_starts() if mark.submission == last.number]
    starts = [mark.node for mark in marks if mark.status not in (_LOST_GPU, _UNFIT)]
    where = f", on {', '.join(sorted(set(starts)))}" if starts else ""
    if speaking:
        said = f"{first_lines(speaking[0])} ({speaking[0]})"
        return f"{counted(len(speaking), 'task')} ended before training began{where}: {said}"
    # A directory that has moved, or a node that cannot write to it, leaves no log.
    said = task_end.word(store, min(missing, key=lambda cell: cell.name)) if ended else ""
    return f"{counted(len(ended), 'task')} ended before training began, without a log; Slurm: {said}" if said else ""


def refused_requeues(store: Store) -> str:
    """How many tasks of the last submission stopped early and could not be requeued, where and why; empty if none."""
    last = _last(store)
    refused = [each for each in store.paths.refused_requeues() if each.submission == last]
    if not refused:
        return ""
    nodes = ", ".join(sorted({each.node for each in refused}))
    said = f"{counted(len(refused), 'task')} saved and stopped but could not be requeued, on {nodes}: {refused[-1].why}"
    return f"{said}; submit again to resume"


def lost_gpus(store: Store) -> str:
    """How many tasks of the last submission lost their GPU, and where; empty if none did."""
    lost, nodes = _marked(store, _LOST_GPU)
    gpu = "its GPU" if len(lost) == 1 else "their GPU"
    return f"{counted(len(lost), 'task')} lost {gpu}, on {nodes}; submit again to resume" if lost else ""


def unfit_nodes(store: Store) -> str:
    """How many tasks of the last submission came to a node that lacks what the trainer needs; empty if none did."""
    unfit, nodes = _marked(store, _UNFIT)
    told = f"{counted(len(unfit), 'task')} could not be trained on {nodes}, see the log"
    return f"{told}; submit again to resume" if unfit else ""


def _marked(store: Store, status: str) -> tuple[list[FailedStart], str]:
    """The tasks of the last submission that ended with a status, and the names of their nodes."""
    last = _last(store)
    found = [mark for mark in store.paths.failed_starts() if (mark.submission, mark.status) == (last, status)]
    return found, ", ".join(sorted({mark.node for mark in found}))


def _last(store: Store) -> int:
    return max((intent.number for intent in intents(store)), default=0)
