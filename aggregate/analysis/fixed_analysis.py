"""What was fixed before the first job: the analysis section of sweep.json, typed, with defaults for older sweeps."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from hpc.sweep.cell import FactorValue


@dataclass(frozen=True)
class Slope:
    """Of a metric on a factor."""

    metric: str
    factor: str


@dataclass(frozen=True)
class Compared:
    """Two levels of a factor, the first minus the second."""

    metric: str
    factor: str
    levels: tuple[FactorValue, FactorValue]


@dataclass(frozen=True)
class Retention:
    """Whether more of what ``kept`` measures is left on narrower levels of the factor than of what ``other`` does.

    kept_chance, other_chance: value of each metric under guessing, or its error if ``errors``, as earlier versions had
    it. The names are for the report; empty: the metrics'.
    """

    kept: str
    other: str
    factor: str
    kept_chance: float
    other_chance: float
    name: str = ""
    kept_name: str = ""
    other_name: str = ""
    errors: bool = False


Test = Slope | Compared | Retention


@dataclass(frozen=True)
class Analysis:
    """primary: metrics of the first page. reference: factor values of one condition, or None.

    tests: the confirmatory family; None in sweeps of before there were declared tests. alpha: error of the whole
    family. looks: planned looks at a growing sweep. margins: smallest difference that matters, by metric. former: the
    hypothesis of an earlier version, exploratory now. last_epochs: how many last epochs are averaged. figures:
    functions of the user's. formats: of figures, among png and pdf.
    """

    primary: tuple[str, ...] = ()
    reference: Mapping[str, Any] | None = None
    tests: tuple[Test, ...] | None = None
    alpha: float = 0.05
    looks: int = 1
    margins: Mapping[str, float] = field(default_factory=dict)
    former: Retention | None = None
    last_epochs: int = 5
    figures: tuple[str, ...] = ()
    formats: tuple[str, ...] = ("png",)

    @property
    def level(self) -> float:
        """Coverage of intervals."""
        return 1 - self.alpha

    @property
    def hypothesis(self) -> Retention | None:
        """The first retention of the family, else that of an earlier version."""
        declared = (test for test in self.tests or () if isinstance(test, Retention))
        return next(declared, self.former)

    @classmethod
    def of(cls, section: Mapping[str, Any]) -> Analysis:
        """section: the analysis as sweep.json carries it."""
        tests = section.get("tests")
        return cls(
            primary=tuple(section.get("primary_metrics") or ()),
            reference=section.get("reference"),
            tests=None if tests is None else tuple(map(_test, tests)),
            alpha=float(section.get("alpha", 0.05)),
            looks=int(section.get("looks", 1)),
            margins=dict(section.get("equivalence_margin") or {}),
            former=_of_ratio(section.get("ratio")),
            last_epochs=int(section.get("last_epochs", 5)),
            figures=tuple(section.get("figures") or ()),
            formats=tuple(section.get("formats") or ("png",)),
        )


def _test(entry: Mapping[str, Any]) -> Test:
    if "retention" in entry:
        known = {known.name for known in fields(Retention)}  # a later version may say more
        said = {key: value for key, value in entry["retention"].items() if key in known and value is not None}
        return Retention(**said)
    if "slope" in entry:
        return Slope(entry["metric"], entry["slope"])
    ((factor, (a, b)),) = entry["compare"].items()
    return Compared(entry["metric"], factor, (a, b))


def _of_ratio(ratio: Mapping[str, Any] | None) -> Retention | None:
    """The retention of the two metrics of a ratio."""
    if not ratio:
        return None
    return Retention(
        ratio["numerator"],
        ratio["denominator"],
        ratio["factor"],
        float(ratio["numerator_chance"]),
        float(ratio["denominator_chance"]),
        errors=True,
    )


@dataclass(frozen=True)
class Looks:
    """How often the results of a sweep could be looked at before the seeds of now were settled.

    planned: declared before the first job. taken: one, and one more for every time that seeds were added.
    """

    planned: int = 1
    taken: int = 1

    @property
    def as_planned(self) -> bool:
        return self.taken <= self.planned

    def share(self, alpha: float) -> float:
        """What one look may spend of alpha: looks share it equally, whichever comes first (Bonferroni)."""
        return alpha / max(self.planned, self.taken)


def looks_of(analysis: Analysis, revisions: Sequence[Mapping[str, Any]]) -> Looks:
    """revisions: of sweep.json. Seeds that came before any result was there are no further look."""
    return Looks(analysis.looks, 1 + sum(_grew(a, b) for a, b in itertools.pairwise(revisions)))


def _grew(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    seen = after.get("results_seen", True)  # not recorded by earlier versions
    return bool(seen) and len(after["grid"]["seeds"]) > len(before["grid"]["seeds"])


def before_there_were_tests(primary: Iterable[str], slopes: Sequence[str]) -> tuple[Test, ...]:
    """The family of a sweep whose sweep.json declares no tests: slopes of its primary metrics on these factors."""
    return tuple(Slope(metric, factor) for metric in primary for factor in slopes)
