"""What of a simulation does not keep its promise, and what fell below what was measured before."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from importlib import resources

from aggregate.coverage.row import CoverageRow

# A shortfall of so many standard errors is none of the simulation: one of 130 rows in 30 runs would show it by chance.
_SURE = 3.5
Key = tuple[str, str, int]


def verdict(rows: Iterable[CoverageRow]) -> str:
    """One line for people: what does not keep its promise, where it is worst, and that the rest does."""
    worst: dict[str, CoverageRow] = {}
    for row in rows:
        if _shortfall(row) > _SURE * row.error and _shortfall(row) > _shortfall(worst.get(row.what)):
            worst[row.what] = row
    if not worst:
        return f"verdict: everything keeps its promise, within {_SURE:g} standard errors of the simulation"
    told = "; ".join(_told(row) for row in sorted(worst.values(), key=_shortfall, reverse=True))
    return f"verdict: not as promised, at worst: {told}. All else keeps its promise (within {_SURE:g} standard errors)."


def fallen(rows: Iterable[CoverageRow], baseline: Mapping[Key, CoverageRow]) -> list[str]:
    """One line for every row that is worse than the baseline by more than both simulations explain."""
    lines = []
    for row in rows:
        before = baseline.get((row.what, row.data, row.seeds))
        if before is None:
            continue
        worse = (row.share - before.share) * (1 if row.is_error else -1)
        if worse > _SURE * math.hypot(row.error, before.error):
            was = f"{100 * before.share:.1f} +- {100 * before.error:.1f} %"
            lines.append(f"below the baseline: {_told(row)}; it was {was}")
    return lines


def read_baseline() -> dict[Key, CoverageRow]:
    """What was measured when the code was last judged good: baseline.json beside this module."""
    text = resources.files(__package__).joinpath("baseline.json").read_text(encoding="utf-8")
    rows = (CoverageRow(*entry) for entry in json.loads(text))
    return {(row.what, row.data, row.seeds): row for row in rows}


def baseline_text(rows: Iterable[CoverageRow]) -> str:
    """The content of baseline.json."""
    entries = ([row.what, row.data, row.seeds, row.nominal, row.share, row.repeats] for row in rows)
    return "[\n" + ",\n".join(map(json.dumps, entries)) + "\n]\n"


def _shortfall(row: CoverageRow | None) -> float:
    """By how much it covers less, or errs more, than it promises."""
    if row is None:
        return 0.0
    return row.share - row.nominal if row.is_error else row.nominal - row.share


def _told(row: CoverageRow) -> str:
    does, promised = ("errs in", "at most ") if row.is_error else ("holds in", "at least ")
    measured = f"{100 * row.share:.1f} +- {100 * row.error:.1f} % instead of {promised}{100 * row.nominal:g} %"
    return f"{row.what} {does} {measured} ({row.data}, {row.seeds} seeds)"
