"""Every interval, band and correction that Holdfast ships, simulated: does it cover as often as it says?

The functions under test are those that aggregation calls. 95 % everywhere; the family-wise error is 5 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from aggregate.analysis.contrasts import Contrast, contrasts, per_seed
from aggregate.arrays import Floats, Interval
from aggregate.coverage.populations import Population
from aggregate.reading.declared import BOUNDED, POSITIVE, Factor
from aggregate.stats.bands import FEWEST_SEEDS, simultaneous_multiplier
from aggregate.stats.inference import bonferroni, holm, one_sample_t, page_p
from aggregate.stats.intervals import (
    clopper_pearson,
    delta_log_interval,
    delta_logit_interval,
    describe,
    median_interval,
    t_interval,
)
from aggregate.stats.seed_planner import seeds_for_halfwidth, stein_interval

LEVEL, ALPHA = 0.95, 0.05
SEEDS = (3, 5, 10)
_EPOCHS = 50
_SMOOTHNESS = {"smooth": 15.0, "wavy": 5.0, "rough": 0.3}


@dataclass(frozen=True)
class Row:
    """One measured coverage or error. repeats: simulated sweeps. share: in which it covered, or erred."""

    what: str
    data: str
    seeds: int
    nominal: float
    share: float
    repeats: int

    @property
    def error(self) -> float:
        """Monte Carlo standard error of the share."""
        return math.sqrt(max(self.share * (1 - self.share), 1 / self.repeats) / self.repeats)


def simulate(populations: Sequence[Population], repeats: int, seed: int = 0) -> Iterator[Row]:
    """All rows. repeats: simulated sweeps for each; 20,000 give an error of 0.15 points at 95 %."""
    random = np.random.default_rng(seed)
    for population in populations:
        for seeds in SEEDS:
            yield from _intervals(population, seeds, repeats, random)
    yield from _completion(repeats, random)
    yield from _two_stages(min(repeats, 5000), random)
    yield from _bands(repeats, random)
    yield from _families(populations, min(repeats, 5000), random)


def _intervals(population: Population, seeds: int, repeats: int, random: Generator) -> Iterator[Row]:
    values = population.draw(random, (repeats, seeds))
    d = describe(values)
    yield _row("t", population, seeds, t_interval(d.mean, d.sem, d.n, LEVEL), population.mean)
    if population.kind == BOUNDED and np.all((d.mean >= 0) & (d.mean <= 1)):
        found = delta_logit_interval(d.mean, d.sem, d.n, LEVEL)
        yield _row("delta-logit t", population, seeds, found, population.mean)
    if population.kind == POSITIVE:
        yield _row("delta-log t", population, seeds, delta_log_interval(d.mean, d.sem, d.n, LEVEL), population.mean)
    low, high = median_interval(values, LEVEL)
    if math.isfinite(population.median) and np.isfinite(low).all():
        yield _row("median, ordered values", population, seeds, (low, high), population.median)
    test = one_sample_t(values - population.draw(random, (repeats, seeds)), LEVEL)
    yield _row("paired difference, t", population, seeds, (test.low, test.high), 0.0)


def _row(what: str, population: Population, seeds: int, interval: Interval, truth: float) -> Row:
    low, high = interval
    return Row(what, population.name, seeds, LEVEL, float(((low <= truth) & (truth <= high)).mean()), len(low))


def _completion(repeats: int, random: Generator) -> Iterator[Row]:
    for seeds in SEEDS:
        for rate in (0.8, 0.95):
            low, high = clopper_pearson(random.binomial(seeds, rate, repeats), np.full(repeats, seeds), LEVEL)
            share = float(((low <= rate) & (rate <= high)).mean())
            yield Row("completion, Clopper-Pearson", f"{100 * rate:g} % complete", seeds, LEVEL, share, repeats)


def _two_stages(repeats: int, random: Generator) -> Iterator[Row]:
    for pilot in SEEDS:
        covered = 0
        for row in random.normal(size=(repeats, pilot)):
            deviation = float(row.std(ddof=1))
            plan = seeds_for_halfwidth(deviation, pilot, 0.6, LEVEL)
            mean = (row.sum() + random.normal() * math.sqrt(plan.more)) / plan.seeds
            low, high = stein_interval(mean, plan.seeds, deviation, pilot, LEVEL)
            covered += low <= 0 <= high
        yield Row("two-stage interval, Stein", "normal, this pilot", pilot, LEVEL, covered / repeats, repeats)


def _bands(repeats: int, random: Generator) -> Iterator[Row]:
    """Gaussian curves, and the exponentials of curves: what a loss is on its logarithmic scale."""
    at = np.arange(_EPOCHS)
    full = np.ones((1, _EPOCHS), dtype=bool)
    for name, smoothness in _SMOOTHNESS.items():
        covariance = np.exp(-0.5 * ((at[:, None] - at) / smoothness) ** 2) + 1e-8 * np.eye(_EPOCHS)
        root = np.linalg.cholesky(covariance).T
        for seeds in (FEWEST_SEEDS, *SEEDS[1:]):
            covered = sum(_inside(random.normal(size=(part, seeds, _EPOCHS)) @ root, full) for part in _parts(repeats))
            yield Row("band for a curve", f"{name} curves", seeds, LEVEL, covered / repeats, repeats)


def _parts(repeats: int, most: int = 1000) -> Iterator[int]:
    """So that a simulation of any length fits into little memory."""
    for start in range(0, repeats, most):
        yield min(most, repeats - start)


def _inside(values: Floats, full: NDArray[np.bool_]) -> int:
    """How many bands hold the true mean, 0, at all points."""
    multiplier = simultaneous_multiplier(values, np.repeat(full, len(values), axis=0), LEVEL)
    sem = values.std(axis=1, ddof=1) / math.sqrt(values.shape[1])
    return int((np.abs(values.mean(axis=1)) <= multiplier[:, None] * sem).all(axis=1).sum())


def _families(populations: Iterable[Population], repeats: int, random: Generator) -> Iterator[Row]:
    """The family of two metrics and two factors of which one has an effect: how often one of the four true null
    hypotheses is called shown; and Page's test alone. Runs of one seed are correlated over conditions."""
    chosen = [_factor("a", 6), _factor("b", 3)]
    made = list(contrasts(chosen))
    effect = np.repeat(np.arange(6.0), 3)[:, None]  # of the first factor: its own slope is no null hypothesis
    for population in populations:
        for seeds in SEEDS:
            noise = population.draw(random, (repeats, 2, 18, seeds)) + population.draw(random, (repeats, 2, 1, seeds))
            found = np.stack([one_sample_t(_slopes(contrast, noise + effect)).p for contrast in made], axis=-1)
            p = found.reshape(repeats, -1)  # metrics x contrasts; slopes on a have the effect
            null = [i for i in range(p.shape[1]) if i % len(made) != 0]
            for name, correct in (("Holm", holm), ("Bonferroni", bonferroni)):
                wrong = sum(bool((correct(row)[null] <= ALPHA).any()) for row in p)
                yield Row(f"family-wise error, {name}", population.name, seeds, ALPHA, wrong / repeats, repeats)
            tables = noise[: repeats // 5, 0].reshape(-1, 6, 3, seeds).mean(axis=2).swapaxes(1, 2)
            wrong = sum(page_p(table) <= ALPHA for table in tables)
            yield Row("type I error, Page's L", population.name, seeds, ALPHA, wrong / len(tables), len(tables))


def _slopes(contrast: Contrast, values: Floats) -> Floats:
    """The contrast of every seed in many sweeps at once; values: shape (sweeps, metrics, conditions, seeds)."""
    sweeps, metrics, conditions, seeds = values.shape
    flat = np.moveaxis(values, 2, 0).reshape(conditions, -1)
    return per_seed(contrast, flat).reshape(sweeps, metrics, seeds)


def _factor(name: str, levels: int) -> Factor:
    return Factor(name, name, name, name, tuple(2**i for i in range(levels)), log=True, ordered=True)


def text(rows: Iterable[Row]) -> Iterator[str]:
    """The table, line by line, as it stands in docs/statistics.md."""
    yield "| what | data | seeds | nominal % | measured % | +- |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        numbers = f"{100 * row.nominal:g} | {100 * row.share:.1f} | {100 * row.error:.1f}"
        yield f"| {row.what} | {row.data} | {row.seeds} | {numbers} |"
