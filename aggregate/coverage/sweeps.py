"""Sweeps made up with a known truth, from arrays to claims: what `check stats` watches the verdicts with.

Everything behind the arrays is the shipped path: summaries, questions, tests, corrections and verdicts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from aggregate.analysis.claims import Claims, make_claims
from aggregate.analysis.fixed_analysis import Analysis, Compared, Looks, Retention, Slope, Test
from aggregate.analysis.summary import Summary, summarise_arrays
from aggregate.arrays import Floats
from aggregate.reading.declared import BOUNDED, CROSS_ENTROPY, POSITIVE, SQUARED, Factor, Metric
from hpc.sweep.grid import Axis, Grid
from hpc.sweep.states import COMPLETED, FAILED

Noise = Callable[[Generator, tuple[int, ...]], Floats]
DIMS, SCALES = (8, 12, 16, 24, 32), (0.1, 1.0, 10.0)
_COLLAPSING_AT = (3, 1)  # dimension 24 and scale 1: the condition whose runs alone collapse
_KEPT_CHANCE, _OTHER_CHANCE = float(np.log(8)), 0.21
_FACTORS = (
    Factor("dim", "dim", "dimension", "dim", DIMS, log=True, ordered=True),
    Factor("scale", "scale", "scale", "scale", SCALES, log=True, ordered=True),
)
_METRICS = (
    Metric("accuracy", "accuracy", "accuracy", BOUNDED, "higher", 0.125),
    Metric("loss", "loss", "loss", POSITIVE, "lower", None),
    Metric("kept", "kept", "kept", POSITIVE, "lower", _KEPT_CHANCE, error=CROSS_ENTROPY),
    Metric("other", "other", "other", POSITIVE, "lower", _OTHER_CHANCE, error=SQUARED),
)
# The default family of the built-in experiment, and with two more tests for the family-wise error.
HYPOTHESIS = Retention("kept", "other", "dim", _KEPT_CHANCE, _OTHER_CHANCE)
BUILT_IN = (HYPOTHESIS, Slope("accuracy", "dim"))
FAMILY = (*BUILT_IN, Slope("loss", "dim"), Compared("accuracy", "scale", (0.1, 10.0)))
# So many that a correction which is not made cannot be missed.
WIDE: tuple[Test, ...] = (
    *(Slope(metric, factor) for metric in ("accuracy", "loss", "kept", "other") for factor in ("dim", "scale")),
    *(Compared(metric, "dim", (12, 24)) for metric in ("accuracy", "loss", "kept", "other")),
)


def normal(random: Generator, shape: tuple[int, ...]) -> Floats:
    return random.normal(size=shape)


def skewed(random: Generator, shape: tuple[int, ...]) -> Floats:
    """Lognormal with sigma 1, of mean 0 and variance 1."""
    drawn = random.lognormal(0.0, 1.0, shape)
    return np.asarray((drawn - np.exp(0.5)) / np.sqrt((np.e - 1) * np.e))


def bounded(random: Generator, shape: tuple[int, ...]) -> Floats:
    """An accuracy close below its ceiling, of mean 0 and variance 1."""
    a, b = 0.967 * 60, 0.033 * 60
    return np.asarray((random.beta(a, b, shape) - 0.967) / np.sqrt(0.967 * 0.033 / 61))


def collapsing(random: Generator, shape: tuple[int, ...]) -> Floats:
    """One run in ten collapses by 20 standard deviations of the others."""
    return np.asarray(np.where(random.random(shape) < 0.1, -20.0, 0.0) + random.normal(size=shape) + 2.0)


@dataclass(frozen=True)
class World:
    """What is true of a made-up sweep.

    kept, other: retention at every dimension, narrow to wide. learnt: information of either at the widest dimension.
    noise: of every run, mean 0. spread: in information.
    shared: part of a seed's noise that all its conditions share. own: spread of slopes that seeds have of their own.
    failing: share of all runs that fail at random. worst_fail: share of the runs of the narrowest dimension that fail
    because they are the worst. collapsing: share of the runs of one condition that fall to guessing in ``kept``, and of
    no other condition. made_up_for: whether the other runs of that condition are so much better that the mean of all
    its runs is what it would be without.
    """

    name: str
    kept: tuple[float, ...] = (1.0,) * len(DIMS)
    other: tuple[float, ...] = (1.0,) * len(DIMS)
    noise: Noise = normal
    learnt: tuple[float, float] = (0.8, 0.9)
    spread: float = 0.03
    shared: float = 0.5
    own: float = 0.0
    failing: float = 0.0
    worst_fail: float = 0.0
    collapsing: float = 0.0
    made_up_for: bool = False


_STEEP, _GENTLE, _MIDDLE = (0.0, 0.1, 0.4, 0.8, 1.0), (0.3, 0.6, 0.8, 0.95, 1.0), (0.2, 0.4, 0.6, 0.85, 1.0)
# Shares of 0.9 of the variance that are, in nats, shares _MIDDLE of all there is at the widest dimension.
_MIDDLE_IN_NATS = tuple((1 - 0.1**share) / 0.9 for share in _MIDDLE)
TRUTHS = (
    World("both lose the same share", kept=_MIDDLE, other=_MIDDLE),
    World("both lose the same share, little learnt", kept=_MIDDLE, other=_MIDDLE, learnt=(0.1, 0.9)),
    World("both lose the same share of nats", kept=_MIDDLE, other=_MIDDLE_IN_NATS),
    World("synergy is lost first", kept=_STEEP, other=_GENTLE),
    World("synergy is kept, the other lost", kept=_GENTLE, other=_STEEP),
    World("nothing changes"),
)
COLLAPSING = World("both lose the same share, seeds collapse", _MIDDLE, _MIDDLE, noise=collapsing, spread=0.02)
# Nothing changes, but runs of one condition collapse. What that means for "no effect" can be said in two ways: the runs
# that do not collapse are the same as everywhere, or the mean of all runs is.
ONE_COLLAPSES = tuple(
    World(
        f"nothing changes but that {100 * share:g} % of one condition collapse, {which} the same",
        learnt=(0.7, 0.7),
        spread=0.01,
        collapsing=share,
        made_up_for=made_up_for,
    )
    for made_up_for, which in ((False, "the others"), (True, "its mean"))
    for share in (0.1, 0.2)
)
NULLS = (
    World("normal"),
    World("skewed", noise=skewed),
    World("bounded", noise=bounded),
    World("collapsing", noise=collapsing, spread=0.02),
    World("slopes of their own", own=0.02),
    World("5 % of runs fail", failing=0.05),
    World("5 % of runs fail, slopes of their own", failing=0.05, own=0.02),
    World("the worst 30 % of a level fail", worst_fail=0.3),
)


@dataclass(frozen=True)
class Sweeps:
    """Many sweeps of one world. values: by metric, shape (sweeps, conditions, seeds); failed: same shape."""

    values: Mapping[str, Floats]
    failed: NDArray[np.bool_]
    seeds: tuple[int, ...] = field(default=())

    def summary(self, sweep: int, seeds: int) -> Summary:
        """One of them, with its first ``seeds`` seeds."""
        numbers = tuple(range(42, 42 + seeds))
        grid = Grid((Axis("dim", DIMS), Axis("scale", SCALES)), numbers)
        states = np.where(self.failed[sweep, :, :seeds], FAILED, COMPLETED)
        values = [(metric, self.values[metric.name][sweep, :, :seeds]) for metric in _METRICS]
        return summarise_arrays(
            "", _FACTORS, list(grid.conditions()), numbers, states, values, primary=(), level=0.95, complete=True
        )


def draw(world: World, sweeps: int, seeds: int, random: Generator) -> Sweeps:
    """Made-up sweeps; runs of one seed share a part of their noise over all conditions."""
    shape = (sweeps, len(DIMS), len(SCALES), seeds)
    dims = np.log2(np.array(DIMS, dtype=float))
    trend = (dims - dims.mean())[:, None, None] * world.own

    def noise() -> Floats:
        own = trend * random.normal(size=(sweeps, 1, 1, seeds))
        common = world.noise(random, (sweeps, 1, 1, seeds)) * np.sqrt(world.shared)
        alone = world.noise(random, shape) * np.sqrt(1 - world.shared)
        return np.asarray(world.spread * (alone + common) + own)

    def information(retention: tuple[float, ...], widest: float) -> Floats:
        return np.asarray(widest * np.array(retention)[:, None, None] + noise())

    def collapsed(information: Floats) -> Floats:
        """The same with collapses in one condition, which are spread as all runs are."""
        if not world.collapsing:
            return information
        runs = information[:, _COLLAPSING_AT[0], _COLLAPSING_AT[1]]
        mean = world.learnt[0] * world.kept[_COLLAPSING_AT[0]]
        rest = runs + mean * (1 / (1 - world.collapsing) - 1) * world.made_up_for
        lost = random.random(runs.shape) < world.collapsing
        information[:, _COLLAPSING_AT[0], _COLLAPSING_AT[1]] = np.where(lost, runs - mean, rest)
        return information

    accuracy = np.clip(0.8 + noise(), 0.0, 1.0)
    values = {
        "accuracy": accuracy,
        "loss": 0.3 * np.exp(2 * noise()),
        "kept": _KEPT_CHANCE * np.maximum(1 - collapsed(information(world.kept, world.learnt[0])), 1e-3),
        "other": _OTHER_CHANCE * np.maximum(1 - information(world.other, world.learnt[1]), 1e-3),
    }
    failed = random.random(shape) < world.failing
    if world.worst_fail:
        failed[:, 0] |= accuracy[:, 0] < np.quantile(accuracy[:, 0], world.worst_fail)
    flat = (sweeps, len(DIMS) * len(SCALES), seeds)
    return Sweeps({name: found.reshape(flat) for name, found in values.items()}, failed.reshape(flat))


def judged(summary: Summary, analysis: Analysis, looks: Looks | None = None) -> Claims:
    """The verdicts on a made-up sweep, without those on metrics outside the family."""
    named = {test.metric for test in analysis.tests or () if not isinstance(test, Retention)} | {"kept", "other"}
    kept = tuple(entry for entry in summary.metrics if entry.metric.name in named)
    return make_claims(replace(summary, metrics=kept), analysis, np.ones(len(summary.points), dtype=bool), looks)
