from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from aggregate.stats.seed_planner import detectable_effect, seeds_for_halfwidth, seeds_for_power, stein_interval

RANDOM = np.random.default_rng(11)


@pytest.mark.parametrize(("seeds", "effect"), [(3, 3.26), (5, 1.68), (10, 1.00)])
def test_the_detectable_effect_is_that_of_the_published_tables(seeds: int, effect: float) -> None:
    assert detectable_effect(seeds) == pytest.approx(effect, abs=0.006)


@pytest.mark.parametrize("seeds", [2, 4, 40, 2000])
@pytest.mark.parametrize("alpha", [0.05, 0.001])
def test_the_detectable_effect_has_that_power_by_the_noncentral_t(seeds: int, alpha: float) -> None:
    shift = detectable_effect(seeds, alpha, 0.9) * np.sqrt(seeds)
    critical = scipy.stats.t.ppf(1 - alpha / 2, seeds - 1)
    assert scipy.stats.nct.sf(critical, seeds - 1, shift) == pytest.approx(0.9, abs=2e-3)


def test_steins_rule_on_a_worked_case() -> None:
    # t at 97.5 %, 4 degrees of freedom: 2.776. (2.776 x 0.02 / 0.01)^2 = 30.8; known spread: (1.96 x 2)^2 = 15.4.
    plan = seeds_for_halfwidth(0.02, 5, 0.01)
    assert (plan.seeds, plan.more, plan.known) == (31, 26, 16)
    assert "31 seeds in all, 26 more" in str(plan)
    assert seeds_for_halfwidth(0.001, 5, 0.01).seeds == 5


def test_a_two_stage_interval_is_as_narrow_as_asked_and_covers_as_it_says() -> None:
    repeats, pilot, target = 4000, 5, 0.6
    covered = 0
    for row in RANDOM.normal(size=(repeats, pilot)):
        deviation = float(row.std(ddof=1))
        plan = seeds_for_halfwidth(deviation, pilot, target)
        mean = (row.sum() + RANDOM.normal() * np.sqrt(plan.more)) / plan.seeds
        low, high = stein_interval(mean, plan.seeds, deviation, pilot)
        assert (high - low) / 2 <= target + 1e-9
        covered += low <= 0 <= high
    assert covered / repeats >= 0.94


def test_a_two_stage_test_has_the_power_that_was_asked_for() -> None:
    repeats, pilot, effect = 3000, 5, 0.8
    detected = 0
    for row in RANDOM.normal(effect, 1, (repeats, pilot)):
        deviation = float(row.std(ddof=1))
        plan = seeds_for_power(deviation, pilot, effect)
        mean = (row.sum() + RANDOM.normal(plan.more * effect, np.sqrt(plan.more))) / plan.seeds
        low, high = stein_interval(mean, plan.seeds, deviation, pilot)
        detected += not low <= 0 <= high
    assert detected / repeats >= 0.79


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((0.1, 1, 0.1), "2 or more"),
        ((-1.0, 5, 0.1), "0 or more"),
        ((0.1, 5, 0.0), "above 0"),
        ((1.0, 5, 1e-9), "seeds"),
    ],
)
def test_a_plan_that_cannot_be_made_says_why(arguments: tuple[float, int, float], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        seeds_for_halfwidth(*arguments)
