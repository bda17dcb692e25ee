"""What a claim would be without one seed that lies apart somewhere: whether that seed decides it. Described, not
tested, and nothing is removed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from aggregate.analysis.claims import Claim, InNats, counted_in_nats, sign
from aggregate.analysis.reliability import doubtful_seeds
from aggregate.analysis.study import Study
from aggregate.arrays import Floats
from aggregate.stats.weighted import WeightedTest, weighted_test


@dataclass(frozen=True)
class Without:
    """A claim of the other seeds, at the claim's own level; no interval where these all agree. in_nats: of a retention,
    with information counted in nats."""

    seed: int
    test: WeightedTest
    low: float
    high: float
    in_nats: InNats | None

    def differs(self, claim: Claim) -> bool:
        """Whether its interval says something else of the sign than that of the claim, in either unit. An interval that
        is not known is no other result."""
        nats, now = self.in_nats, claim.in_nats
        return _other(self, claim) or (nats is not None and now is not None and _other(nats, now))


def _other(then: Without | InNats, now: Claim | InNats) -> bool:
    return math.isfinite(then.low) and sign(then.low, then.high) != sign(now.low, now.high)


def without_seeds(study: Study, claim: Claim) -> list[Without]:
    """Of each seed that lies apart from the others in a condition of the claim, ascending."""
    seeds = doubtful_seeds(study.summary, study.flags, claim)
    return [_without(study.summary.seeds[seed], claim, seed) for seed in seeds]


def lost_without(study: Study, claim: Claim) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Seeds without any one of which an interval that leaves out 0 would include it: as the claim is, and in nats.
    Empty where the interval includes 0 as it is."""
    question, nats = claim.question, claim.in_nats
    own = _losing(study, question.values, question.weights, claim.level) if claim.sign else ()
    if nats is None or question.in_nats is None or not sign(nats.low, nats.high):
        return own, ()
    return own, _losing(study, question.in_nats, question.weights, nats.level)


def _losing(study: Study, values: Floats, weights: Floats, level: float) -> tuple[int, ...]:
    found = ((seed, _others(values, weights, i).interval(level)) for i, seed in enumerate(study.summary.seeds))
    return tuple(seed for seed, (low, high) in found if low <= 0 <= high)


def _without(name: int, claim: Claim, position: int) -> Without:
    question, nats = claim.question, claim.in_nats
    test = _others(question.values, question.weights, position)
    own = None
    if nats is not None and question.in_nats is not None:
        own = counted_in_nats(_others(question.in_nats, question.weights, position), nats.level)
    return Without(name, test, *test.interval(claim.level), own)


def _others(values: Floats, weights: Floats, position: int) -> WeightedTest:
    return weighted_test(np.delete(values, position, axis=1), weights)
