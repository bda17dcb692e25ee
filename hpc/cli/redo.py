"""holdfast redo: Set finished results aside, so that their cells are trained again. The old results are kept."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path

import click

from hpc.cli import options
from hpc.cli.command import Command
from hpc.cli.filters import Filter, confirmed, which_cells
from hpc.errors import ConfigError
from hpc.launch import local, slurm
from hpc.launch.options import SubmitOptions
from hpc.launch.remarks import say
from hpc.launch.request import SweepOptions, resolve
from hpc.launch.trust import confirm
from hpc.protocol import CommandExit
from hpc.slurm.profile_file import load_profile
from hpc.storage.permissions import check_writable
from hpc.storage.store import Store
from hpc.submission import redo
from hpc.submission.lock import lock
from hpc.sweep.cell import Cell
from hpc.sweep.states import COMPLETED, DIVERGED, FAILED, FINAL
from hpc.units import counted

EXAMPLES = (
    "redo out --cell dim_8_scale_1.0_run_0 --profile lab",
    "redo out --state DIVERGED",
)


@click.command("redo", cls=Command, examples=EXAMPLES)
@options.directory
@which_cells
@options.option(
    "--state",
    type=options.Word(COMPLETED, DIVERGED, FAILED),
    metavar="STATE",
    help="Only cells in this state: COMPLETED or DIVERGED.",
)
@options.option("--profile", type=options.PROFILE, metavar="P", help=f"Then submit: {options.PROFILE_HELP}")
@options.settings
@options.flag("--allow-code-change", help="With --profile: even if the trainer's code has changed.")
@options.trust
def command(
    directory: Path,
    filtered: Filter,
    state: str | None,
    yes: bool,
    profile: str | None,
    settings: tuple[str, ...],
    allow_code_change: bool,
    trust: bool,
) -> int:
    """Set finished results aside, so that their cells are trained again. The old results are kept.

    The next `run` or `submit` trains these cells from the start; --profile submits at once.
    `show` lists earlier results, and the report says which cells were redone.

    Exit code 2 if it is not confirmed, 3 if a task that is queued or running has one of the cells.
    """
    store = Store(directory.absolute())
    chosen = _chosen(store, filtered, state)
    if not chosen:
        say("no finished cell matches; nothing is set aside")
        return CommandExit.DONE
    check_writable(store.root)
    cluster = load_profile(profile, settings) if profile else None
    request = confirm(resolve(SweepOptions(directory)), trust) if cluster else None
    question = f"set the results of {counted(len(chosen), 'finished cell')} aside, to train again?"
    if not confirmed(question, yes, "nothing is set aside"):
        return CommandExit.CONFIGURATION
    with lock(store, "holdfast redo") as held:
        number = redo.set_aside(store, chosen, held)
    say(f"{counted(len(chosen), 'result')} set aside by redo {number}, as results.json.redone-* beside where they were")
    if cluster is None or request is None:
        here = shlex.quote(str(directory))
        say(f"`holdfast run {here}` trains these cells here, `holdfast submit {here} --profile P` on Slurm")
        return CommandExit.DONE
    wanted = SubmitOptions(allow_code_change=allow_code_change)
    return local.submit(request, wanted) if cluster.is_local else slurm.submit(request, wanted, cluster)


def _chosen(store: Store, filtered: Filter, state: str | None) -> list[Cell]:
    """The finished cells that match. Raises ConfigError if nothing was asked for, or something that is not finished."""
    if state == FAILED:
        again = f"holdfast submit {shlex.quote(str(store.root))} --profile P --include-failed"
        way_out = f"`{again}` runs failed cells again"
        raise ConfigError([f"command line: --state is FAILED: there is no result to set aside; {way_out}"])
    if state is None and filtered == Filter():
        raise ConfigError(["command line: no cell is named; add --cell NAME, --state DIVERGED or another filter"])
    sweep = store.sweep()
    statuses = list(store.statuses(filtered.cells(sweep, store), sweep))
    open_ones = [f"{status.cell.name} is {status.state}" for status in statuses if status.state not in FINAL]
    if filtered.cell and open_ones:
        raise ConfigError([f"command line: --cell: {open_ones[0]}, so there is no result of it to set aside"])
    chosen = [status.cell for status in statuses if status.state in ((state,) if state else FINAL)]
    skipped = Counter(status.state for status in statuses if status.state not in FINAL)
    if skipped and chosen:
        say("left alone: " + ", ".join(f"{count} {name}" for name, count in skipped.items()))
    return chosen
