"""One measured coverage or error, and the table of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class CoverageRow:
    """what: the method or verdict. data: what it was tried on. nominal: the share that is promised: at least, or, below
    one half, at most. repeats: simulated sweeps. share: of them in which it covered, or erred, or was the verdict."""

    what: str
    data: str
    seeds: int
    nominal: float
    share: float
    repeats: int

    @property
    def error(self) -> float:
        """Monte Carlo standard error of the share."""
        return math.sqrt(max(self.share * (1 - self.share), 1 / self.repeats) / self.repeats)

    @property
    def is_error(self) -> bool:
        """Whether less is better."""
        return self.nominal < 0.5


def text(rows: Iterable[CoverageRow]) -> Iterator[str]:
    """The table, line by line, as it stands in docs/statistics.md."""
    yield "| what | data | seeds | promised % | measured % | +- |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        promised = f"{'<=' if row.is_error else '>='} {100 * row.nominal:g}"
        yield f"| {row.what} | {row.data} | {row.seeds} | {promised} | {100 * row.share:.1f} | {100 * row.error:.1f} |"
