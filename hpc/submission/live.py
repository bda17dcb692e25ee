"""Which tasks of a sweep Slurm has now, and which cells they train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hpc.slurm.answers import QueuedTask
from hpc.slurm.commands import Slurm
from hpc.storage.store import Store
from hpc.storage.task_list import task_cells
from hpc.submission.intents import SLURM, Intent, intents


@dataclass(frozen=True)
class LiveTask:
    """A task of ours that Slurm has now, and its cells."""

    queued: QueuedTask
    submission: int
    cells: tuple[str, ...]


def live_tasks(store: Store) -> list[LiveTask]:
    """Tasks of this sweep that Slurm has waiting or running. Raises SlurmError if a cluster cannot be asked."""
    found: list[LiveTask] = []
    by_cluster: dict[str | None, list[Intent]] = {}
    for intent in intents(store):
        if intent.kind == SLURM:
            by_cluster.setdefault(intent.conf, []).append(intent)
    for conf, ours in by_cluster.items():
        places = {token: (intent, i) for intent in ours for i, token in enumerate(intent.tokens)}
        queue = Slurm(Path(conf) if conf else None).queue(list(places))
        cells: dict[str, list[tuple[str, ...]]] = {}
        for task in queue:
            intent, array = places[task.name]
            if task.name not in cells:
                cells[task.name] = task_cells(store.paths.tasks_file(intent.number, array))
            if task.index is not None and task.index < len(cells[task.name]):
                found.append(LiveTask(task, intent.number, cells[task.name][task.index]))
    return found


def by_cluster(store: Store, tasks: Sequence[LiveTask]) -> dict[Path | None, list[LiveTask]]:
    """The tasks by the slurm.conf of the cluster that has them."""
    confs = {intent.number: intent.conf for intent in intents(store)}
    found: dict[Path | None, list[LiveTask]] = {}
    for task in tasks:
        conf = confs.get(task.submission)
        found.setdefault(Path(conf) if conf else None, []).append(task)
    return found


def live_cells(tasks: Sequence[LiveTask]) -> dict[str, LiveTask]:
    """The live task of each cell that has one, running ones first."""
    order = sorted(tasks, key=lambda task: task.queued.state != "RUNNING")
    found: dict[str, LiveTask] = {}
    for task in order:
        for cell in task.cells:
            found.setdefault(cell, task)
    return found
