"""The section analysis: what is fixed before the first job."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from hpc.config.schema.values import Positive, Real
from hpc.faults import Section


class RetentionSection(Section):
    """The hypothesis: as the factor narrows, more of what ``kept`` measures is left than of what ``other`` measures.

    kept_chance, other_chance: value of each metric under guessing; default: as the trainer declares it.
    name, kept_name, other_name: what the report calls the hypothesis and the two kinds of information.
    """

    kept: str
    other: str
    factor: str
    name: str | None = None
    kept_name: str | None = None
    other_name: str | None = None
    kept_chance: Real | None = None
    other_chance: Real | None = None


class DeclaredTest(Section):
    """One test of the family: a metric with a slope or a comparison of two levels, or a retention."""

    metric: str | None = None
    slope: str | None = None
    compare: Annotated[dict[str, list[Any]], Field(min_length=1, max_length=1)] | None = None
    retention: RetentionSection | None = None

    @model_validator(mode="after")
    def _one_question(self) -> DeclaredTest:
        asked = [name for name in ("slope", "compare", "retention") if getattr(self, name) is not None]
        if len(asked) != 1 or (self.metric is None) != (asked == ["retention"]):
            raise ValueError(
                "write one of {metric: M, slope: FACTOR}, {metric: M, compare: {FACTOR: [A, B]}}, {retention: {...}}"
            )
        return self


def replaced(value: Any) -> Any:
    """Keys of earlier versions, with the way out."""
    if isinstance(value, dict) and value.get("ratio") is not None:
        raise ValueError(
            "ratio is gone, since it says which error grew more and not what was kept; write "
            "retention: {kept: METRIC, other: METRIC, factor: FACTOR} instead"
        )
    if isinstance(value, dict) and "correction" in value:
        raise ValueError("correction is gone: the family is corrected by Holm's method, which no other beats; drop it")
    # `ratio: null` asked for none, as every configuration does now.
    return {key: entry for key, entry in value.items() if key != "ratio"} if isinstance(value, dict) else value


class AnalysisSection(Section):
    primary_metrics: list[str] | None = None
    reference: dict[str, Any] | None = None
    alpha: Annotated[Real, Field(gt=0, lt=1)] = 0.05
    tests: list[DeclaredTest] | None = None
    retention: RetentionSection | None = None
    looks: Annotated[int, Field(ge=1, le=100)] = 1
    equivalence_margin: dict[str, Positive] = Field(default_factory=dict)
    last_epochs: Annotated[int, Field(ge=1, le=10**6)] = 5
    figures: list[str] = Field(default_factory=list)
    formats: Annotated[list[Literal["png", "pdf", "svg"]], Field(min_length=1)] = Field(default=["png"])
    labels: dict[str, Annotated[str, Field(min_length=1, max_length=200)]] = Field(default_factory=dict)
