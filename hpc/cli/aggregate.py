"""holdfast aggregate: Make tables, statistics, plots and the report from what has finished."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from hpc.cli import options
from hpc.cli.command import Command
from hpc.launch.remarks import say
from hpc.protocol import CommandExit
from hpc.storage.store import Store


@click.command("aggregate", cls=Command, examples=("aggregate out", "aggregate out --partial"))
@options.directory
@options.partial
@options.option(
    "--figure",
    "figures",
    multiple=True,
    metavar="F",
    help="Also draw a figure of your own: module:function or file.py:function.",
)
@options.trust
def command(directory: Path, partial: bool, figures: tuple[str, ...], trust: bool) -> int:
    """Make tables, statistics, plots and the report from what has finished.

    Exit code 4 if cells are missing, failed or in conflict; outputs say so either way.
    """
    return aggregate_and_print(Store(directory.absolute()), partial, figures, trust)


def aggregate_and_print(store: Store, partial: bool, figures: Sequence[str] = (), trust: bool = False) -> int:
    """Aggregate a sweep and print where everything is. Returns the exit code."""
    from aggregate.pipeline import aggregate

    outcome = aggregate(store.root, own=figures, trust=trust)
    for problem in outcome.problems:
        say(problem)
    counts = ", ".join(f"{number} {state}" for state, number in outcome.counts.items() if number)
    print(f"{counts}\nreport: {outcome.report}\nplots:  {outcome.plots}")
    return CommandExit.DONE if outcome.complete or partial else CommandExit.INCOMPLETE
