from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from aggregate.stats.power import detectable_effect, seeds_for_halfwidth, seeds_for_power


@pytest.mark.parametrize(("seeds", "effect"), [(3, 3.26), (5, 1.68), (10, 1.00)])
def test_the_detectable_effect_is_that_of_the_published_tables(seeds: int, effect: float) -> None:
    assert detectable_effect(seeds) == pytest.approx(effect, abs=0.006)


@pytest.mark.parametrize(("seeds", "effect"), [(3, 8.66), (5, 2.87), (10, 1.41)])
def test_a_family_of_seven_takes_larger_effects(seeds: int, effect: float) -> None:
    assert detectable_effect(seeds, 0.05 / 7) == pytest.approx(effect, abs=0.006)


@pytest.mark.parametrize("seeds", [2, 4, 40, 2000])
@pytest.mark.parametrize("alpha", [0.05, 0.001])
def test_the_detectable_effect_has_that_power_by_the_noncentral_t(seeds: int, alpha: float) -> None:
    shift = detectable_effect(seeds, alpha, 0.9) * np.sqrt(seeds)
    critical = scipy.stats.t.ppf(1 - alpha / 2, seeds - 1)
    assert scipy.stats.nct.sf(critical, seeds - 1, shift) == pytest.approx(0.9, abs=2e-3)


def test_the_seeds_for_a_halfwidth_are_the_first_that_reach_it() -> None:
    plan = seeds_for_halfwidth(0.02, 5, 0.01)

    def halfwidth(n: int) -> float:
        return float(scipy.stats.t.ppf(0.975, n - 1)) * 0.02 / np.sqrt(n)

    assert halfwidth(plan.seeds) <= 0.01 < halfwidth(plan.seeds - 1)
    assert (plan.more, plan.pilot) == (plan.seeds - 5, 5)
    # The pilot's 95 % interval for the spread, by chi square with 4 degrees of freedom, is 0.6 to 2.9 times as wide.
    assert plan.low < plan.seeds < plan.high
    assert seeds_for_halfwidth(0.02 * np.sqrt(4 / scipy.stats.chi2.ppf(0.025, 4)), 5, 0.01).seeds == plan.high
    assert seeds_for_halfwidth(0.001, 5, 0.01).seeds == 5


def test_the_seeds_for_an_effect_detect_it_with_the_power_that_was_asked_for() -> None:
    plan = seeds_for_power(1.0, 5, 0.8, power=0.9, alpha=0.01)

    def power(n: int) -> float:
        critical = scipy.stats.t.ppf(0.995, n - 1)
        return float(scipy.stats.nct.sf(critical, n - 1, 0.8 * np.sqrt(n)))

    assert power(plan.seeds) >= 0.9 > power(plan.seeds - 1)


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
