"""A sweep at one moment: files first, one question to Slurm second, no other source of truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hpc.status import early_ends, state_cache
from hpc.storage.store import Store
from hpc.submission import cancels
from hpc.submission.intents import raised_before
from hpc.submission.live import LiveTask, live_cells, queues
from hpc.sweep.definition import Sweep
from hpc.sweep.resources import KEYS, text
from hpc.sweep.states import COMPLETED, CONFLICT, DIVERGED, FAILED, FINAL, MISSING, CellStatus, is_done
from hpc.units import counted

RUNNING, PENDING = "RUNNING", "PENDING"
_MOST_CURVES = 12  # packs whose progress is read for them
Curve = tuple[str, Sequence[float]]


@dataclass(frozen=True)
class Snapshot:
    """A sweep at one moment.

    statuses: every planned cell; STARTED and MISSING cells that Slurm has are RUNNING or PENDING here.
    live: the live task of a cell. trouble: which clusters could not be asked, and why; then RUNNING and PENDING are
    unknown there. remarks: what else keeps the sweep from going on, one line each. curves: of running cells by name, a
    metric and its values so far, as far as their trainers reported them.
    """

    sweep: Sweep
    statuses: tuple[CellStatus, ...]
    live: dict[str, LiveTask]
    trouble: str = ""
    remarks: tuple[str, ...] = ()
    curves: Mapping[str, Curve] = field(default_factory=dict)

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
    def done(self) -> bool:
        """Whether every cell has a result, and not all of these diverged."""
        return is_done(status.state for status in self.statuses)

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
                **({"stopped_early": True} if status.stopped_early else {}),
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
    statuses = tuple(state_cache.statuses(store, sweep.grid, sweep))
    unfinished = [status.cell for status in statuses if status.state not in FINAL]
    if not ask_slurm or not unfinished:
        return Snapshot(sweep, statuses, {})
    seen = queues(store)
    live = live_cells(seen.live)
    trouble = "; ".join(map(str, seen.unasked))
    # Files again after Slurm: a task that ended in between has its result by then.
    now = {status.cell: status for status in store.statuses(unfinished, sweep)}
    statuses = tuple(_with_slurm(now.get(status.cell, status), live) for status in statuses)
    left = {status.cell.name for status in statuses if status.state not in FINAL}
    waiting = live.keys() | cancels.standing(store).keys()
    missing = [status.cell for status in statuses if status.state == MISSING and status.cell.name not in waiting]
    live = {name: task for name, task in live.items() if name in left}
    idle = left - live.keys()
    copied = "the tasks that were queued there work there and are not counted here"
    remarks = [f"this is a copy of {root}; {copied}" for root in seen.elsewhere]
    remarks += [] if trouble else [early_ends.told(store, missing)]
    if idle:
        remarks += [early_ends.refused_requeues(store), early_ends.lost_gpus(store), early_ends.unfit_nodes(store)]
    remarks += [_cancelled(store, idle), _escalated(store, left)]
    return Snapshot(sweep, statuses, live, trouble, tuple(filter(None, remarks)), _curves(store, statuses))


def _curves(store: Store, statuses: Sequence[CellStatus]) -> dict[str, Curve]:
    running = {status.cell.name: status.pack_attempt for status in statuses if status.state == RUNNING}
    packs = [pack for pack in dict.fromkeys(running.values()) if pack is not None][:_MOST_CURVES]
    records = [store.progress_record(pack) for pack in packs]
    return {
        name: (record["metric"], values)
        for record in records
        for name, values in record.get("curves", {}).items()
        if name in running and values and "metric" in record
    }


def _cancelled(store: Store, names: Collection[str]) -> str:
    """How many of these cells are cancelled, and by whom; empty if none is."""
    standing = cancels.standing(store)
    by = [standing[name].by for name in names if name in standing]
    return f"cancelled: {len(by)}, by {max(by, key=by.count)}; submit again to resume" if by else ""


def _escalated(store: Store, names: Collection[str]) -> str:
    """How many of these cells were given more by --escalate, and the most of each; empty if none was."""
    raised = [amounts for name, amounts in raised_before(store, by_others=True).items() if name in names]
    most = {key: max(found) for key in KEYS if (found := [amounts[key] for amounts in raised if key in amounts])}
    cells = counted(len(raised), "cell")
    return f"with more by --escalate: {cells}, up to {text(most.items())}" if most else ""


def _with_slurm(status: CellStatus, live: dict[str, LiveTask]) -> CellStatus:
    task = live.get(status.cell.name) if live else None
    if task is None or status.state in (COMPLETED, DIVERGED, CONFLICT):
        return status
    return replace(status, state=task.queued.phase, cause="")
