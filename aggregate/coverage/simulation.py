"""Every interval and band that Holdfast ships, on textbook data and a user's own: does it cover as often as it says?

The functions under test are those that aggregation calls. 95 % everywhere.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.random import Generator
from scipy import special

from aggregate.analysis.curves import curves
from aggregate.arrays import Floats, Interval
from aggregate.coverage.averages import simulate_averages
from aggregate.coverage.populations import Population
from aggregate.coverage.row import CoverageRow
from aggregate.reading.declared import BOUNDED, POSITIVE
from aggregate.stats.bands import FEWEST_SEEDS
from aggregate.stats.exact import trend_p
from aggregate.stats.gaps import two_groups
from aggregate.stats.improvement import improvement_interval, probability_of_improvement
from aggregate.stats.inference import equivalence_p, holm, one_sample_t
from aggregate.stats.intervals import (
    clopper_pearson,
    delta_logit_interval,
    describe,
    median_interval,
    t_interval,
)

LEVEL, ALPHA = 0.95, 0.05
SEEDS = (3, 5, 10)
_EPOCHS = 50
_CONDITIONS = 12  # of the sweeps that are screened for groups
_SCREENED, _SPLITS, _AWAY = (3, 5, 10, 20), (1, 2), (20, 60)  # seeds, apart of these, and how many deviations
_POWER_SEEDS, _POWER_MARGIN = 5, 3.0
_RISING = (0.0, 0.1, 0.2, 0.35, 0.5)  # rates of failure by level
_SMOOTHNESS = {"smooth": 15.0, "wavy": 5.0, "rough": 0.3}
# What normal curves are turned into, the true curve of that, and what the metric is declared as.
_CURVES: dict[str, tuple[Callable[[Floats], Floats], float, dict[str, bool]]] = {
    "normal curves": (lambda drawn: drawn, 0.0, {}),
    "lognormal losses, sigma 1": (np.exp, 1.0, {"log": True}),
    "accuracies about 0.967": (
        lambda drawn: special.betaincinv(0.967 * 60, 0.033 * 60, special.ndtr(drawn)),
        0.967,
        {"bounded": True},
    ),
}


def simulate(
    populations: Sequence[Population], repeats: int, seed: int = 0, *, general: bool = True
) -> Iterator[CoverageRow]:
    """All rows. repeats: simulated sweeps for each; 20,000 give an error of 0.15 points at 95 %.

    general: also what does not depend on the populations.
    """
    random = np.random.default_rng(seed)
    for population in populations:
        for seeds in SEEDS:
            yield from _intervals(population, seeds, repeats, random)
    if not general:
        return
    yield from _completion(repeats, random)
    yield from _trends(min(repeats, 5000), random)
    yield from _bands(min(repeats, 2000), random)
    yield from _screens(min(repeats, 2000), random)
    yield from simulate_averages(min(repeats, 5000), random)
    yield from _corrections(repeats, random)
    yield from _powers(min(repeats, 2000), random)


def _intervals(population: Population, seeds: int, repeats: int, random: Generator) -> Iterator[CoverageRow]:
    values = population.draw(random, (repeats, seeds))
    d = describe(values)
    yield _row("t", population, seeds, t_interval(d.mean, d.sem, d.n, LEVEL), population.mean)
    if population.kind == BOUNDED and np.all((d.mean >= 0) & (d.mean <= 1)):
        found = delta_logit_interval(d.mean, d.sem, d.n, LEVEL)
        yield _row("delta-logit t", population, seeds, found, population.mean)
    if population.kind == POSITIVE:
        logs = describe(np.log(values))
        low, high = t_interval(logs.mean, logs.sem, logs.n, LEVEL)
        yield _row("t of logarithms", population, seeds, (np.exp(low), np.exp(high)), population.geometric)
    low, high = median_interval(values, LEVEL)
    if math.isfinite(population.median) and np.isfinite(low).all():
        yield _row("median, ordered values", population, seeds, (low, high), population.median)
    differences = values - population.draw(random, (repeats, seeds))
    test = one_sample_t(differences, LEVEL)
    yield _row("paired difference, t", population, seeds, (test.low, test.high), 0.0)
    # A margin at which the difference just lies is the hardest case of equivalence.
    margin = 0.5 * float(np.std(differences))
    within = float((equivalence_p(differences + margin, margin) <= ALPHA).mean())
    yield CoverageRow("equivalence, at the margin", population.name, seeds, ALPHA, within, repeats)
    reference = population.draw(random, (repeats, seeds))
    chance, n = probability_of_improvement(values, reference, "higher")
    yield _row("probability of improvement", population, seeds, improvement_interval(chance, n, LEVEL), 0.5)


def _row(what: str, population: Population, seeds: int, interval: Interval, truth: float) -> CoverageRow:
    low, high = interval
    return CoverageRow(what, population.name, seeds, LEVEL, float(((low <= truth) & (truth <= high)).mean()), len(low))


def _completion(repeats: int, random: Generator) -> Iterator[CoverageRow]:
    for seeds in SEEDS:
        for rate in (0.8, 0.95):
            low, high = clopper_pearson(random.binomial(seeds, rate, repeats), np.full(repeats, seeds), LEVEL)
            share = float(((low <= rate) & (rate <= high)).mean())
            yield CoverageRow("completion, Clopper-Pearson", f"{100 * rate:g} % complete", seeds, LEVEL, share, repeats)


def _trends(repeats: int, random: Generator) -> Iterator[CoverageRow]:
    """The tests of whether failures depend on a factor, of five levels with 15 runs each, when they do not."""
    size = np.full(5, 15)
    for rate in (0.05, 0.2):
        bad = random.binomial(15, rate, (repeats, 5))
        trend = sum(trend_p(row, size)[1] <= ALPHA for row in bad) / repeats
        yield CoverageRow("trend of failures", f"{100 * rate:g} % of runs fail", 15, ALPHA, trend, repeats)


def _powers(repeats: int, random: Generator) -> Iterator[CoverageRow]:
    """Of tests that are watched above for errors: one that detects nothing would make none."""
    differences = random.normal(size=(repeats, _POWER_SEEDS))
    within = float((equivalence_p(differences, _POWER_MARGIN) <= ALPHA).mean())
    data = f"normal, a margin of {_POWER_MARGIN:g} standard deviations"
    yield CoverageRow("equivalence, found", data, _POWER_SEEDS, 0.9, within, repeats)
    bad = random.binomial(15, _RISING, (repeats, len(_RISING)))
    found = sum(trend_p(row, np.full(len(_RISING), 15))[1] <= ALPHA for row in bad) / repeats
    data = f"{100 * _RISING[0]:g} to {100 * _RISING[-1]:g} % of runs fail"
    yield CoverageRow("trend of failures, found", data, 15, 0.9, found, repeats)


def _corrections(repeats: int, random: Generator) -> Iterator[CoverageRow]:
    """Holm's correction of four t tests by itself: where two effects are sure, the other two have all of alpha."""
    for effects, data in ((0, "four tests, no effect"), (2, "four tests, two sure effects")):
        p = one_sample_t(random.normal(size=(repeats, 4, _POWER_SEEDS))).p
        p[:, :effects] = 1e-12
        wrong = sum(bool((holm(row)[effects:] <= ALPHA).any()) for row in p) / repeats
        yield CoverageRow("Holm's correction", data, _POWER_SEEDS, ALPHA, wrong, repeats)


