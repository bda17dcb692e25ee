"""What an attempt keeps of each cell while it trains: from it come a checkpoint's row and a result's provenance."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hpc.storage.checkpoint import SavedCell
from hpc.sweep.stopping import Stopping

Part = Mapping[str, Any]
_CURVE_POINTS = 16


@dataclass
class Book:
    """One cell's record in this attempt.

    history: metrics of each finished epoch, over all attempts. stopping: the rule by which the cell ends early, if
    there is one, along its history. restored: the row that training resumed from, less its arrays. asked: whether the
    trainer has asked for a saved state. planned: number of epochs, 0 if not known yet.
    """

    stopping: Stopping | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    restored: SavedCell | None = None
    asked: bool = False
    planned: int | None = None
    began: float = field(default_factory=time.monotonic)

    def resume(self, row: SavedCell) -> None:
        """Take over what earlier attempts have done."""
        self.history = [dict(entry) for entry in row.history]
        self.restored = replace(row, arrays={})
        self.planned = row.epochs

    @property
    def stops(self) -> bool:
        """Whether the cell's history says that it ends here."""
        return self.stopping is not None and self.stopping.follow(self.history)

    @property
    def stopped_early(self) -> dict[str, Any]:
        """Of a cell that ends now: which rule ended it before the last epoch that was planned; empty if none did."""
        planned = self.planned or 0
        if self.stopping is None or not self.stops or self.stopping.ended == planned:
            return {}
        return self.stopping.facts(planned)

    def repeats(self, step: int) -> bool:
        """Whether the state at this step is no further than the one that training resumed from."""
        before = self.restored
        return before is not None and step <= before.step and len(self.history) <= len(before.history)

    @property
    def seconds(self) -> float:
        """Training time that went into the cell's state, over all attempts."""
        return (self.restored.seconds if self.restored else 0.0) + time.monotonic() - self.began

    @property
    def progress(self) -> tuple[int, int]:
        """(epochs finished, epochs planned)."""
        return len(self.history), self.planned or 0

    def curve(self, metric: str) -> list[float]:
        """A metric over the epochs so far, thinned to what a line of text shows, of few digits."""
        values = [entry.get(metric) for entry in self.history]
        step = -(-len(values) // _CURVE_POINTS) or 1
        kept = values[(len(values) - 1) % step :: step]  # the last one among them
        return [float(f"{value:.3g}") for value in kept if value is not None and math.isfinite(value)]

    def lineage(self, code: str | None, numerics: Mapping[str, Any]) -> list[Part]:
        """Which code and numerics trained the cell, from which step on, earliest first; ours is the last.

        A part for each attempt that trained under something else than the one before it. Travelling in the checkpoint,
        it survives any number of stops: a cell trained under A, then B, then B again still says A.
        """
        ours = {"code": code, "numerics": dict(numerics)}
        if self.restored is None:
            return [{"from_step": 0, **ours}]
        before = list(self.restored.lineage)
        if not before:  # written by a version that kept the last numerics only
            before = [{"from_step": 0, "code": None, "numerics": dict(self.restored.numerics)}]
        same = (before[-1]["code"], before[-1]["numerics"]) == (ours["code"], ours["numerics"])
        return before if same else [*before, {"from_step": self.restored.step, **ours}]


def mixture(lineage: Sequence[Part]) -> dict[str, Any]:
    """What a result's provenance says of a cell that was not trained by one code under one numerics; else nothing.

    numerics_before: the last ones that were other than those at the end. trained_by: every part, in order.
    What a part does not know (code: None, numerics: {}) is not taken for a difference.
    """
    codes = {part["code"] for part in lineage if part["code"]}
    end = lineage[-1]["numerics"]
    others = [part["numerics"] for part in lineage if end and part["numerics"] and part["numerics"] != end]
    found: dict[str, Any] = {"numerics_before": dict(others[-1])} if others else {}
    if others or len(codes) > 1:
        found["trained_by"] = [dict(part) for part in lineage]
    return found
