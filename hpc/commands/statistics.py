"""check stats: what the shipped intervals, bands and corrections are worth."""

from __future__ import annotations

import argparse

from hpc.commands import DONE, say
from hpc.store import Store

_LONG, _SHORT = 20_000, 1_000


def check_stats(arguments: argparse.Namespace) -> int:
    """Simulate and print the table; with a sweep directory on its own residuals too."""
    from aggregate.coverage import simulate, text
    from aggregate.populations import own, textbook
    from aggregate.reading import read
    from aggregate.study import study

    populations = list(textbook())
    if arguments.directory is not None:
        found = list(own(study(read(Store(arguments.directory.absolute())))))
        populations += found
        if not found:
            say(f"{arguments.directory}: too few seeds to fit data to; 20 residuals of a primary metric are needed")
    repeats = _SHORT if arguments.short else _LONG
    say(f"{repeats:,} simulated sweeps a row; +- is the standard error of the simulation, in points")
    for line in text(simulate(populations, repeats)):
        print(line, flush=True)
    return DONE
