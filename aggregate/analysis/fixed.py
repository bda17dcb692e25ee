"""What was fixed before the first job: the analysis section of sweep.json, typed, with defaults for older sweeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

HOLM, BONFERRONI = "holm", "bonferroni"


@dataclass(frozen=True)
class Ratio:
    """The error of one metric over that of another, each relative to the error of guessing, against one factor."""

    numerator: str
    denominator: str
    numerator_chance: float
    denominator_chance: float
    factor: str


@dataclass(frozen=True)
class Analysis:
    """primary: metrics of the confirmatory family. reference: factor values of one condition, or None.

    alpha: error of the whole family. correction: holm or bonferroni. margins: smallest difference that matters, by
    metric. ratio: the hypothesis, or None. last_epochs: how many last epochs are averaged. figures: functions of the
    user's. formats: of figures, among png and pdf.
    """

    primary: tuple[str, ...] = ()
    reference: Mapping[str, Any] | None = None
    alpha: float = 0.05
    correction: str = HOLM
    margins: Mapping[str, float] = field(default_factory=dict)
    ratio: Ratio | None = None
    last_epochs: int = 5
    figures: tuple[str, ...] = ()
    formats: tuple[str, ...] = ("png",)

    @property
    def level(self) -> float:
        """Coverage of intervals."""
        return 1 - self.alpha

    @classmethod
    def of(cls, section: Mapping[str, Any]) -> Analysis:
        """section: the analysis as sweep.json carries it."""
        ratio = section.get("ratio")
        return cls(
            primary=tuple(section.get("primary_metrics") or ()),
            reference=section.get("reference"),
            alpha=float(section.get("alpha", 0.05)),
            correction=str(section.get("correction", HOLM)),
            margins=dict(section.get("equivalence_margin") or {}),
            ratio=Ratio(**ratio) if ratio else None,
            last_epochs=int(section.get("last_epochs", 5)),
            figures=tuple(section.get("figures") or ()),
            formats=tuple(section.get("formats") or ("png",)),
        )
