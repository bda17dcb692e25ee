"""holdfast aggregate: Make tables, statistics, plots and the report from what has finished."""

from __future__ import annotations

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
def command(directory: Path, partial: bool) -> int:
    """Make tables, statistics, plots and the report from what has finished.

    Exit code 4 if cells are missing, failed or in conflict; outputs say so either way.
    """
    return aggregate_and_print(Store(directory.absolute()), partial)


def aggregate_and_print(store: Store, partial: bool) -> int:
    """Aggregate a sweep and print where everything is. Returns the exit code."""
    from aggregate.pipeline import aggregate

    outcome = aggregate(store.root)
    for problem in outcome.problems:
        say(problem)
    counts = ", ".join(f"{number} {state}" for state, number in outcome.counts.items() if number)
    print(f"{counts}\nreport: {outcome.report}\nplots:  {outcome.plots}")
    return CommandExit.DONE if outcome.complete or partial else CommandExit.INCOMPLETE
