"""holdfast aggregate: Make tables, statistics, plots and the report from what has finished."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from functools import partial as partial_of
from pathlib import Path
from typing import Any

import click

from hpc.cli import options
from hpc.cli.command import Command
from hpc.cli.notify import notified, notify
from hpc.errors import ConfigError
from hpc.launch.remarks import say
from hpc.launch.watching import rebuild
from hpc.protocol import CommandExit
from hpc.storage.store import Store
from hpc.sweep.states import is_done

EXAMPLES = (
    "aggregate out",
    "aggregate out --partial",
    "aggregate out --formats pdf --tables latex --figure mine.py:plot",
)


_OTHER_NAMES = {"tex": "latex", "md": "markdown"}


def _among(kind: str, *valid: str) -> options.ReadValue:
    """Words with commas, of these."""

    def read(text: str) -> tuple[str, ...]:
        given = (word.strip().lower() for word in text.split(",") if word.strip())
        words = tuple(dict.fromkeys(_OTHER_NAMES.get(word, word) for word in given))
        if unknown := [word for word in words if word not in valid]:
            raise ValueError(f"{unknown[0]!r} is no {kind}; valid: {', '.join(valid)}")
        return words

    return options.ReadValue(read)


FORMATS = _among("format", "png", "pdf", "svg")
PAPER = 252.0  # points: a column of most journals in two columns


def _style(text: str) -> float | None:
    """Points of a column, or None for a screen."""
    name, _, width = text.partition(":")
    if name == "screen" and not width:
        return None
    points = float(width or PAPER) if name == "paper" and re.fullmatch(r"[0-9]*\.?[0-9]*", width) else 0.0
    if not 150 <= points <= 900:
        raise ValueError("")
    return points


STYLE = options.ReadValue(_style, "write screen, paper or paper:WIDTH, a width of 150 to 900 points")
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
    "--style",
    "column",
    type=STYLE,
    default="screen",
    metavar="paper[:WIDTH]",
    help="Draw the files in plots/ as wide as a column of a paper: 252 points, or WIDTH.",
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
@options.flag("--watch", "watched", help="Aggregate again as cells end, until nothing more will happen.")
@notify
@options.trust
def command(
    directory: Path,
    partial: bool,
    watched: bool,
    figures: tuple[str, ...],
    formats: tuple[str, ...],
    column: float | None,
    tables: tuple[str, ...],
    labels: tuple[str, ...],
    notify: tuple[str, ...] | None,
    trust: bool,
) -> int:
    """Make tables, statistics, plots and the report from what has finished.

    --figure, --formats, --style and --label hold for this call; `analysis.figures`, `formats` and `labels` of the
    configuration last, from the next `run` or `submit --config` on. What is tested was fixed before the first job.

    Exit code 4 if cells are missing, failed or in conflict, or if all diverged; outputs say so either way.
    """
    if notify and not watched:
        raise ConfigError(["command line: --notify tells how the watching ended, and nothing waits here; add --watch"])
    figures = _found(figures)
    named = dict(entry.split("=", 1) for entry in labels)
    shown: dict[str, Any] = {"formats": formats, "column": column, "labels": named, "tables": tables}
    store = Store(directory.absolute())
    make = partial_of(aggregate_and_print, store, partial, figures, trust=trust, **shown)
    return notified(notify, store, lambda: rebuild(store, make)) if watched else make()


def _found(figures: Sequence[str]) -> tuple[str, ...]:
    """Figures of the command line, before a long aggregation. Raises ConfigError for what cannot be one."""
    from hpc.config.analysis_section import figure_target
    from hpc.faults import Faults

    faults = Faults("command line")
    found = tuple(figure_target("--figure", target, [Path.cwd()], faults) for target in figures)
    faults.stop()
    return found


def aggregate_and_print(store: Store, partial: bool, figures: Sequence[str] = (), **more: Any) -> int:
    """Aggregate a sweep and print where everything is. more: as aggregate() takes it. Returns the exit code."""
    from aggregate.pipeline import aggregate

    try:
        outcome = aggregate(store.root, own=figures, **more)
    except PermissionError as error:
        if os.access(store.root, os.W_OK):
            raise
        copied = f"cp -r {shlex.quote(str(store.root))} MINE, then holdfast aggregate MINE"
        reason = f"{error.strerror}, and aggregate writes beside the results; of a sweep that is not yours: {copied}"
        raise PermissionError(error.errno, reason, error.filename) from None
    for problem in outcome.problems:
        say(problem)
    counts = ", ".join(f"{number} {state}" for state, number in outcome.counts.items() if number)
    print(f"{counts}\nreport: {outcome.report}\nplots:  {outcome.plots}")
    done = is_done(state for state, number in outcome.counts.items() if number)
    return CommandExit.DONE if done or partial else CommandExit.INCOMPLETE
