"""check stats: what the shipped intervals, bands and corrections are worth."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING

from hpc.launch.remarks import say
from hpc.protocol import CommandExit
from hpc.storage.store import Store

if TYPE_CHECKING:
    from aggregate.coverage.simulation import Row

_LONG, _SHORT = 20_000, 1_000


def check_stats(arguments: argparse.Namespace) -> int:
    """Simulate and print the table and its verdict; with a sweep directory on its own residuals too."""
    from aggregate.analysis.study import study
    from aggregate.coverage.populations import own, textbook
    from aggregate.coverage.shortfall import verdict
    from aggregate.coverage.simulation import simulate, text
    from aggregate.reading.sweep import read

    populations = list(textbook())
    if arguments.directory is not None:
        found = list(own(study(read(Store(arguments.directory.absolute())))))
        populations += found
        if not found:
            say(f"{arguments.directory}: too few seeds to fit data to; 20 residuals of a primary metric are needed")
    repeats = _SHORT if arguments.short else _LONG
    say(f"{repeats:,} simulated sweeps a row; +- is the standard error of the simulation, in points")
    rows: list[Row] = []
    for line in text(_kept(simulate(populations, repeats), rows)):
        print(line, flush=True)
    print(f"\n{verdict(rows)}")
    return CommandExit.DONE


def _kept(rows: Iterable[Row], kept: list[Row]) -> Iterable[Row]:
    """The rows as they come, each also put aside for the verdict."""
    for row in rows:
        kept.append(row)
        yield row
