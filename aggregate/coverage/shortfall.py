"""Which intervals and tests of a simulation keep their promise, in one line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aggregate.coverage.simulation import Row

# A shortfall of so many standard errors is none of the simulation: one of 130 rows in 30 runs would show it by chance.
_SURE = 3.5


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
