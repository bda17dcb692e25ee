"""One look at a sweep before a command acts: what is queued, where each cell stands, which nodes are bad.

A command takes it once and hands it down; one that acts in rounds takes a new one per round.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from hpc.launch import bad_nodes
from hpc.launch.bad_nodes import BadNodes
from hpc.launch.remarks import say
from hpc.launch.request import Request
from hpc.node.giving_up import got_further
from hpc.slurm.commands import Slurm
from hpc.storage import published
from hpc.storage.store import Store
from hpc.submission import cancels
from hpc.submission.live import LiveTask, Queues, live_cells, queues, submitted_elsewhere
from hpc.submission.lock import Held
from hpc.submission.replacement import give_up
from hpc.sweep.cell import Cell
from hpc.sweep.states import CONFLICT, FAILED, FINAL, MISSING, CellStatus


class Reached(NamedTuple):
    """How far a sweep has got: cells that have ended, epochs of all cells, pack attempts that saved something new."""

    ended: int
    epochs: int
    saved: frozenset[int]


@dataclass(frozen=True)
class Look:
    """A sweep at the moment of a decision.

    queues: what the clusters have. statuses: the state of every cell of the grid, by the files. bad: nodes to exclude.
    since: number of the newest submission when the command began. cancelled: names of cells cancelled after it.
    stopping: names of cells that were cancelled and whose tasks have not ended yet.
    further: pack attempts that saved something new. untried: failed cells that the command was to run again, and that
    nothing has tried since.
    """

    queues: Queues
    statuses: tuple[CellStatus, ...]
    bad: BadNodes = field(default_factory=BadNodes)
    since: int = 0
    cancelled: frozenset[str] = frozenset()
    stopping: frozenset[str] = frozenset()
    further: frozenset[int] = frozenset()
    untried: frozenset[Cell] = frozenset()

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
    def mark(self) -> Reached:
        """More of something whenever a cell ends, gets an epoch further or, within an epoch, saves something new."""
        ended = sum(status.state in (*FINAL, FAILED) for status in self.statuses)
        return Reached(ended, sum(status.epoch for status in self.statuses), self.further)

    @property
    def failed(self) -> dict[Cell, int]:
        """How many attempts every failed cell has had."""
        return {status.cell: status.attempts for status in self.statuses if status.state == FAILED}

    def with_untried(self, failed: Mapping[Cell, int]) -> Look:
        """The same, where these failed cells, which have had so many attempts, were to be run again."""
        return replace(self, untried=frozenset(cell for cell, had in self.failed.items() if failed.get(cell) == had))


def take(request: Request, since: int | None = None, conf: Path | None = None) -> Look:
    """Look at a sweep that a cluster is to work on. since: see Look; None for now. conf: the cluster's slurm.conf.

    Raises SweepError, SlurmError, OSError.
    """
    seen = take_here(request, since)
    bad = _bad_nodes(request.store, seen.statuses, conf) if request.store.exists() else BadNodes()
    return replace(seen, bad=bad, further=got_further(request.store))


def _stopping(request: Request, seen: Queues) -> frozenset[str]:
    live = live_cells(seen.live)
    return frozenset(live.keys() & cancels.standing(request.store).keys()) if live else frozenset()


def _bad_nodes(store: Store, statuses: Iterable[CellStatus], conf: Path | None) -> BadNodes:
    """Those of the cluster that is submitted to: it refuses to exclude a node that it does not have."""
    found = bad_nodes.find(store, statuses, lambda: submitted_elsewhere(store, conf))
    return found.among({node.name for node in Slurm(conf).nodes()}) if found.nodes else found


def of_nothing(request: Request) -> Look:
    """Of a sweep that has no directory yet: nothing is queued and no cell has begun."""
    return Look(Queues(), tuple(CellStatus(cell, MISSING) for cell in request.sweep.grid))


def take_here(request: Request, since: int | None = None) -> Look:
    """Look at a sweep that this machine is to work on. since: see Look; None for now. Raises SweepError, OSError."""
    # Slurm first: a task that ends in between has its result by the time the files are read.
    seen = queues(request.store)
    statuses = tuple(request.store.statuses(request.sweep.grid, request.sweep))
    since = seen.newest if since is None else since
    cancelled = cancels.cells(cancels.after(request.store, since))
    return Look(seen, statuses, since=since, cancelled=cancelled, stopping=_stopping(request, seen))


def set_damaged_aside(request: Request, seen: Look) -> Look:
    """Quarantine results that cannot be read, and report them: their cells are trained again. Returns the new look."""
    damaged = []
    for status in seen.statuses:
        if status.state == CONFLICT and (damage := published.set_damaged_aside(request.store.paths, status.cell)):
            say(f"{damage.partition(';')[0]}; it is set aside and the cell trained again")
            damaged.append(status.cell)
    if not damaged:
        return seen
    now = {status.cell: status for status in request.store.statuses(damaged, request.sweep)}
    return replace(seen, statuses=tuple(now.get(status.cell, status) for status in seen.statuses))


def clear(request: Request, seen: Look, conf: Path | None) -> Look:
    """Cancel what is queued and will never train: tasks that Slurm holds, and those of replaced submissions.

    Slurm holds a task for good because a daemon died while it started it; releasing it may take an administrator,
    cancelling does not. Returns a new look if there was any, with what is still untried. Raises SlurmError.
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
    if not (held_out or void_out):
        return seen
    return take(request, seen.since, conf).with_untried({cell: seen.failed[cell] for cell in seen.untried})


def without_silent_clusters(request: Request, seen: Look, held: Held, take_over: bool) -> Look:
    """Report the clusters that cannot be asked. What may be queued there counts as queued, unless it is taken over.

    take_over: give them up; what is queued there ends as soon as it starts. Where the same word has just taken the lock
    from a command that may live, it was about that one, and it takes another one to give up clusters as well.
    Raises BusyError if the lock has been taken over, OSError.
    """
    if not (take_over and seen.queues.unasked):
        say_of_silent_clusters(seen)
    elif held.forced:
        say_of_silent_clusters(seen, "this --take-over took the lock alone; repeat it if the cluster is gone, too")
    else:
        held.check()  # whoever took the lock over may have heard the cluster by now
        for cluster in seen.queues.unasked:
            say(f"note: {cluster}; they are taken over from it")
        give_up(request.store, seen.queues.unasked, f"`{held.command} --take-over`")
        return replace(seen, queues=replace(seen.queues, unasked=()))
    return seen


_ASK_ELSEWHERE = "work from where it can be asked, or add --take-over if the cluster is gone for good"


def say_of_silent_clusters(seen: Look, way_out: str = _ASK_ELSEWHERE) -> None:
    """Report the clusters that cannot be asked, whose cells count as queued."""
    for cluster in seen.queues.unasked:
        say(f"note: {cluster}; they count as queued: {way_out}")
