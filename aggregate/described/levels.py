"""A retention level by level: its average over levels may be made of opposite ones. Described, not tested."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aggregate.analysis.claims import Claim, sign
from aggregate.analysis.fixed_analysis import Retention
from aggregate.analysis.questions import RETENTION
from aggregate.analysis.study import Study
from aggregate.arrays import Floats
from aggregate.stats.intervals import describe
from aggregate.stats.weighted import WeightedTest, weighted_test
from hpc.sweep.cell import FactorValue


@dataclass(frozen=True)
class AtLevel:
    """A retention at one narrower level in one combination of the other factors.

    where: the combination; may be empty. kept, other: shares of the widest level's information, means over seeds.
    test: of their difference within seeds; in_nats: with information counted in nats, None where it is not.
    level: of an interval that holds together with those of all other levels and combinations (Bonferroni).
    """

    at: FactorValue
    where: str
    kept: float
    other: float
    test: WeightedTest
    in_nats: WeightedTest | None
    level: float

    @property
    def interval(self) -> tuple[float, float]:
        """Of the difference; NaN where all seeds agree, since nothing is known of chance then."""
        return self.test.interval(self.level)

    @property
    def sign(self) -> int:
        """-1 or 1 where the interval leaves out 0, else 0."""
        return sign(*self.interval)

    @property
    def sign_in_nats(self) -> int:
        """The same with information counted in nats; 0 where it is not."""
        return 0 if self.in_nats is None else sign(*self.in_nats.interval(self.level))


def by_level(claim: Claim) -> tuple[AtLevel, ...]:
    """Level by level and, within one, combination by combination; empty unless a retention is estimated."""
    question, retained = claim.question, claim.question.retained
    if question.kind != RETENTION or retained is None or not claim.estimated:
        return ()
    names = [part.where for part in question.parts if part.rows] or [""]
    shares = [describe(side.retention[:-1, retained.learnt]).mean for side in (retained.kept, retained.other)]
    level = 1 - (1 - claim.level) / len(question.values)
    return tuple(
        AtLevel(
            question.levels[i],
            names[c],
            float(shares[0][i, c]),
            float(shares[1][i, c]),
            _one(question.values, i * len(names) + c),
            None if question.in_nats is None else _one(question.in_nats, i * len(names) + c),
            level,
        )
        for i, c in np.ndindex(len(question.levels) - 1, len(names))
    )


def _one(values: Floats, row: int) -> WeightedTest:
    return weighted_test(values[row : row + 1], np.ones(1))


Reversed = dict[str, tuple[list[FactorValue], list[FactorValue]]]


def reversed_at(found: tuple[AtLevel, ...], *, in_nats: bool = False) -> Reversed:
    """By combination, the levels at which the difference is below 0 and those at which it is above, by their intervals;
    only combinations that have both. in_nats: with information counted so."""
    groups: Reversed = {}
    for one in found:
        below, above = groups.setdefault(one.where, ([], []))
        if way := one.sign_in_nats if in_nats else one.sign:
            (above if way > 0 else below).append(one.at)
    return {where: ends for where, ends in groups.items() if all(ends)}


def unanimous(found: tuple[AtLevel, ...]) -> dict[FactorValue, int]:
    """The levels at which the difference has one sign, by the intervals, in every combination and unit: -1 or 1."""
    signs: dict[FactorValue, set[int]] = {}
    for one in found:
        signs.setdefault(one.at, set()).update({one.sign, one.sign if one.in_nats is None else one.sign_in_nats})
    return {at: own.pop() for at, own in signs.items() if len(own) == 1 and 0 not in own}


def at_chance(study: Study, claim: Claim, level: FactorValue) -> list[str]:
    """Names of the kinds of information whose metric is at chance in every run of a level that the claim uses."""
    question, test = claim.question, claim.question.test
    if not isinstance(test, Retention) or not question.conditions:
        return []
    rows = np.array(question.conditions).reshape(len(question.levels), -1)[question.levels.index(level)]
    entries = {entry.metric.name: entry for entry in study.summary.metrics}
    sides = zip((test.kept, test.other), question.sides, strict=True)
    known = [(name, entries[metric].at_chance[rows], entries[metric].values[rows]) for metric, name in sides]
    return [name for name, chance, values in known if (chance | np.isnan(values)).all() and chance.any()]
