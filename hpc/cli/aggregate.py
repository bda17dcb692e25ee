"""holdfast aggregate: Make tables, statistics, plots and the report from what has finished."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from hpc.cli import options
from hpc.cli.command import Command
from hpc.launch.remarks import say
from hpc.protocol import CommandExit
from hpc.storage.store import Store

EXAMPLES = (
    "aggregate out",
    "aggregate out --partial",
    "aggregate out --formats pdf --tables latex --figure mine.py:plot",
)


def _among(kind: str, *valid: str) -> options.ReadValue:
    """Words with commas, of these."""

    def read(text: str) -> tuple[str, ...]:
        words = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
        if unknown := [word for word in words if word not in valid]:
            raise ValueError(f"{unknown[0]!r} is no {kind}; valid: {', '.join(valid)}")
        return words

    return options.ReadValue(read)


FORMATS = _among("format", "png", "pdf", "svg")
TABLES = _among("kind of table", "csv", "latex", "markdown")


@click.command("aggregate", cls=Command, examples=EXAMPLES)
@options.directory
@options.partial
@options.option(
    "--figure",
    "figures",
    multiple=True,
    metavar="F",
    help="Also draw a figure of your own: module:function or file.py:function.",
)
@options.option(
    "--formats", type=FORMATS, default="", metavar="png,pdf", help="Formats of figures: png (always), pdf, svg."
)
@options.option(
    "--tables",
    type=TABLES,
    default="",
    metavar="csv,latex,markdown",
    help="Also write tables for a paper: mean and interval of the primary metrics, in tables/.",
)
@options.option(
    "--label", "labels", type=options.SETTING, multiple=True, metavar="NAME=TEXT", help="What figures call NAME."
)
@options.trust
def command(
    directory: Path,
    partial: bool,
    figures: tuple[str, ...],
    formats: tuple[str, ...],
    tables: tuple[str, ...],
    labels: tuple[str, ...],
    trust: bool,
) -> int:
    """Make tables, statistics, plots and the report from what has finished.

    --figure, --formats and --label hold for this call; `analysis.figures`, `formats` and `labels` in the configuration
    last. What is tested was fixed before the first job.

    Exit code 4 if cells are missing, failed or in conflict; outputs say so either way.
    """
    named = dict(entry.split("=", 1) for entry in labels)
    return aggregate_and_print(
        Store(directory.absolute()), partial, figures, trust=trust, formats=formats, labels=named, tables=tables
    )


def aggregate_and_print(store: Store, partial: bool, figures: Sequence[str] = (), **more: Any) -> int:
    """Aggregate a sweep and print where everything is. more: as aggregate() takes it. Returns the exit code."""
    from aggregate.pipeline import aggregate

    outcome = aggregate(store.root, own=figures, **more)
    for problem in outcome.problems:
        say(problem)
    counts = ", ".join(f"{number} {state}" for state, number in outcome.counts.items() if number)
    print(f"{counts}\nreport: {outcome.report}\nplots:  {outcome.plots}")
    return CommandExit.DONE if outcome.complete or partial else CommandExit.INCOMPLETE
