"""A sweep at one moment: files first, one question to Slurm second, no other source of truth."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from hpc.status import early_ends, state_cache
from hpc.storage.results import provenance_of
from hpc.storage.store import Store
from hpc.submission import cancels
from hpc.submission.live import LiveTask, live_cells, queues
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep
from hpc.sweep.states import COMPLETED, CONFLICT, DIVERGED, FAILED, FINAL, MISSING, CellStatus
from hpc.units import duration

RUNNING, PENDING = "RUNNING", "PENDING"


@dataclass(frozen=True)
class Snapshot:
    """A sweep at one moment.

    statuses: every planned cell; STARTED and MISSING cells that Slurm has are RUNNING or PENDING here.
    live: the live task of a cell. trouble: which clusters could not be asked, and why; then RUNNING and PENDING are
    unknown there. remarks: what else keeps the sweep from going on, one line each.
    """

    sweep: Sweep
    statuses: tuple[CellStatus, ...]
    live: dict[str, LiveTask]
    trouble: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        return dict(Counter(status.state for status in self.statuses))

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen by itself."""
        going_on = self.live.keys() - self.held
        return not going_on and not any(
            status.state in (RUNNING, PENDING) and status.cell.name not in self.held for status in self.statuses
        )

    @property
    def held(self) -> set[str]:
        """Names of cells whose task Slurm holds for good; another submission cancels it and queues them again."""
        return {name for name, task in self.live.items() if task.queued.held}

    @property
    def unfinished(self) -> int:
        """Cells without a result."""
        return sum(status.state not in FINAL for status in self.statuses)

    @property
    def problems(self) -> int:
        """Cells that failed or are in conflict."""
        return sum(status.state in (FAILED, CONFLICT) for status in self.statuses)

    def to_json(self) -> dict[str, Any]:
        """The stable output of ``holdfast status --json``."""
        cells = [
            {
                "cell": status.cell.name,
                "state": status.state,
                "attempts": status.attempts,
                "epoch": status.epoch,
                "epochs": status.epochs,
                **({"cause": status.cause} if status.cause else {}),
                **({"node": self.live[status.cell.name].queued.node} if status.cell.name in self.live else {}),
            }
            for status in self.statuses
        ]
        return {
            "sweep": self.sweep.name,
            "cells": len(cells),
            "states": self.counts,
            "slurm": self.trouble or "ok",
            "individual": cells,
        }


def take(store: Store, ask_slurm: bool = True) -> Snapshot:
    """Look at a sweep now. Slurm is asked only while cells are unfinished. Raises SweepError, OSError."""
    sweep = store.sweep()
    statuses = tuple(state_cache.statuses(store, sweep.grid, sweep.config_digest))
    unfinished = [status.cell for status in statuses if status.state not in FINAL]
    if not ask_slurm or not unfinished:
        return Snapshot(sweep, statuses, {})
    seen = queues(store)
    live = live_cells(seen.live)
    trouble = "; ".join(map(str, seen.unasked))
    # Files again after Slurm: a task that ended in between has its result by then.
    now = {status.cell: status for status in store.statuses(unfinished, sweep.config_digest)}
    statuses = tuple(_with_slurm(now.get(status.cell, status), live) for status in statuses)
    left = {status.cell.name for status in statuses if status.state not in FINAL}
    waiting = live.keys() | cancels.standing(store).keys()
    missing = [status.cell for status in statuses if status.state == MISSING and status.cell.name not in waiting]
    live = {name: task for name, task in live.items() if name in left}
    idle = left - live.keys()
    remarks = [
        *(
            f"this is a copy of {root}; the tasks that were queued there work there and are not counted here"
            for root in seen.elsewhere
        ),
        "" if trouble else early_ends.told(store, missing),
        *((early_ends.refused_requeues(store), early_ends.lost_gpus(store)) if idle else ()),
        _cancelled(store, idle),
    ]
    return Snapshot(sweep, statuses, live, trouble, tuple(filter(None, remarks)))


def _cancelled(store: Store, names: Collection[str]) -> str:
    """How many of these cells are cancelled, and by whom; empty if none is."""
    standing = cancels.standing(store)
    by = [standing[name].by for name in names if name in standing]
    return f"cancelled: {len(by)}, by {max(by, key=by.count)}; submit again to resume" if by else ""


def _with_slurm(status: CellStatus, live: dict[str, LiveTask]) -> CellStatus:
    task = live.get(status.cell.name) if live else None
    if task is None or status.state in (COMPLETED, DIVERGED, CONFLICT):
        return status
    return replace(status, state=task.queued.phase, cause="")


def estimate(store: Store, snapshot: Snapshot) -> str:
    """How long the sweep will still take, from the cells that are done; empty if that cannot be estimated."""
    names = [status.cell.name for status in snapshot.statuses if status.state == RUNNING]
    if not names:
        return ""
    at_once = set(names)
    if snapshot.sweep.trainer.pack_mode == "sequential":  # of its cells, a task trains one
        at_once = {snapshot.live[name].queued.id if name in snapshot.live else name for name in names}
    seconds = [_seconds(store, s.cell) for s in snapshot.statuses if s.state in FINAL][:200]
    known = [value for value in seconds if value is not None]
    if len(known) < 2:
        return ""
    left = sum(
        1 - (status.epoch / status.epochs if status.epochs else 0)
        for status in snapshot.statuses
        if status.state in (RUNNING, PENDING)
    )
    total = left * statistics.mean(known) / len(at_once)
    spread = left**0.5 * statistics.stdev(known) / len(at_once)
    return f"about {duration(total)} left (+- {duration(2 * spread)}) with {len(names)} running"


def _seconds(store: Store, cell: Cell) -> float | None:
    value = provenance_of(store.result(cell)).get("seconds")
    return float(value) if isinstance(value, int | float) else None
