"""What is going on in a sweep: files first, one question to Slurm second, no other source of truth."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hpc.slurm.commands import SlurmError
from hpc.storage import files, state_cache
from hpc.storage.store import Store
from hpc.submission.live import LiveTask, live_cells, live_tasks
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep
from hpc.sweep.states import COMPLETED, CONFLICT, DIVERGED, FAILED, FINAL, MISSING, CellStatus
from hpc.units import duration

RUNNING, PENDING = "RUNNING", "PENDING"
_SHOWN_CELLS = 12


@dataclass(frozen=True)
class Snapshot:
    """A sweep at one moment.

    statuses: every planned cell; STARTED and MISSING cells that Slurm has are RUNNING or PENDING here.
    live: the live task of a cell. trouble: why Slurm could not be asked; then RUNNING and PENDING are unknown.
    failed_starts: what tasks of the last submission said that ended before they began.
    """

    sweep: Sweep
    statuses: tuple[CellStatus, ...]
    live: dict[str, LiveTask]
    trouble: str = ""
    failed_starts: str = ""

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
    live: dict[str, LiveTask] = {}
    trouble = ""
    try:
        live = live_cells(live_tasks(store))
    except SlurmError as error:
        trouble = str(error)
    # Files again after Slurm: a task that ended in between has its result by then.
    now = {status.cell: status for status in store.statuses(unfinished, sweep.config_digest)}
    statuses = tuple(_with_slurm(now.get(status.cell, status), live) for status in statuses)
    left = {status.cell.name for status in statuses if status.state not in FINAL}
    told = told_of_failed_starts(store) if any(status.state == MISSING for status in statuses) else ""
    return Snapshot(sweep, statuses, {name: task for name, task in live.items() if name in left}, trouble, told)


def told_of_failed_starts(store: Store) -> str:
    """How many tasks of the last submission ended before they began, where, and what the last of them said.

    Empty if all of them began.
    """
    last = max(files.numbers(store.paths.submissions_root), default=0)
    starts = [start for start in store.paths.failed_starts() if start.submission == last]
    if not starts:
        return ""
    log = starts[-1].log
    said = log.read_text(errors="replace").strip().splitlines()[-1:] if log.is_file() else []
    nodes = ", ".join(sorted({start.node for start in starts}))
    tasks = "1 task" if len(starts) == 1 else f"{len(starts)} tasks"
    return f"{tasks} ended before training began, on {nodes}: {''.join(said) or 'nothing was said'} ({log})"


def _with_slurm(status: CellStatus, live: dict[str, LiveTask]) -> CellStatus:
    task = live.get(status.cell.name) if live else None
    if task is None or status.state in (COMPLETED, DIVERGED, CONFLICT):
        return status
    return replace(status, state=PENDING if task.queued.state == PENDING else RUNNING, cause="")


def text(snapshot: Snapshot) -> str:
    """A snapshot as a person reads it."""
    counts = snapshot.counts
    summary = ", ".join(f"{number} {state}" for state, number in sorted(counts.items(), key=lambda item: -item[1]))
    lines = [f"{snapshot.sweep.name}: {len(snapshot.statuses):,} cells: {summary}", "", table(snapshot.statuses)]
    if snapshot.trouble:
        lines += ["", f"Slurm cannot be asked ({snapshot.trouble}); RUNNING and PENDING are not known"]
    lines += ["", snapshot.failed_starts] * bool(snapshot.failed_starts)
    lines += _waiting(snapshot)
    lines += _section("running", [s for s in snapshot.statuses if s.state == RUNNING], snapshot)
    lines += _section(
        "pending again after an attempt", [s for s in snapshot.statuses if s.state == PENDING and s.attempts], snapshot
    )
    lines += _section("failed", [s for s in snapshot.statuses if s.state in (FAILED, CONFLICT)], snapshot)
    return "\n".join(lines)


def _waiting(snapshot: Snapshot) -> list[str]:
    """Why cells are pending, as Slurm puts it, and what can be done where waiting is of no use."""
    queued = [task.queued for task in snapshot.live.values() if task.queued.state == PENDING]
    reasons = Counter(task.reason for task in queued if task.reason not in ("", "None") and not task.held)
    lines = []
    if reasons:
        lines += ["", "waiting: " + ", ".join(f"{count} ({reason})" for reason, count in reasons.most_common())]
    if snapshot.held:
        lines += ["", f"held since their launch failed: {len(snapshot.held)}; submit again and they start anew"]
    return lines


def _section(title: str, statuses: Sequence[CellStatus], snapshot: Snapshot) -> list[str]:
    if not statuses:
        return []
    lines = ["", f"{title}:"]
    for status in statuses[:_SHOWN_CELLS]:
        task = snapshot.live.get(status.cell.name)
        where = f" on {task.queued.node}" if task and task.queued.node else ""
        progress = f" epoch {status.epoch} of {status.epochs}" if status.epochs else ""
        attempts = f", attempt {status.attempts}" if status.attempts > 1 else ""
        restarts = f", requeued {task.queued.restarts}x" if task and task.queued.restarts else ""
        cause = f": {status.cause}" if status.cause else ""
        lines.append(f"  {status.cell.name}{progress}{where}{attempts}{restarts}{cause}")
    if len(statuses) > _SHOWN_CELLS:
        lines.append(f"  ... and {len(statuses) - _SHOWN_CELLS} more")
    return lines


def estimate(store: Store, snapshot: Snapshot) -> str:
    """When the sweep will be done, from the cells that are; empty if there is nothing to go by."""
    running = sum(1 for status in snapshot.statuses if status.state == RUNNING)
    if not running:
        return ""
    seconds = [_seconds(store, s.cell) for s in snapshot.statuses if s.state in FINAL][:200]
    known = [value for value in seconds if value is not None]
    if len(known) < 2:
        return ""
    left = sum(
        1 - (status.epoch / status.epochs if status.epochs else 0)
        for status in snapshot.statuses
        if status.state in (RUNNING, PENDING)
    )
    total = left * statistics.mean(known) / running
    spread = left**0.5 * statistics.stdev(known) / running
    return f"about {duration(total)} left (give or take {duration(2 * spread)}) at {running} at once"


def _seconds(store: Store, cell: Cell) -> float | None:
    result = store.result(cell)
    value = (result or {}).get("provenance", {}).get("seconds")
    return float(value) if isinstance(value, int | float) else None


def table(statuses: Sequence[CellStatus]) -> str:
    """Counts of states by the values of each factor, as a small table for terminals."""
    rows: dict[str, Counter[str]] = {}
    for position, (factor, _) in enumerate(statuses[0].cell.point if statuses else ()):
        values = list(dict.fromkeys(status.cell.point[position][1] for status in statuses))
        if len(values) <= _MOST_ROWS:
            rows |= {f"{factor} {value}": Counter() for value in values}
            for status in statuses:
                rows[f"{factor} {status.cell.point[position][1]}"][status.state] += 1
    present = [state for state in _ORDER if any(counts[state] for counts in rows.values())]
    width = max(map(len, rows), default=0)
    lines = [" " * width + "".join(f"  {state:>9}" for state in present)] if rows else []
    lines += [f"{row:<{width}}" + "".join(f"  {counts[s] or '.':>9}" for s in present) for row, counts in rows.items()]
    return "\n".join(lines)


# A factor of more values is no small table.
_MOST_ROWS = 16


_ORDER = ("COMPLETED", "DIVERGED", "RUNNING", "PENDING", "STARTED", "MISSING", "FAILED", "CONFLICT")
