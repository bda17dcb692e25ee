"""What the functions for notebooks return: plain values and pandas tables."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from hpc.launch.look import Look
from hpc.launch.options import SubmitOptions
from hpc.launch.request import Request
from hpc.slurm.profile import Profile
from hpc.status import lines
from hpc.status.remaining import estimate
from hpc.status.sweep import Snapshot
from hpc.storage.store import Store
from hpc.sweep.states import CellStatus
from hpc.terminal import visible


@dataclass(frozen=True)
class Rounds:
    """What queueing a sweep again needs. before: the look at it before its tasks were queued."""

    request: Request
    options: SubmitOptions
    profile: Profile
    conf: Path | None
    before: Look


@dataclass(frozen=True)
class Submission(os.PathLike[str]):
    """A sweep that was submitted. It can be given wherever a directory can: ``load(submission)``.

    directory: the sweep's, absolute. profile: name of the cluster profile. jobs: ids of the Slurm arrays that this call
    queued; none if nothing was missing, or if the profile is ``local``.
    """

    directory: Path
    profile: str
    jobs: tuple[str, ...] = ()
    rounds: Rounds | None = field(default=None, repr=False, compare=False)

    def __fspath__(self) -> str:
        return str(self.directory)


@dataclass(frozen=True, eq=False, repr=False)
class SweepStatus:
    """A sweep at one moment. It prints as ``holdfast status`` does.

    directory: the sweep's, absolute. states: number of cells by state: COMPLETED, DIVERGED, FAILED, CONFLICT, RUNNING,
        PENDING, STARTED, MISSING.
    cells: one row per planned cell: ``cell``, the factors, ``seed``, ``state``, ``attempts``, ``epoch`` of ``epochs``
        (0 before the first has ended), ``node`` where it runs, and ``cause`` of a failure; both are "" otherwise. The
        names are those of the table of the same name that ``load`` returns.
    finished: whether nothing more will happen by itself. done: whether every cell has a result, and not all diverged.
    trouble: which clusters did not answer, and why, else ""; then RUNNING and PENDING are unknown there.
    """

    directory: Path
    states: dict[str, int]
    cells: pd.DataFrame
    finished: bool
    done: bool
    trouble: str
    text: str

    def __repr__(self) -> str:
        return self.text


def described(store: Store, seen: Snapshot) -> SweepStatus:
    """A snapshot as a notebook gets it."""
    return SweepStatus(
        directory=store.root,
        states=seen.counts,
        cells=_table(seen),
        finished=seen.finished and not seen.trouble,
        done=seen.done,
        trouble=seen.trouble,
        text=visible(lines.text(seen, estimate(store, seen))),
    )


def _table(seen: Snapshot) -> pd.DataFrame:
    axes = [seen.sweep.trainer.field_of(axis.name) for axis in seen.sweep.grid.axes]
    last = ("seed", "state", "attempts", "epoch", "epochs", "node", "cause")
    return pd.DataFrame(_rows(seen, axes), columns=["cell", *axes, *last])


def _rows(seen: Snapshot, axes: list[str]) -> Iterable[dict[str, Any]]:
    for status in seen.statuses:
        cell = status.cell
        factors = dict(zip(axes, (value for _, value in cell.point), strict=True))
        yield {"cell": cell.name, **factors, "seed": cell.seed, **_progress(status), "node": _node(seen, status)}


def _progress(status: CellStatus) -> dict[str, Any]:
    names = ("state", "attempts", "epoch", "epochs", "cause")
    return {name: getattr(status, name) for name in names}


def _node(seen: Snapshot, status: CellStatus) -> str:
    task = seen.live.get(status.cell.name)
    return task.queued.node if task else ""
