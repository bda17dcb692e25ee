"""What would run: the cells still to do, cut into packs, as data that can be printed before anything happens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

from hpc.sweep.cell import Cell
from hpc.sweep.states import COMPLETED, CONFLICT, DIVERGED, FAILED, STATES, CellStatus

# Directory entries that a finished cell and a task leave in a sweep directory, measured; used for estimates only.
_FILES_OF_CELL, _FILES_OF_TASK = 9, 2
# Of a cell that has a task of its own.
FILES_PER_CELL = _FILES_OF_CELL + _FILES_OF_TASK


@dataclass(frozen=True)
class Plan:
    """Which cells run next, and how.

    counts: cells by state before. queued: cells that a live task already has. skipped_failed: FAILED cells left out.
    tasks: the packs, each a tuple of cells. array_sizes: tasks per Slurm array, in order.
    deferred: cells that do not fit into the queue now; a later submission takes them.
    cancelled: cells left out because somebody cancelled them while this command was at work.
    """

    counts: dict[str, int]
    queued: int
    skipped_failed: int
    tasks: tuple[tuple[Cell, ...], ...]
    array_sizes: tuple[int, ...]
    deferred: int = 0
    cancelled: int = 0

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

    def arrays(self) -> list[tuple[tuple[Cell, ...], ...]]:
        """The tasks of each array, in order."""
        found, start = [], 0
        for size in self.array_sizes:
            found.append(self.tasks[start : start + size])
            start += size
        return found

    def in_smaller_arrays(self) -> Plan | None:
        """The same tasks in arrays half as large; None if they hold a single task already.

        For limits that only sbatch knows, such as those of an association or a QOS.
        """
        largest = max(self.array_sizes) // 2
        return replace(self, array_sizes=_array_sizes(len(self.tasks), largest)) if largest else None

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
            "files": self.files,
        }

    def __str__(self) -> str:
        finished = sum(self.counts.get(state, 0) for state in (COMPLETED, DIVERGED))
        parts = [f"{finished} done"]
        if self.queued:
            parts.append(f"{self.queued} queued")
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
            parts.append(f"{self.n_cells:,} to run as {_count(len(self.tasks), 'task')}{packs}{arrays_text}")
        else:
            parts.append("nothing to run")
        if self.deferred:
            parts.append(f"{self.deferred} more once the queue has room (--wait submits them)")
        return f"{_count(self.total, 'cell')}: {', '.join(parts)}"


def make_plan(
    statuses: Iterable[CellStatus],
    *,
    queued: Collection[str] = (),
    cancelled: Collection[str] = (),
    pack_size: int = 1,
    include_failed: bool = False,
    retry: Collection[Cell] = (),
    largest_array: int | None = None,
    room: int | None = None,
) -> Plan:
    """Cut what is still to do into packs of at most ``pack_size`` cells and arrays of at most ``largest_array`` tasks.

    queued: names of cells that a live task already has. cancelled: names of cells to leave out.
    retry: failed cells to run again anyway.
    room: tasks that the queue takes now; None: any number.
    """
    counts = Counter[str]()
    wanted: list[Cell] = []
    waiting = skipped = stopped = 0
    for status in statuses:
        counts[status.state] += 1
        # A cell in conflict has two outcomes; which of them counts is a person's decision.
        if status.state in (COMPLETED, DIVERGED, CONFLICT):
            continue
        if status.cell.name in queued:
            waiting += 1
        elif status.cell.name in cancelled:
            stopped += 1
        elif status.state == FAILED and not include_failed and status.cell not in retry:
            skipped += 1
        else:
            wanted.append(status.cell)
    tasks = tuple(tuple(wanted[i : i + pack_size]) for i in range(0, len(wanted), pack_size))
    fitting = tasks if room is None else tasks[: max(0, room)]
    deferred = sum(len(task) for task in tasks[len(fitting) :])
    ordered = {state: counts[state] for state in STATES if counts[state]}
    return Plan(ordered, waiting, skipped, fitting, _array_sizes(len(fitting), largest_array), deferred, stopped)


def _array_sizes(tasks: int, largest: int | None) -> tuple[int, ...]:
    if not tasks:
        return ()
    size = min(tasks, largest) if largest else tasks
    full, rest = divmod(tasks, size)
    return (size,) * full + ((rest,) if rest else ())


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
