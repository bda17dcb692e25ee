"""One look at a sweep before a command acts: what is queued, where each cell stands, which nodes are bad.

A command takes it once and hands it down; one that acts in rounds takes a new one per round.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hpc.launch import bad_nodes
from hpc.launch.bad_nodes import BadNodes
from hpc.launch.remarks import say
from hpc.launch.request import Request
from hpc.storage import published
from hpc.submission import cancels
from hpc.submission.live import LiveTask, Queues, queues
from hpc.submission.replacement import give_up
from hpc.sweep.cell import Cell
from hpc.sweep.states import CONFLICT, FAILED, FINAL, MISSING, CellStatus


@dataclass(frozen=True)
class Look:
    """A sweep at the moment of a decision.

    queues: what the clusters have. statuses: the state of every cell of the grid, by the files. bad: nodes to exclude.
    since: number of the newest submission when the command began. cancelled: names of cells cancelled after it.
    """

    queues: Queues
    statuses: tuple[CellStatus, ...]
    bad: BadNodes = field(default_factory=BadNodes)
    since: int = 0
    cancelled: frozenset[str] = frozenset()

    @property
    def queued(self) -> set[str]:
        """Names of the cells that are queued, or may be on a cluster which cannot be asked."""
        return self.queues.cells

    @property
    def held(self) -> list[LiveTask]:
        """Tasks that Slurm holds for good."""
        return [task for task in self.queues.live if task.queued.held]

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


def take(request: Request, since: int | None = None) -> Look:
    """Look at a sweep that Slurm is to work on. since: see Look; None for now. Raises SweepError, OSError."""
    # Slurm first: a task that ends in between has its result by the time the files are read.
    seen = queues(request.store)
    statuses = _statuses(request)
    bad = bad_nodes.find(request.store, statuses) if request.store.exists() else BadNodes()
    since = seen.newest if since is None else since
    return Look(seen, statuses, bad, since, cancels.cells(cancels.after(request.store, since)))


def of_nothing(request: Request) -> Look:
    """Of a sweep that has no directory yet: nothing is queued and no cell has begun."""
    return Look(Queues(), tuple(CellStatus(cell, MISSING) for cell in request.sweep.grid))


def take_here(request: Request) -> Look:
    """Look at a sweep that this machine is to work on: a cluster that does not answer is reported and left out."""
    seen = queues(request.store)
    for cluster in seen.unasked:
        say(f"note: {cluster}; this is left out of account")
    return Look(seen.answered, _statuses(request))


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


def clear(request: Request, seen: Look) -> Look:
    """Cancel what is queued and will never train: tasks that Slurm holds, and those of replaced submissions.

    Slurm holds a task for good because a daemon died while it started it; releasing it may take an administrator,
    cancelling does not. Returns a new look if there was any. Raises SlurmError.
    """
    void = [task for task in seen.queues.tasks if task.void]
    left = cancels.take_out([*seen.held, *void])
    held_out, void_out = (sum(task not in left for task in tasks) for tasks in (seen.held, void))
    if held_out:
        say(f"{held_out} tasks that Slurm holds since a launch failed are cancelled; their cells are queued again")
    if void_out:
        say(f"{void_out} tasks that were queued late, when their cells were queued again already, are cancelled")
    if left:
        say(cancels.left_alone(left))
    return take(request, seen.since) if held_out or void_out else seen


def without_silent_clusters(request: Request, seen: Look, take_over: bool) -> Look:
    """Report the clusters that cannot be asked. What may be queued there counts as queued, unless it is taken over.

    take_over: give them up; what is queued there ends as soon as it starts. Raises OSError.
    """
    silent = seen.queues.unasked
    for cluster in silent:
        way_out = "submit from a machine of that cluster, or add --take-over if it is gone for good"
        say(f"note: {cluster}; " + ("they are taken over from it" if take_over else f"they count as queued: {way_out}"))
    if not (silent and take_over):
        return seen
    give_up(request.store, silent, "`holdfast submit --take-over`")
    return replace(seen, queues=replace(seen.queues, unasked=()))
