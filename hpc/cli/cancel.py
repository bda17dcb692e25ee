"""holdfast cancel: Cancel queued and running tasks. What they finished is kept."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from hpc.cli import options
from hpc.cli.command import Command
from hpc.errors import ConfigError
from hpc.launch.remarks import say
from hpc.protocol import CommandExit
from hpc.status import cell as one_cell
from hpc.storage.store import Store
from hpc.submission import cancels
from hpc.submission.live import queues
from hpc.submission.lock import CHECK, RUN, SUBMIT, SUBMIT_HERE, holder
from hpc.sweep.definition import Sweep

# What a cancellation means for a command that is at work.
_STOPS = "it starts none of these cells, and stops those that it trains within seconds"
_CONSEQUENCES = {
    RUN: _STOPS,
    SUBMIT_HERE: _STOPS,
    SUBMIT: "it queues none of these cells any more",
    CHECK: "it queues these cells again until it has made its certificate; end it, too",
}


@dataclass(frozen=True)
class Filter:
    """Which cells, by their factors' values and their name; everything where nothing is given."""

    dim: str | None = None
    scale: str | None = None
    axis: tuple[str, ...] = ()
    cell: str | None = None

    def names(self, sweep: Sweep) -> set[str]:
        """Names of the cells that match. Raises ConfigError for a factor that the sweep does not have."""
        wanted = {name: value for name, value in (("dim", self.dim), ("scale", self.scale)) if value is not None}
        wanted |= dict(entry.split("=", 1) for entry in self.axis)
        factors = sorted(axis.name for axis in sweep.grid.axes)
        for name in wanted:
            if name not in factors:
                raise ConfigError([f"command line: no factor is called {name!r}; valid: {', '.join(factors)}"])
        return {
            cell.name
            for cell in sweep.grid
            if self.cell in (None, cell.name)
            and all(_equal(cell.factors[name], value) for name, value in wanted.items())
        }


@click.command("cancel", cls=Command, examples=("cancel out --dim 8 --state PENDING",))
@options.handed_over("filtered", Filter)
@options.directory
@options.option("--dim", metavar="8", help="Only cells of this dimension.")
@options.option("--scale", metavar="0.1", help="Only cells of this scale.")
@options.option(
    "--axis",
    type=options.SETTING,
    multiple=True,
    metavar="NAME=VALUE",
    help="Only cells with this value.",
)
@options.option(
    "--state",
    type=options.Word("PENDING", "RUNNING"),
    metavar="STATE",
    help="Only tasks in this state: PENDING or RUNNING.",
)
@options.option("--cell", type=options.CELL, metavar="NAME", help="Only this cell.")
@options.flag("-y", "--yes", help="Do not ask.")
def command(directory: Path, filtered: Filter, state: str | None, yes: bool) -> int:
    """Cancel queued and running tasks of this sweep. What they finished is kept.

    A task is cancelled with all its cells. A `submit --wait` that is at work does not queue them again, and a `run`
    saves and stops them; a new submission resumes them.

    Exit code 2 if it is not confirmed, 3 if a cluster that may have tasks of the sweep cannot be asked.
    """
    store = Store(directory.absolute())
    sweep = store.sweep()
    if filtered.cell is not None:
        one_cell.find_cell(sweep, store, filtered.cell)
    names = filtered.names(sweep)
    seen = queues(store)
    for root in seen.elsewhere:
        say(f"note: this is a copy of {root}, whose tasks are left alone; cancel them there")
    chosen = [task for task in seen.tasks if state in (None, task.queued.phase) and names.intersection(task.cells)]
    cells = {name for task in chosen for name in task.cells}
    if chosen and not _confirmed(f"cancel {len(chosen)} tasks with {len(cells)} cells? ", yes):
        return CommandExit.CONFIGURATION
    # Without a state also those in no queue now: a submission that waits would queue them again.
    taken = cancels.cancel(store, cells if state else cells | names)
    if taken:
        say(f"cancelled {taken} tasks; what they had finished is kept, and submitting again resumes the rest")
    else:
        say("no queued task of this sweep matches; a `submit --wait` at work will not queue any either")
    if other := holder(store):
        say(f"{other}: {_CONSEQUENCES.get(other.command, 'it may train these cells; end it, too')}")
    for cluster in seen.unasked:
        say(f"{cluster}: tasks that wait there end when they start, those that run train on; cancel there, too")
    return CommandExit.TROUBLE if seen.unasked else CommandExit.DONE


def _equal(value: object, text: str) -> bool:
    try:
        return value == text or (isinstance(value, int | float) and float(text) == value)
    except ValueError:
        return False


def _confirmed(question: str, yes: bool) -> bool:
    if yes:
        return True
    if not sys.stdin.isatty():
        say(f"{question}add -y to confirm")
        return False
    with contextlib.suppress(EOFError):  # Ctrl-D is no answer
        if input(f"{question}[y/N] ").strip().lower() in ("y", "yes"):
            return True
    say("nothing cancelled")
    return False
