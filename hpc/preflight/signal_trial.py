"""Whether the signal before a time limit reaches a task on a node: a real task is sent it, and has to save."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from hpc.checkout import PROJECT_ROOT
from hpc.planning.plan import make_plan
from hpc.preflight.finding import Finding, note, ok, problem
from hpc.preflight.job import poll_seconds
from hpc.processes import wait_until
from hpc.slurm.answers import QueuedTask
from hpc.slurm.commands import Slurm, SlurmError
from hpc.slurm.profile import Profile
from hpc.storage.revisions import write_sweep
from hpc.storage.store import Store
from hpc.submission.live import live_tasks, queues
from hpc.submission.lock import lock
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep
from hpc.sweep.grid import FIRST_SEED, Axis, Grid
from hpc.sweep.states import MISSING, CellStatus
from hpc.trainers.declaration import read_declaration
from hpc.units import duration

_TRAINER = "hpc.preflight.waiting:train"
_MINUTES = 10
# From the signal to a saved state, and from there to Slurm's answer: seconds on any site.
_PATIENCE_SECONDS = 60.0
# How long a cancelled task may be in the queue: twice Slurm's default KillWait of 30 s, with a margin.
_CANCEL_SECONDS = 75.0


def try_signal(directory: Path, profile: Profile, conf: Path | None, start_s: float, quick: bool) -> Finding:
    """Train on a node until the signal comes, as any task of the profile does. Nothing is left in the queue.

    start_s: seconds for which the task may wait in the queue. quick: the controller is a sandbox's.
    Raises SlurmError, OSError.
    """
    store = Store(directory / "signal")
    cell = _submit(store, profile, conf)
    slurm, pause = Slurm(conf), poll_seconds(quick)
    try:
        if not wait_until(lambda: _begun(store, cell), start_s, pause):
            return note("signal", f"not tried: a second job did not begin within {start_s:g} s", "try again later")
        found = live_tasks(store)
        if not found:  # somebody has cancelled it meanwhile
            return note("signal", "not tried: the second job ended before it could get a signal", "try again")
        task = found[0].queued
        starts = len(store.attempts(cell))
        slurm.signal(task, "USR2")
        began = time.monotonic()
        if not wait_until(lambda: _saved(store, cell), _PATIENCE_SECONDS, pause):
            text = f"a task on {task.node} got USR2 and saved nothing within {duration(_PATIENCE_SECONDS)}"
            return problem("signal", text, "look at setup and container in the profile: something ends or hides it")
        seconds = time.monotonic() - began
        text = f"a task on {task.node} that got USR2 saved within {duration(seconds)}"
        if not wait_until(lambda: _requeued(store, cell, task, starts), _PATIENCE_SECONDS, pause):
            fix = "use `holdfast submit --wait`, which submits such cells again"
            return note("signal", f"{text}, and was not requeued", fix)
        return ok("signal", f"{text} and was requeued")
    finally:
        wait_until(lambda: _gone(store, slurm), _CANCEL_SECONDS, pause)  # what is left may still write here


def _submit(store: Store, profile: Profile, conf: Path | None) -> Cell:
    from hpc.submission.arrays import submit  # loads submitit

    trainer = read_declaration(_TRAINER, [PROJECT_ROOT])
    grid = Grid((Axis("width", (1,)),), (FIRST_SEED,))
    keep = {"weights": "none", "checkpoints": True}
    analysis = {"primary_metrics": ["seconds"], "reference": None}
    sweep = write_sweep(store, Sweep("check", grid, trainer, {}, {}, "", analysis, 60.0, keep), {})
    limit = min(_MINUTES, int(profile.parameters.get("timeout_min", _MINUTES)))
    short = replace(profile, parameters={**profile.parameters, "timeout_min": limit})
    cell: Cell = grid[0]
    with lock(store, "holdfast check cluster") as held:
        seen = queues(store)
        submit(store, sweep, make_plan([CellStatus(cell, MISSING)]), short, held, seen, conf=conf)
    return cell


def _requeued(store: Store, cell: Cell, task: QueuedTask, starts: int) -> bool:
    """Whether a task has been queued again. starts: how often it had started before.

    In its second start it ends at once: a late look no longer finds it in the queue, but finds that start.
    """
    restarted = any(live.queued.restarts > task.restarts for live in queues(store).tasks)
    return restarted or len(store.attempts(cell)) > starts


def _gone(store: Store, slurm: Slurm) -> bool:
    """Cancel what is left in the queue. Returns whether nothing was: a cluster that does not answer may have tasks."""
    try:
        left = live_tasks(store)
        slurm.cancel(live.queued for live in left)
    except SlurmError:
        return False
    return not left


def _begun(store: Store, cell: Cell) -> bool:
    attempts = store.attempts(cell)
    pack = store.pack_of(cell, attempts[-1]) if attempts else None
    return pack is not None and cell.name in store.progress(pack)


def _saved(store: Store, cell: Cell) -> bool:
    packs = [store.pack_of(cell, attempt) for attempt in store.attempts(cell)]
    return any(pack is not None and store.paths.has_saved(pack) for pack in packs)
