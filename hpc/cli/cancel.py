"""holdfast cancel: Cancel queued and running tasks. What they finished is kept."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import click

from hpc.cli import options
from hpc.cli.command import Command
from hpc.cli.filters import Filter, confirmed, which_cells
from hpc.launch.remarks import say
from hpc.protocol import CommandExit
from hpc.storage.store import Store
from hpc.submission import cancels
from hpc.submission.live import queues
from hpc.submission.lock import CHECK, RUN, SUBMIT, SUBMIT_HERE, holder
from hpc.units import counted

# What a cancellation means for a command that is at work.
_STOPS = "it starts none of these cells, and stops those that it trains within seconds"
_CONSEQUENCES = {
    RUN: _STOPS,
    SUBMIT_HERE: _STOPS,
    SUBMIT: "it queues none of these cells any more",
    CHECK: "it queues these cells again until it has made its certificate; end it, too",
}
_END_IT = "it may train these cells; end it, too"
_NONE_LATER = "; a `submit --wait` at work will not queue any either"


@click.command("cancel", cls=Command, examples=("cancel out --dim 8 --state PENDING",))
@options.directory
@which_cells
@options.option(
    "--state",
    type=options.Word("PENDING", "RUNNING"),
    metavar="STATE",
    help="Only tasks in this state: PENDING or RUNNING.",
)
def command(directory: Path, filtered: Filter, state: str | None, yes: bool) -> int:
    """Cancel queued and running tasks of this sweep. What they finished is kept.

    A task is cancelled with all its cells. A `submit --wait` that is at work does not queue them again, and a `run`
    saves and stops them; a new submission resumes them.

    Exit code 2 if it is not confirmed, 3 if a cluster that may have tasks of the sweep cannot be asked, or if the
    cancellation could not be recorded.
    """
    store = Store(directory.absolute())
    names = {cell.name for cell in filtered.cells(store.sweep(), store)}
    seen = queues(store)
    for root in seen.elsewhere:
        say(f"note: this is a copy of {root}, whose tasks are left alone; cancel them there")
    chosen = [task for task in seen.tasks if state in (None, task.queued.phase) and names.intersection(task.cells)]
    cells = {name for task in chosen for name in task.cells}
    question = f"cancel {counted(len(chosen), 'task')} with {counted(len(cells), 'cell')}{_beside(cells - names)}?"
    if chosen and not confirmed(question, yes, "nothing cancelled"):
        return CommandExit.CONFIGURATION
    # Without a state also those in no queue now: a submission that waits would queue them again.
    done = cancels.cancel(store, cells if state else cells | names)
    if done.taken:
        kept = "what they had finished is kept, and submitting again resumes the rest"
        say(f"cancelled {counted(done.taken, 'task')}; {kept}")
    else:
        say(f"no queued task of this sweep matches{'' if done.unrecorded else _NONE_LATER}")
    if done.left:
        say(cancels.left_alone(done.left))
    if done.unrecorded:
        say(f"not recorded: {done.unrecorded}; a `submit --wait` or `run` at work may queue or train these cells again")
    if other := holder(store):
        say(f"{other}: {_END_IT if done.unrecorded else _CONSEQUENCES.get(other.command, _END_IT)}")
    for cluster in seen.unasked:
        say(f"{cluster}: tasks that wait there end when they start, those that run train on; cancel there, too")
    return CommandExit.TROUBLE if seen.unasked or done.unrecorded else CommandExit.DONE


def _beside(cells: Collection[str]) -> str:
    """What a question says of cells that do not match, and whose task has others that do."""
    does, shares = ("does", "shares") if len(cells) == 1 else ("do", "share")
    return f" ({len(cells)} of them {does} not match, and {shares} a task with one that does)" if cells else ""
