"""holdfast compare: Compare two sweeps: paired differences, and what differs in configuration and code."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from hpc.cli import options
from hpc.cli.command import Command
from hpc.errors import ConfigError
from hpc.files import atomic
from hpc.storage.store import Store

EXAMPLES = ("compare out/baseline out/ours", "compare A B --on condition --metric loss --output a_b.html")


@click.command("compare", cls=Command, examples=EXAMPLES)
@options.argument("first", type=options.DIRECTORY, metavar="A", text="a sweep directory")
@options.argument("second", type=options.DIRECTORY, metavar="B", text="another; differences are B minus A")
@options.option(
    "--on",
    type=options.Word("seed", "condition"),
    default="seed",
    metavar="seed|condition",
    help="Pair the runs of one seed, or compare the means of conditions alone.",
)
@options.option(
    "--metric", "metrics", multiple=True, metavar="NAME", help="In place of the primary metrics; may be repeated."
)
@options.option(
    "--output",
    type=options.FILE,
    default="comparison.html",
    metavar="FILE",
    help="The page with table and figure (default: comparison.html).",
)
@options.as_json
def command(first: Path, second: Path, on: str, metrics: tuple[str, ...], output: Path, as_json: bool) -> int:
    """Compare two sweeps: differences in every condition that both have, and what differs in how they were made.

    Nothing was declared before the results could be seen, so the comparison describes and makes no claim.
    """
    from aggregate.analysis.study import study
    from aggregate.reading.sweep import read
    from aggregate.report.two_sweeps_page import SideBySide, lines, render
    from aggregate.report.two_sweeps_page import as_json as plain
    from aggregate.two_sweeps.differences import differences
    from aggregate.two_sweeps.pairs import pair

    a, b = first.absolute(), second.absolute()
    if a.resolve() == b.resolve():
        raise ConfigError([f"{first} and {second} are the same sweep"])
    names = _names(a, b)
    readings = read(Store(a)), read(Store(b))
    try:
        pairs = pair(study(readings[0]), study(readings[1]), names, on, metrics)
    except ConfigError as error:
        raise ConfigError([f"{first}, {second}: {fault}" for fault in error.faults]) from None
    made = SideBySide(readings, names, pairs, differences(*readings))
    if as_json:
        print(json.dumps(plain(made), indent=1))
        return 0
    atomic.publish(output.absolute(), render(made))
    for line in lines(made):
        print(line)
    print(f"page: {output}")
    return 0


def _names(a: Path, b: Path) -> tuple[str, str]:
    """What the two are called: the last part of their paths in which they differ."""
    common = Path(os.path.commonpath([a, b]))
    first, second = a.relative_to(common), b.relative_to(common)
    return (a.name, b.name) if a.name != b.name else (str(first), str(second))
