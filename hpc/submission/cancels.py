"""Cancellations: a record that every command which queues tasks looks at, and what has been queued taken out again.

A cancellation takes the next number among the submissions, and concerns what has a lower one: submissions, and commands
that began before it. So it wins against a `submit --wait` that is alive, whatever the clocks of the machines say; and a
submission that is asked for after it queues the cells again.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from hpc.errors import of_system
from hpc.files import atomic, directories, limits
from hpc.processes import host
from hpc.slurm.commands import Slurm
from hpc.storage import documents, task_list
from hpc.storage.claims import new_submission
from hpc.storage.store import Store
from hpc.submission.intents import SLURM, Intent, intents, receipt, tasks_of
from hpc.submission.live import LiveTask, by_cluster, has_ended, queues

# A person waits; a listing a second is nothing to a file server.
_WATCH_SECONDS = 1.0


@dataclass(frozen=True)
class TakenOut:
    """What a cancellation did. taken: tasks that it took out of queues. left: those that it left there; see take_out.
    unrecorded: why its record, or a part of it, could not be written; empty if all of it was."""

    taken: int = 0
    left: tuple[LiveTask, ...] = ()
    unrecorded: str = ""


def cancel(store: Store, names: Collection[str]) -> TakenOut:
    """Cancel the unfinished ones of these cells.

    The record comes first: whoever queues tasks looks for it before and after, so he sees it or is seen. Where none can
    be written, as when a quota is full, tasks are taken out of queues all the same.
    Raises SlurmError, OSError.
    """
    digest = store.sweep().config_digest
    unfinished = {name for name in names if not has_ended(store, name, digest)}
    if not unfinished:
        return TakenOut()
    unrecorded, silent = _record(store, unfinished)
    # After the void files: what reached a queue before them may have started without one.
    found = [task for task in queues(store, without=silent).tasks if unfinished.intersection(task.cells)]
    left = take_out(found)
    return TakenOut(len(found) - len(left), tuple(left), unrecorded)


def _record(store: Store, names: Collection[str]) -> tuple[str, set[int]]:
    """Record a cancellation and make void what it concerns.

    Returns (why that could not be done, submissions to clusters that do not answer). Raises SweepError.
    """
    silent: set[int] = set()
    try:
        wanted = request(store, names)
        seen = queues(store)
        silent.update(number for cluster in seen.unasked for number in cluster.submissions)
        declare_all_void(store, wanted, seen.tokens, silent)
    except OSError as error:
        return of_system(error), silent
    return "", silent


def take_out(tasks: Collection[LiveTask]) -> list[LiveTask]:
    """Take tasks out of queues. Returns those that were left alone. Raises SlurmError.

    Left are those that are not seen to work in the sweep directory, or are not this user's; among them may be some that
    have just ended. squeue is asked once more, for this user's jobs alone: what other people's are called, or where
    they work, cannot then stand for a line about one of his own.
    """
    left = [task for task in tasks if not task.ours]
    for conf, found in by_cluster(task for task in tasks if task.ours).items():
        slurm = Slurm(conf)
        own = slurm.numbered(sorted({task.queued.job_id for task in found}), os.getuid())
        certain = {(task.id, task.directory) for task in own}
        slurm.cancel(task.queued for task in found if _place(task) in certain)
        left += [task for task in found if _place(task) not in certain]
    return left


def left_alone(left: Collection[LiveTask]) -> str:
    """A line about tasks that take_out did not cancel."""
    jobs = " ".join(sorted({task.queued.job_id for task in left}))
    found = "1 task under a name" if len(left) == 1 else f"{len(left)} tasks under names"
    return (
        f"left alone: {found} of this sweep. Such a task has just ended, is not your own, or does not work in a "
        f"directory that is seen to be this one; its owner ends it with scancel (jobs {jobs})"
    )


def _place(task: LiveTask) -> tuple[str, str]:
    return task.queued.id, task.queued.directory


@dataclass(frozen=True)
class Cancel:
    """A cancellation. cells: names of those that are not to be trained. by: who asked for it, for people."""

    number: int
    cells: frozenset[str]
    by: str


def request(store: Store, cells: Collection[str]) -> Cancel:
    """Record that these cells are cancelled, before anything is taken out of a queue. Raises OSError."""
    number = new_submission(store)
    by = f"`holdfast cancel` (process {os.getpid()} on {host()})"
    atomic.publish(store.paths.cancel_file(number), json.dumps({"by": by, "cells": sorted(cells)}).encode())
    return Cancel(number, frozenset(cells), by)


def after(store: Store, number: int) -> list[Cancel]:
    """Cancellations that are newer than what has this number. Raises OSError."""
    newer = sorted(other for other in directories.numbers(store.paths.submissions_root) if other > number)
    return [found for other in newer if (found := _read(store, other)) is not None]


class Watch:
    """Names of the cells cancelled since a command began, for one that trains them itself; asked for at every step.

    since: number of the newest submission or cancellation when it began.
    """

    def __init__(self, store: Store, since: int) -> None:
        self._store, self._since = store, since
        self._cells = frozenset[str]()
        self._next = 0.0

    def __call__(self) -> frozenset[str]:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _WATCH_SECONDS
            with contextlib.suppress(OSError):  # training goes on without an answer
                self._cells = cells(after(self._store, self._since))
        return self._cells


def standing(store: Store) -> dict[str, Cancel]:
    """The cancellation of each cell that has been cancelled and not submitted since. Raises SweepError, OSError."""
    submitted = {intent.number: intent for intent in intents(store)}
    found: dict[str, Cancel] = {}
    for number in sorted(directories.numbers(store.paths.submissions_root)):
        if number not in submitted:
            cancel = _read(store, number)
            found |= dict.fromkeys(cancel.cells, cancel) if cancel else {}
        elif found:
            for _, _, names in tasks_of(store, submitted[number]):
                for name in names:
                    found.pop(name, None)
    return found


def cells(found: Iterable[Cancel]) -> frozenset[str]:
    """All cells of some cancellations."""
    return frozenset[str]().union(*(cancel.cells for cancel in found))


def declare_all_void(store: Store, cancel: Cancel, queued: Collection[str], silent: Collection[int] = ()) -> None:
    """Let no task with a cancelled cell train if it starts only now, also one that reaches the queue later.

    queued: tokens of the arrays that are in a queue. Of the others, those that sbatch has reported are over, and
    prepared scripts wait for a person, who may submit them after this. silent: numbers of submissions to clusters that
    do not answer, whose arrays may all be queued. Raises OSError.
    """
    for intent in intents(store):
        if intent.kind == SLURM and intent.number < cancel.number:
            over = {*receipt(store, intent.number), *(intent.tokens if intent.prepared else ())}.difference(queued)
            declare_void(store, cancel, intent, () if intent.number in silent else over)


def declare_void(store: Store, cancel: Cancel, intent: Intent, except_for: Collection[str] = ()) -> None:
    """Declare a submission's tasks with a cancelled cell void. except_for: see hit. Raises SweepError, OSError."""
    known = task_list.declared_voids(store.paths, intent.number)
    for array, indices in hit(store, cancel, intent, except_for).items():
        if any(not any(void.covers(array, index) for void in known) for index in indices):
            which = None if intent.sizes[array : array + 1] == (len(indices),) else indices
            task_list.declare_void(store.paths, intent.number, array, f"it was cancelled by {cancel.by}", which)


def hit(store: Store, cancel: Cancel, intent: Intent, except_for: Collection[str] = ()) -> dict[int, list[int]]:
    """Indices of a submission's tasks with a cancelled cell, by array. Raises SweepError, OSError.

    except_for: tokens of arrays to leave out.
    """
    found: dict[int, list[int]] = {}
    for array, token in enumerate(intent.tokens):
        if token not in except_for:
            lists = task_list.task_cells(store.paths.tasks_file(intent.number, array))
            if indices := [index for index, names in enumerate(lists) if cancel.cells.intersection(names)]:
                found[array] = indices
    return found


def _read(store: Store, number: int) -> Cancel | None:
    try:
        record = documents.read(store.paths.cancel_file(number), documents.CancelDocument, limits.NAMES)
        return Cancel(number, frozenset(record["cells"]), record["by"])
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None  # a submission, in general
