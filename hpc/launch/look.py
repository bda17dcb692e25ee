"""One look at a sweep before a command acts: what Slurm has, where each cell stands, which nodes are bad.

A command takes it once and hands it down; one that acts in rounds takes a new one per round.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hpc.launch import bad_nodes
from hpc.launch.bad_nodes import BadNodes
from hpc.launch.remarks import say
from hpc.launch.request import Request
from hpc.slurm.commands import Slurm, SlurmError
from hpc.storage import published
from hpc.submission.live import LiveTask, by_cluster, live_cells, live_tasks
from hpc.sweep.cell import Cell
from hpc.sweep.states import CONFLICT, FAILED, FINAL, CellStatus


@dataclass(frozen=True)
class Look:
    """A sweep at the moment of a decision.

    live: tasks that Slurm has. statuses: the state of every cell of the grid, by the files. bad: nodes to exclude.
    """

    live: tuple[LiveTask, ...]
    statuses: tuple[CellStatus, ...]
    bad: BadNodes = field(default_factory=BadNodes)

    @property
    def queued(self) -> dict[str, LiveTask]:
        """The live task of each cell that has one, by the cell's name."""
        return live_cells(self.live)

    @property
    def held(self) -> tuple[LiveTask, ...]:
        """Tasks that Slurm holds for good."""
        return tuple(task for task in self.live if task.queued.held)

    def at(self, cell: Cell) -> Look:
        """The same with one cell alone."""
        return replace(self, statuses=tuple(status for status in self.statuses if status.cell == cell))

    @property
    def unfinished(self) -> int:
        """Cells without a result."""
        return sum(status.state not in FINAL for status in self.statuses)

    @property
    def mark(self) -> tuple[int, int]:
        """Grows whenever a cell ends or gets an epoch further."""
        ended = sum(status.state in (*FINAL, FAILED) for status in self.statuses)
        return ended, sum(status.epoch for status in self.statuses)


def take(request: Request) -> Look:
    """Look at a sweep that Slurm is to work on. Raises SlurmError if a cluster cannot be asked."""
    # Slurm first: a task that ends in between has its result by the time the files are read.
    live = tuple(live_tasks(request.store))
    statuses = _statuses(request)
    bad = bad_nodes.find(request.store, statuses) if request.store.exists() else BadNodes()
    return Look(live, statuses, bad)


def take_here(request: Request) -> Look:
    """Look at a sweep that this machine is to work on: a cluster that does not answer is reported and left out."""
    live: tuple[LiveTask, ...] = ()
    try:
        live = tuple(live_tasks(request.store))
    except SlurmError as error:
        say(f"note: Slurm cannot be asked which cells are queued ({error})")
    return Look(live, _statuses(request))


def _statuses(request: Request) -> tuple[CellStatus, ...]:
    return tuple(request.store.statuses(request.sweep.grid, request.sweep.config_digest))


def set_damaged_aside(request: Request, seen: Look) -> Look:
    """Quarantine results that cannot be read, and report them: their cells are trained again. Returns the new look."""
    damaged = []
    for status in seen.statuses:
        if status.state == CONFLICT and (damage := published.set_damaged_aside(request.store.paths, status.cell)):
            say(f"{damage.partition(';')[0]}; it is set aside and the cell trained again")
            damaged.append(status.cell)
    if not damaged:
        return seen
    now = {status.cell: status for status in request.store.statuses(damaged, request.sweep.config_digest)}
    return replace(seen, statuses=tuple(now.get(status.cell, status) for status in seen.statuses))


def cancel_held(request: Request, seen: Look) -> Look:
    """Cancel tasks that Slurm holds for good because a daemon died while it started them; their cells are free again.

    Releasing them may take an operator, cancelling does not. Returns the look without them. Raises SlurmError.
    """
    held = seen.held
    for conf, tasks in by_cluster(request.store, held).items():
        Slurm(conf).cancel([task.queued for task in tasks])
    if held:
        say(f"{len(held)} tasks that Slurm holds since a launch failed are cancelled; their cells are queued again")
    return replace(seen, live=tuple(task for task in seen.live if task not in held))
