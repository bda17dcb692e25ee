"""How far apart the combinations of a claim are whose estimates differ in sign. Described, not tested."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from aggregate.analysis.claims import Claim
from aggregate.analysis.questions import Part, Question
from aggregate.arrays import Floats
from aggregate.stats.weighted import WeightedTest, weighted_test


@dataclass(frozen=True)
class Between:
    """What one combination has more than another, within seeds. level: of intervals that hold together for all pairs of
    combinations (Bonferroni), whichever of them are told; level_in_nats: the same for the claim in nats."""

    more: str
    less: str
    test: WeightedTest
    in_nats: WeightedTest | None
    level: float
    level_in_nats: float


def between(claim: Claim) -> tuple[Between, ...]:
    """Pairs of combinations whose estimates differ in sign, the widest apart first; empty where estimates are
    of logarithms, whose differences are ratios of changes."""
    question = claim.question
    known = [
        (piece.estimate, part)
        for piece, part in zip(claim.pieces, question.parts, strict=True)
        if part.rows and math.isfinite(piece.estimate)
    ]
    pairs = [sorted(pair, key=lambda one: -one[0]) for pair in itertools.combinations(known, 2)]
    if question.log or not claim.estimated:
        return ()
    nats = claim.in_nats.level if claim.in_nats else math.nan
    told = sorted((pair for pair in pairs if pair[0][0] > 0 > pair[1][0]), key=lambda pair: pair[1][0] - pair[0][0])
    return tuple(
        Between(
            more.where,
            less.where,
            _difference(question, question.values, more, less),
            None if question.in_nats is None else _difference(question, question.in_nats, more, less),
            1 - (1 - claim.level) / len(pairs),
            1 - (1 - nats) / len(pairs),
        )
        for (_, more), (_, less) in told
    )


def _difference(question: Question, values: Floats, more: Part, less: Part) -> WeightedTest:
    rows = [*more.rows, *less.rows]
    weights = np.concatenate([question.whole(more), -question.whole(less)])
    return weighted_test(values[rows], weights)
