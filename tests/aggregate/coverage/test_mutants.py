"""Each way in which the shipped statistics could be wrong, planted as if the source were: `holdfast check stats` itself
ends with exit code 4, and names what fell."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import special

from aggregate.analysis import claims
from aggregate.analysis.claims import Claim
from aggregate.analysis.retention import Retained
from aggregate.arrays import Floats
from aggregate.coverage import populations, simulation, verdicts
from aggregate.coverage.row import CoverageRow
from aggregate.coverage.sweeps import TRUTHS
from aggregate.stats import exact, inference, intervals
from aggregate.stats.weighted import WeightedTest
from hpc.cli.app import main

Patch = pytest.MonkeyPatch
Plant = Callable[[Patch], None]


def _everywhere(patch: Patch, right: Any, wrong: Any) -> None:
    """In place of a function wherever it was imported, as a change of its source would be."""
    for name, module in list(sys.modules.items()):
        if name.startswith("aggregate."):
            for key, value in list(vars(module).items()):
                if value is right:
                    patch.setattr(module, key, wrong)


def _no_correction(patch: Patch) -> None:
    _everywhere(patch, inference.holm, np.array)
    _everywhere(patch, inference.holm_levels, lambda p, alpha: [1 - alpha] * len(p))


def _raw_p(patch: Patch) -> None:
    right = claims._judge

    def wrong(claim: Claim, alpha: float) -> Claim:
        return replace(right(replace(claim, adjusted=claim.test.p), alpha), adjusted=claim.adjusted)

    patch.setattr(claims, "_judge", wrong)


def _inverted_retention(patch: Patch) -> None:
    right = Retained.difference.fget
    patch.setattr(Retained, "difference", property(lambda found: -right(found)))  # type: ignore[misc]


def _off_by_one(patch: Patch) -> None:
    """The k-th of m held against alpha / (m - k), in p values and intervals alike."""

    def holm(p: Sequence[float]) -> Floats:
        values = np.asarray(p, dtype=float)
        order = np.argsort(values, kind="stable")
        steps = np.maximum.accumulate(values[order] * np.maximum(np.arange(len(values), 0, -1) - 1, 1))
        adjusted = np.empty_like(values)
        adjusted[order] = np.fmin(steps, 1.0)
        return np.where(np.isnan(values), np.nan, adjusted)

    def levels(p: Sequence[float], alpha: float) -> list[float]:
        found, step = [math.nan] * len(p), len(p)
        for i in sorted(range(len(p)), key=lambda i: (math.isnan(p[i]), p[i])):
            found[i] = 1 - alpha / max(step - 1, 1)
            step -= p[i] * max(step - 1, 1) <= alpha
        return found

    _everywhere(patch, inference.holm, holm)
    _everywhere(patch, inference.holm_levels, levels)


def _level_of_a_single_test(patch: Patch) -> None:
    _everywhere(patch, inference.holm_levels, lambda p, alpha: [1 - alpha] * len(p))


def _one_sided_level(patch: Patch) -> None:
    """Of the intervals of claims."""

    def interval(test: WeightedTest, level: float) -> tuple[float, float]:
        half = float(special.stdtrit(test.freedom, level)) * test.error
        return test.estimate - half, test.estimate + half

    patch.setattr(WeightedTest, "interval", interval)


def _one_sided_level_of_means(patch: Patch) -> None:
    def multiplier(n: Any, level: float) -> Floats:
        seeds = np.asarray(n, dtype=float)
        return np.where(seeds < 2, np.nan, special.stdtrit(np.maximum(seeds - 1, 1), level))

    patch.setattr(intervals, "_multiplier", multiplier)


def _equivalence(sides: Callable[[Floats, float], Floats]) -> Plant:
    """sides: how far the mean lies within the margin."""

    def wrong(values: Any, margin: float) -> Floats:
        test = inference.one_sample_t(values)
        return np.asarray(special.stdtr(test.n - 1, -sides(test.mean, margin) / test.sem))

    return lambda patch: _everywhere(patch, inference.equivalence_p, wrong)


def _trend(change: Callable[[float], float]) -> Plant:
    right = exact.trend_p

    def wrong(bad: Any, size: Any) -> tuple[str, float]:
        method, p = right(bad, size)
        return method, change(p)

    return lambda patch: _everywhere(patch, right, wrong)


# What is planted, and which rows it makes fall.
OF_VERDICTS: dict[str, tuple[Plant, str]] = {
    "no family correction": (_no_correction, "family-wise error"),
    "raw p": (_raw_p, "family-wise error"),
    "inverted retention": (_inverted_retention, "hypothesis, Yes"),
    "level of a single test": (_level_of_a_single_test, "intervals leave out 0 if and only if detected"),
}
OF_METHODS: dict[str, tuple[Plant, str]] = {
    "Holm off by one": (_off_by_one, "Holm's correction"),
    "one-sided level": (_one_sided_level, "average over 3 combinations, t"),
    "one-sided level of means": (_one_sided_level_of_means, "t "),
    "equivalence below the upper margin alone": (
        _equivalence(lambda mean, margin: margin - mean),
        "equivalence, at the margin",
    ),
    "equivalence above the lower margin alone": (
        _equivalence(lambda mean, margin: margin + mean),
        "equivalence, at the margin",
    ),
    "equivalence turned round": (_equivalence(lambda mean, margin: np.abs(mean) - margin), "equivalence, found"),
    "one-sided trend": (_trend(lambda p: p / 2), "trend of failures"),
    "trend never found": (_trend(lambda p: 1.0), "trend of failures, found"),
}


def _some_verdicts(repeats: int) -> Iterator[CoverageRow]:
    random = np.random.default_rng(0)
    (kept,) = (world for world in TRUTHS if world.name.startswith("synergy is kept"))
    yield from verdicts._hypothesis(kept, repeats, random)
    yield from verdicts._wide(repeats, random)


def _nothing(*_: Any, **__: Any) -> Iterator[CoverageRow]:
    return iter(())


@pytest.fixture
def some_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of `check stats`: what it sees among fewer rows, it sees among all of them."""
    monkeypatch.setattr(verdicts, "simulate_verdicts", _some_verdicts)
    monkeypatch.setattr(simulation, "simulate", _nothing)


@pytest.fixture
def some_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other part, of one population and without the bands."""
    monkeypatch.setattr(verdicts, "simulate_verdicts", _nothing)
    monkeypatch.setattr(populations, "textbook", lambda right=populations.textbook: list(right())[:1])
    for name in ("_bands", "_screens"):
        monkeypatch.setattr(simulation, name, _nothing)


def _check(capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """The exit code of the command, and what it says has fallen."""
    code = main(["check", "stats", "--short"])
    return code, [line for line in capsys.readouterr().out.splitlines() if line.startswith("below the baseline: ")]


@pytest.mark.parametrize("part", ["some_verdicts", "some_methods"])
def test_nothing_has_fallen_where_nothing_is_wrong(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], part: str
) -> None:
    request.getfixturevalue(part)
    assert _check(capsys) == (0, [])


@pytest.mark.parametrize("mutant", [*OF_VERDICTS, *OF_METHODS])
def test_check_stats_sees_what_is_wrong_and_names_it(
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
    mutant: str,
) -> None:
    request.getfixturevalue("some_verdicts" if mutant in OF_VERDICTS else "some_methods")
    plant, what = (OF_VERDICTS | OF_METHODS)[mutant]
    plant(monkeypatch)
    code, lines = _check(capsys)
    assert code == 4
    assert any(line.startswith(f"below the baseline: {what}") for line in lines), lines
