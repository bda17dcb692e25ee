"""check stats: what the shipped intervals, bands and corrections are worth."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING

from hpc.commands import DONE, say
from hpc.storage.store import Store

if TYPE_CHECKING:
    from aggregate.coverage import Row

_LONG, _SHORT = 20_000, 1_000
# A shortfall of so many standard errors is none of the simulation: one of 130 rows in 30 runs would show it by chance.
_SURE = 3.5


def check_stats(arguments: argparse.Namespace) -> int:
    """Simulate and print the table and its verdict; with a sweep directory on its own residuals too."""
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
    rows: list[Row] = []
    for line in text(_kept(simulate(populations, repeats), rows)):
        print(line, flush=True)
    print(f"\n{verdict(rows)}")
    return DONE


def _kept(rows: Iterable[Row], kept: list[Row]) -> Iterable[Row]:
    """The rows as they come, each also put aside for the verdict."""
    for row in rows:
        kept.append(row)
        yield row


def verdict(rows: Iterable[Row]) -> str:
    """One line for people: what does not keep its promise, where it is worst, and that the rest does."""
    worst: dict[str, Row] = {}
    for row in rows:
        if _shortfall(row) > _SURE * row.error and _shortfall(row) > _shortfall(worst.get(row.what)):
            worst[row.what] = row
    if not worst:
        return f"verdict: everything keeps its promise, within {_SURE:g} standard errors of the simulation"
    told = "; ".join(_told(row) for row in sorted(worst.values(), key=_shortfall, reverse=True))
    return f"verdict: not as promised, at worst: {told}. All else keeps its promise (within {_SURE:g} standard errors)."


def _shortfall(row: Row | None) -> float:
    """By how much it covers less, or errs more, than it promises."""
    if row is None:
        return 0.0
    return row.share - row.nominal if _is_error(row) else row.nominal - row.share


def _is_error(row: Row) -> bool:
    return row.nominal < 0.5


def _told(row: Row) -> str:
    does, promised = ("errs in", "at most ") if _is_error(row) else ("covers", "")
    measured = f"{100 * row.share:.1f} +- {100 * row.error:.1f} % instead of {promised}{100 * row.nominal:g} %"
    return f"{row.what} {does} {measured} ({row.data}, {row.seeds} seeds)"