def _bands(repeats: int, random: Generator) -> Iterator[CoverageRow]:
    """Gaussian curves, losses that are lognormal at every epoch, and accuracies just below their ceiling."""
    at = np.arange(_EPOCHS)
    for name, smoothness in _SMOOTHNESS.items():
        covariance = np.exp(-0.5 * ((at[:, None] - at) / smoothness) ** 2) + 1e-8 * np.eye(_EPOCHS)
        root = np.linalg.cholesky(covariance).T
        for seeds in (FEWEST_SEEDS, *SEEDS[1:]):
            covered = dict.fromkeys(_CURVES, 0)
            for part in _parts(repeats):
                drawn = random.normal(size=(part, seeds, _EPOCHS)) @ root
                for kind in _CURVES:
                    covered[kind] += _inside(drawn, kind)
            for kind, count in covered.items():
                yield CoverageRow("band for a curve", f"{name} {kind}", seeds, LEVEL, count / repeats, repeats)


def _screens(repeats: int, random: Generator) -> Iterator[CoverageRow]:
    """The screen for seeds in two groups, on sweeps of 12 conditions of unlike spread, every third at its ceiling."""
    for seeds in _SCREENED:
        spread = np.exp(random.normal(0, 0.5, (repeats, _CONDITIONS, 1)))
        spread[:, ::3] *= 1e-6
        clean = spread * random.normal(size=(repeats, _CONDITIONS, seeds))
        flagged = sum(bool(two_groups(sweep).any()) for sweep in clean) / repeats
        yield CoverageRow("two groups, flagged in error", "no groups", seeds, ALPHA, flagged, repeats)
        for split, away in itertools.product(_SPLITS, _AWAY) if seeds > _SCREENED[0] else ():
            yield _found(clean[: repeats // 2], spread[: repeats // 2], split, away)


def _found(clean: Floats, spread: Floats, split: int, away: int) -> CoverageRow:
    """Groups made in one condition of clean sweeps. away: of the others, in standard deviations of the condition."""
    sweeps, seeds = clean.copy(), clean.shape[-1]
    sweeps[:, 1, :split] -= away * spread[:, 1]
    found = sum(bool(two_groups(sweep)[1, :split].all()) for sweep in sweeps) / len(sweeps)
    data = f"{split} of {seeds} seeds {away} standard deviations away"
    return CoverageRow("two groups, found", data, seeds, 0.9, found, len(sweeps))


def _parts(repeats: int, most: int = 500) -> Iterator[int]:
    """So that a simulation of any length fits into little memory."""
    for start in range(0, repeats, most):
        yield min(most, repeats - start)


def _inside(drawn: Floats, kind: str) -> int:
    """How many bands hold the true curve, the same at all epochs. drawn: shape (sweeps, seeds, epochs), normal."""
    shape, truth, options = _CURVES[kind]
    sweeps, seeds, epochs = drawn.shape
    cells = np.repeat(np.arange(sweeps * seeds), epochs)
    everyone = np.ones((sweeps, seeds), dtype=bool)
    epoch = np.tile(np.arange(1, epochs + 1), sweeps * seeds)
    found = curves(cells, epoch, shape(drawn).ravel(), everyone, level=LEVEL, **options)
    return int(((found.low <= truth) & (truth <= found.high)).all(axis=1).sum())
