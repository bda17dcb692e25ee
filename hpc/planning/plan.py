"""What would run: the cells still to do, cut into packs, as data that can be printed before anything happens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hpc.errors import ConfigError
from hpc.files.limits import too_many
from hpc.sweep.cell import Cell
from hpc.sweep.resources import Resources
from hpc.sweep.states import COMPLETED, CONFLICT, DIVERGED, FAILED, STATES, CellStatus
from hpc.units import counted

# Directory entries that a finished cell and a task leave in a sweep directory, measured; used for estimates only.
_FILES_OF_CELL, _FILES_OF_TASK = 9, 2
# Of a cell that has a task of its own.
FILES_PER_CELL = _FILES_OF_CELL + _FILES_OF_TASK
# Different requests to a cluster: each has an array of its own, about which Slurm is asked alone.
MOST_REQUESTS = 200

Task = tuple[Cell, ...]


@dataclass(frozen=True)
class Plan:
    """Which cells run next, and how.

    counts: cells by state before. queued: cells that a live task already has. stopping: those of them that were
    cancelled, whose tasks have not ended yet. skipped_failed: FAILED cells left out.
    tasks: the packs, each a tuple of cells. array_sizes: tasks per Slurm array, in order. resources: what the tasks of
    each array ask for beside the profile.
    deferred: cells that do not fit into the queue now; a later submission takes them.
    cancelled: cells left out because somebody cancelled them while this command was at work.
    """

    counts: dict[str, int]
    queued: int
    skipped_failed: int
    tasks: tuple[Task, ...]
    array_sizes: tuple[int, ...]
    resources: tuple[Resources, ...]
    deferred: int = 0
    cancelled: int = 0
    stopping: int = 0

    @property
    def n_cells(self) -> int:
        return sum(len(task) for task in self.tasks)

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def files(self) -> int:
        """Directory entries that the results will need."""
        return self.n_cells * _FILES_OF_CELL + len(self.tasks) * _FILES_OF_TASK

    def arrays(self) -> list[tuple[Task, ...]]:
        """The tasks of each array, in order."""
        found, start = [], 0
        for size in self.array_sizes:
            found.append(self.tasks[start : start + size])
            start += size
        return found

    def half_of_first_array(self) -> Plan | None:
        """Half of the first array's tasks alone, all others deferred; None if that is a single task.

        For limits that only sbatch knows, such as those of an association or a QOS. Where twice as many were too many,
        no second array of this size has room beside the first.
        """
        size = self.array_sizes[0] // 2
        if not size:
            return None
        deferred = self.deferred + sum(map(len, self.tasks[size:]))
        first, kind = self.tasks[:size], self.resources[:1]
        return replace(self, tasks=first, array_sizes=(size,), resources=kind, deferred=deferred)

    def by_resources(self) -> dict[Resources, Sequence[Task]]:
        """The tasks by what they ask for beside the profile, in the order of the arrays."""
        found: dict[Resources, list[Task]] = {}
        for asked, tasks in zip(self.resources, self.arrays(), strict=True):
            found.setdefault(asked, []).extend(tasks)
        return dict(found)

    def to_json(self) -> dict[str, Any]:
        """The stable output of ``holdfast plan --json``."""
        return {
            "cells": self.total,
            "states": self.counts,
            "queued": self.queued,
            "skipped_failed": self.skipped_failed,
            "to_run": self.n_cells,
            "deferred": self.deferred,
            "tasks": len(self.tasks),
            "largest_pack": max(map(len, self.tasks), default=0),
            "arrays": list(self.array_sizes),
            "resources": [dict(asked) for asked in self.resources],
            "files": self.files,
        }

    def __str__(self) -> str:
        finished = sum(self.counts.get(state, 0) for state in (COMPLETED, DIVERGED))
        parts = [f"{finished} done"]
        if self.queued > self.stopping:
            parts.append(f"{self.queued - self.stopping} queued")
        if self.stopping:
            parts.append(f"{self.stopping} still being cancelled (submit again in a moment)")
        if self.cancelled:
            parts.append(f"{self.cancelled} cancelled")
        if self.skipped_failed:
            parts.append(f"{self.skipped_failed} failed (skipped; --include-failed takes them along)")
        if self.counts.get(CONFLICT):
            parts.append(f"{self.counts[CONFLICT]} in conflict")
        if self.tasks:
            arrays = len(self.array_sizes)
            packs = f" of up to {max(map(len, self.tasks))}" if self.n_cells > len(self.tasks) else ""
            arrays_text = f", {arrays} arrays" if arrays > 1 else ""
            parts.append(f"{self.n_cells:,} to run as {counted(len(self.tasks), 'task')}{packs}{arrays_text}")
        else:
            parts.append("nothing to run")
        if self.deferred:
            parts.append(f"{self.deferred} more once the queue has room (--wait submits them)")
        return f"{counted(self.total, 'cell')}: {', '.join(parts)}"


def make_plan(
    statuses: Iterable[CellStatus],
    *,
    queued: Collection[str] = (),
    cancelled: Collection[str] = (),
    stopping: Collection[str] = (),
    pack_size: int = 1,
    include_failed: bool = False,
    retry: Collection[Cell] = (),
    largest_array: int | None = None,
    room: int | None = None,
    resources: Callable[[Cell], Resources] = lambda cell: (),
) -> Plan:
    """Cut what is still to do into packs of at most ``pack_size`` cells and arrays of at most ``largest_array`` tasks.

    queued: names of cells that a live task already has. cancelled: names of cells to leave out. stopping: see Plan.
    retry: failed cells to run again anyway.
    room: tasks that the queue takes now; None: any number.
    resources: what a cell asks for beside the profile; cells that ask for different things share no task and no array.
    Raises ConfigError if they ask for more different things than MOST_REQUESTS.
    """
    counts = Counter[str]()
    wanted: dict[Resources, list[Cell]] = {}
    waiting = skipped = stopped = ending = 0
    for status in statuses:
        counts[status.state] += 1
        # A cell in conflict has two outcomes; which of them counts is a person's decision.
        if status.state in (COMPLETED, DIVERGED, CONFLICT):
            continue
        if status.cell.name in queued:
            waiting += 1
            ending += status.cell.name in stopping
        elif status.cell.name in cancelled:
            stopped += 1
        elif status.state == FAILED and not include_failed and status.cell not in retry:
            skipped += 1
        else:
            wanted.setdefault(resources(status.cell), []).append(status.cell)
    if fault := too_many(len(wanted), MOST_REQUESTS, "different requests"):
        raise ConfigError([f"resources: the cells to run make {fault}"])
    tasks = {asked: _packs(cells, pack_size) for asked, cells in wanted.items()}
    fitting = _first(tasks, room)
    deferred = sum(len(task) for asked in tasks for task in tasks[asked][len(fitting.get(asked, ())) :])
    ordered = {state: counts[state] for state in STATES if counts[state]}
    arrays = _arrays(fitting, largest_array)
    return Plan(ordered, waiting, skipped, *arrays, deferred=deferred, cancelled=stopped, stopping=ending)


def _packs(cells: Sequence[Cell], size: int) -> list[Task]:
    return [tuple(cells[i : i + size]) for i in range(0, len(cells), size)]


def _first(tasks: Mapping[Resources, Sequence[Task]], room: int | None) -> dict[Resources, Sequence[Task]]:
    """As many of the tasks as there is room for, in order."""
    found: dict[Resources, Sequence[Task]] = {}
    left = sum(map(len, tasks.values())) if room is None else max(0, room)
    for asked, own in tasks.items():
        if left:
            found[asked] = own[:left]
            left -= len(found[asked])
    return found


def _arrays(
    tasks: Mapping[Resources, Sequence[Task]], largest: int | None
) -> tuple[tuple[Task, ...], tuple[int, ...], tuple[Resources, ...]]:
    """(tasks, array_sizes, resources) of a Plan."""
    sizes = {asked: _array_sizes(len(own), largest) for asked, own in tasks.items()}
    return (
        tuple(task for own in tasks.values() for task in own),
        tuple(size for own in sizes.values() for size in own),
        tuple(asked for asked, own in sizes.items() for _ in own),
    )


def _array_sizes(tasks: int, largest: int | None) -> tuple[int, ...]:
    size = min(tasks, largest) if largest else tasks
    full, rest = divmod(tasks, size)
    return (size,) * full + ((rest,) if rest else ())
