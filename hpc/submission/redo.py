"""Finished cells to be trained again: their results are set aside, and what was queued before counts for nothing.

A redo takes the next number among the submissions, and the results that it sets aside carry it in their names. So
whoever lists a cell's directory knows the redo, and what was begun before it, by its lower number: an old copy of a
task that is still at work somewhere, and ends later, cannot put its outcome in the place of the new one.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import time
from collections.abc import Sequence
from typing import Any

from hpc.errors import BusyError
from hpc.files import atomic, limits, reading
from hpc.processes import host
from hpc.storage import documents, published
from hpc.storage.claims import new_submission
from hpc.storage.layout import redone_mark
from hpc.storage.store import Store
from hpc.submission.live import queues
from hpc.submission.lock import Held
from hpc.sweep.cell import Cell


def set_aside(store: Store, cells: Sequence[Cell], held: Held) -> int:
    """Set the results of these finished cells aside, so that they count as missing. Returns the number of the redo.

    held: the sweep's lock. It is checked before each cell: another command that took it over meanwhile may have queued
    some of the cells. Killed anywhere in between, it has set some of them aside and left the others as they were.
    Raises BusyError if a task that is queued or running has one of the cells, or if the lock is lost; SweepError,
    OSError.
    """
    _check_nothing_lives(store, {cell.name for cell in cells})
    number = new_submission(store, cells)
    by = f"`holdfast redo` (process {os.getpid()} on {host()})"
    record = {"by": by, "at": time.time(), "cells": sorted(cell.name for cell in cells)}
    atomic.publish(store.paths.redo_file(number), json.dumps(record, indent=1).encode())
    for cell in cells:
        held.check()
        with contextlib.suppress(FileNotFoundError):  # a person has just moved it away
            judged = reading.read(store.paths.result_file(cell))
            with contextlib.suppress(ValueError):  # damaged since it was looked at
                published.repair(store.paths, cell, reading.parse_json(judged))  # its history and weights go with it
            published.set_aside(store.paths, cell, judged, redone_mark(number))
    return number


def read(store: Store, number: int) -> dict[str, Any]:
    """Who asked for a redo, and when; empty if its record cannot be read any more."""
    return documents.known(store.paths.redo_file(number), documents.RedoDocument, limits.NAMES)


def _check_nothing_lives(store: Store, names: set[str]) -> None:
    """Raise BusyError if a task may still be at work on one of these cells, or come back to it when requeued."""
    seen = queues(store)
    queued = {name for task in seen.tasks for name in task.cells}.union(*(cluster.cells for cluster in seen.unasked))
    here = {name for pack in store.running_here() for name in store.cells_of(pack) or ()}
    if live := sorted(names & (queued | here)):
        more = f" and {len(live) - 1} more" if len(live) > 1 else ""
        raise BusyError(
            f"{store.root}: {live[0]}{more} is part of a task that is queued or running; wait for it, or "
            f"holdfast cancel {shlex.quote(str(store.root))}, then redo"
        )
