"""The shipped verdicts on made-up sweeps: is the answer right, and how often is a false one given?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.random import Generator

from aggregate.analysis.claims import SHOWN, Claims
from aggregate.analysis.fixed_analysis import Analysis, Looks
from aggregate.coverage.row import CoverageRow
from aggregate.coverage.sweeps import (
    BUILT_IN,
    COLLAPSING,
    FAMILY,
    NULLS,
    ONE_COLLAPSES,
    TRUTHS,
    WIDE,
    Sweeps,
    World,
    draw,
    judged,
)

ALPHA = 0.05
SEEDS = 5
_LOOKS = (3, 5, 10)
_EXPECTED = {"synergy is lost first": "No", "synergy is kept, the other lost": "Yes"}
_PART = 100  # sweeps drawn at once


def simulate_verdicts(repeats: int, seed: int = 0) -> Iterator[CoverageRow]:
    """repeats: simulated sweeps for each row; 1,000 give an error of 0.7 points at 5 %."""
    random = np.random.default_rng([seed, 1])
    for world in TRUTHS:
        yield from _hypothesis(world, repeats, random)
    for world in NULLS:
        yield _family(world, SEEDS, repeats, random)
    for seeds in (3, 10):
        yield _family(NULLS[0], seeds, repeats, random)
    for world in NULLS[:2]:
        yield _growth(world, repeats, random)
    yield from _hypothesis(COLLAPSING, repeats, random)
    for world in ONE_COLLAPSES:
        yield from _hypothesis(world, repeats, random)
    yield from _hypothesis(ONE_COLLAPSES[-1], repeats, random, seeds=10)
    yield from _wide(repeats, random)


def _hypothesis(world: World, repeats: int, random: Generator, seeds: int = SEEDS) -> Iterator[CoverageRow]:
    """Yes and No of the built-in hypothesis."""
    analysis = Analysis(tests=BUILT_IN, alpha=ALPHA)
    counts = {"Yes": 0, "No": 0}
    for sweeps in _drawn(world, seeds, repeats, random):
        for i in range(len(sweeps.failed)):
            claim = judged(sweeps.summary(i, seeds), analysis).family[0]
            if claim.status == SHOWN:
                counts["Yes" if claim.estimate > 0 else "No"] += 1
    for answer, count in counts.items():
        nominal = 0.95 if _EXPECTED.get(world.name) == answer else ALPHA
        yield CoverageRow(f"hypothesis, {answer}", world.name, seeds, nominal, count / repeats, repeats)


def _family(world: World, seeds: int, repeats: int, random: Generator) -> CoverageRow:
    """How often any test of a family of four detects what is not there."""
    analysis = Analysis(tests=FAMILY, alpha=ALPHA)
    wrong = sum(
        _any(judged(sweeps.summary(i, seeds), analysis))
        for sweeps in _drawn(world, seeds, repeats, random)
        for i in range(len(sweeps.failed))
    )
    return CoverageRow("family-wise error", world.name, seeds, ALPHA, wrong / repeats, repeats)


def _growth(world: World, repeats: int, random: Generator) -> CoverageRow:
    """The same over three planned looks at a sweep that grows."""
    analysis = Analysis(tests=FAMILY, alpha=ALPHA, looks=len(_LOOKS))
    wrong = 0
    for sweeps in _drawn(world, _LOOKS[-1], repeats, random):
        for i in range(len(sweeps.failed)):
            wrong += any(
                _any(judged(sweeps.summary(i, seeds), analysis, Looks(len(_LOOKS), taken)))
                for taken, seeds in enumerate(_LOOKS, start=1)
            )
    planned = f"{world.name}, planned looks at {', '.join(map(str, _LOOKS))} seeds"
    return CoverageRow("family-wise error", planned, _LOOKS[-1], ALPHA, wrong / repeats, repeats)


def _wide(repeats: int, random: Generator) -> Iterator[CoverageRow]:
    """A family of many tests; and whether its intervals say what its tests do, as every report promises."""
    analysis, world = Analysis(tests=WIDE, alpha=ALPHA), NULLS[0]
    made = [
        judged(sweeps.summary(i, SEEDS), analysis)
        for sweeps in _drawn(world, SEEDS, repeats, random)
        for i in range(len(sweeps.failed))
    ]
    data = f"{world.name}, a family of {len(WIDE)}"
    yield CoverageRow("family-wise error", data, SEEDS, ALPHA, sum(map(_any, made)) / repeats, repeats)
    agree = sum(all((claim.sign != 0) == (claim.adjusted <= ALPHA) for claim in claims.family) for claims in made)
    yield CoverageRow("intervals leave out 0 if and only if detected", data, SEEDS, 1.0, agree / repeats, repeats)


def _any(claims: Claims) -> bool:
    return any(claim.status == SHOWN and claim.confirmatory for claim in claims.family)


def _drawn(world: World, seeds: int, repeats: int, random: Generator) -> Iterator[Sweeps]:
    for start in range(0, repeats, _PART):
        yield draw(world, min(_PART, repeats - start), seeds, random)
