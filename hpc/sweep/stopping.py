"""`stop_when`: whether a cell's training has ended early, from what the cell itself has measured and nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class StopRule:
    """A cell ends after ``patience`` epochs in a row none of which improved its best ``metric`` by more than min_delta.

    better: higher or lower. An epoch whose value is not finite improves nothing.
    """

    metric: str
    patience: int
    min_delta: float
    better: str

    @classmethod
    def of(cls, section: Mapping[str, Any]) -> StopRule:
        """Raises KeyError, TypeError or ValueError for what no configuration says."""
        rule = cls(str(section["metric"]), section["patience"], float(section["min_delta"]), section["better"])
        if type(rule.patience) is not int or rule.patience < 1 or not 0 <= rule.min_delta < math.inf:
            raise ValueError("stop_when has no patience of 1 or more, or no min_delta of 0 or more")
        if rule.better not in ("higher", "lower"):
            raise ValueError("stop_when.better is neither higher nor lower")
        return rule

    def __str__(self) -> str:
        more = f" by more than {self.min_delta:g}" if self.min_delta else ""
        epochs = "1 epoch" if self.patience == 1 else f"{self.patience} epochs in a row"
        return f"{self.metric} not {self.better}{more} in {epochs}"


@dataclass
class Stopping:
    """A rule along one cell's history, epoch by epoch.

    since: the epoch of the last improvement, 0 before the first. ended: the epoch after which the cell ends; 0 if none.
    """

    rule: StopRule
    since: int = 0
    ended: int = 0
    _best: float = field(default=math.inf, repr=False)
    _seen: int = field(default=0, repr=False)

    def follow(self, history: Sequence[Mapping[str, Any]]) -> bool:
        """Take in what has been added to a history since the last call. Returns whether the cell ends with it."""
        for epoch in range(self._seen + 1, len(history) + 1):
            self._take(epoch, history[epoch - 1].get(self.rule.metric))
        self._seen = len(history)
        return self.ended > 0

    def _take(self, epoch: int, value: float | None) -> None:
        if self.ended:
            return
        signed = math.inf if value is None else -value if self.rule.better == "higher" else value
        if signed < self._best - self.rule.min_delta:
            self._best, self.since = signed, epoch
        elif epoch - self.since >= self.rule.patience:
            self.ended = epoch

    def facts(self, planned: int) -> dict[str, Any]:
        """What results.json says of a cell that ended early. planned: epochs that were planned, 0 if unknown."""
        rule = self.rule
        return {
            "metric": rule.metric,
            "patience": rule.patience,
            "min_delta": rule.min_delta,
            "last_improvement": self.since,
            "planned_epochs": planned or None,
        }
