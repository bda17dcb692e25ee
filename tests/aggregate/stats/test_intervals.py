from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from aggregate.stats.intervals import (
    clopper_pearson,
    delta_logit_interval,
    describe,
    median_interval,
    t_interval,
    without_rounding,
)


def test_a_hand_worked_case_gives_mean_std_and_t_interval() -> None:
    # 1, 2, 3: mean 2, std 1, sem 1/sqrt(3); the t table has 4.303 for two degrees of freedom.
    d = describe([1.0, 2.0, 3.0])
    low, high = t_interval(d.mean, d.sem, d.n)
    assert (d.n, d.mean, d.std, d.median, d.minimum, d.maximum) == (3, 2.0, 1.0, 2.0, 1.0, 3.0)
    assert low == pytest.approx(2 - 4.303 / 3**0.5, abs=1e-3)
    assert high == pytest.approx(2 + 4.303 / 3**0.5, abs=1e-3)


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_description_and_t_interval_agree_with_scipy_for_every_number_of_seeds(level: float) -> None:
    values = np.random.default_rng(1).normal(3, 2, (8, 11))
    for row, n in zip(values, range(2, 10), strict=True):
        row[n:] = np.nan
    d = describe(values)
    low, high = t_interval(d.mean, d.sem, d.n, level)
    for i, n in enumerate(range(2, 10)):
        seeds = values[i, :n]
        expected = scipy.stats.t.interval(level, n - 1, loc=np.mean(seeds), scale=scipy.stats.sem(seeds))
        assert (low[i], high[i]) == pytest.approx(expected)
        assert d.std[i] == pytest.approx(np.std(seeds, ddof=1))
        assert d.median[i] == pytest.approx(np.median(seeds))
        assert (d.minimum[i], d.maximum[i], d.n[i]) == (seeds.min(), seeds.max(), n)


def test_one_seed_has_a_mean_but_no_spread_and_no_interval() -> None:
    d = describe([[0.25, np.nan], [np.nan, np.nan]])
    assert d.n.tolist() == [1, 0]
    assert d.mean[0] == d.median[0] == 0.25
    for nothing in (d.std, d.sem, *t_interval(d.mean, d.sem, d.n), *delta_logit_interval(d.mean, d.sem, d.n)):
        assert np.isnan(nothing).all()


def test_equal_values_have_exactly_no_spread() -> None:
    # Three times 0.1 sums to 0.30000000000000004: the mean must still be 0.1, and the spread 0.
    d = describe([0.1, 0.1, 0.1])
    assert (d.mean, d.std, d.sem, bool(d.zero_spread)) == (0.1, 0.0, 0.0, True)
    assert t_interval(d.mean, d.sem, d.n) == (0.1, 0.1)


def test_the_order_of_conditions_changes_no_bit() -> None:
    values = np.random.default_rng(2).random((40, 7))
    order = np.random.default_rng(3).permutation(40)
    assert (describe(values).mean[order] == describe(values[order]).mean).all()
    assert (describe(values).std[order] == describe(values[order]).std).all()


def test_the_logit_interval_is_the_t_interval_of_the_logit_scale() -> None:
    accuracies = np.array([0.90, 0.95, 0.99])
    m, s = accuracies.mean(), scipy.stats.sem(accuracies)
    t = scipy.stats.t.ppf(0.975, 2)
    logit = np.log(m / (1 - m))
    expected = [1 / (1 + np.exp(-(logit + sign * t * s / (m * (1 - m))))) for sign in (-1, 1)]
    assert delta_logit_interval(m, s, 3) == pytest.approx(expected)


def test_the_logit_interval_stays_in_bounds_where_the_t_interval_leaves_them() -> None:
    d = describe([0.90, 0.999, 1.0])
    assert t_interval(d.mean, d.sem, d.n)[1] > 1
    low, high = delta_logit_interval(d.mean, d.sem, d.n)
    assert 0 < low < d.mean < high < 1


def test_a_metric_at_its_bound_is_its_own_interval() -> None:
    for value in (0.0, 1.0):
        d = describe([value, value, value])
        assert delta_logit_interval(d.mean, d.sem, d.n) == (value, value)


def test_a_spread_whose_squares_vanish_or_overflow_is_still_one() -> None:
    for unit in (1e-200, 1e180):
        assert describe([unit, 2 * unit, 3 * unit]).std == pytest.approx(unit)


def test_intervals_refuse_means_outside_their_kind_and_wrong_levels() -> None:
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        delta_logit_interval(1.2, 0.1, 3)
    with pytest.raises(ValueError, match="level is 95"):
        t_interval(1.0, 0.1, 3, 95)


@pytest.mark.parametrize(("k", "n"), [(0, 5), (5, 5), (3, 5), (1, 1), (0, 1), (37, 40)])
def test_completion_intervals_agree_with_scipy(k: int, n: int) -> None:
    expected = scipy.stats.binomtest(k, n).proportion_ci(0.95, method="exact")
    assert clopper_pearson(k, n) == pytest.approx((expected.low, expected.high))


def test_a_completion_rate_without_trials_could_be_anything() -> None:
    assert clopper_pearson([0], [0]) == (0.0, 1.0)
    with pytest.raises(ValueError, match="number of trials"):
        clopper_pearson(3, 2)


@pytest.mark.parametrize("n", [6, 9, 10, 25])
def test_the_median_interval_is_the_narrowest_between_ordered_values_that_covers_enough(n: int) -> None:
    values = np.random.default_rng(4).random(n)
    low, high = median_interval(values)
    ordered = np.sort(values)
    skipped = int(np.flatnonzero(ordered == low)[0])
    assert high == ordered[n - 1 - skipped]
    # The median lies below the k-th value with the chance of fewer than k of n fair coins.
    assert 1 - 2 * scipy.stats.binom.cdf(skipped, n, 0.5) >= 0.95
    assert 1 - 2 * scipy.stats.binom.cdf(skipped + 1, n, 0.5) < 0.95


def test_five_seeds_are_too_few_for_a_median_at_95_percent_but_not_at_90() -> None:
    values = [3.0, 1.0, 2.0, 5.0, 4.0, np.nan]
    assert np.isnan(median_interval(values)).all()
    assert median_interval(values, 0.9) == (1.0, 5.0)
    assert np.isnan(median_interval([np.nan, np.nan], 0.5)).all()


def test_what_is_rounding_is_taken_away_and_nothing_else() -> None:
    rows = np.array([[0.1 + 0.2 - 0.3, 1e-17, np.nan], [0.1 + 0.2, 0.3, np.nan], [0.1, 0.2, 0.3]])
    found = without_rounding(rows, np.full(rows.shape, 1e-15))
    assert found[0, :2].tolist() == [0.0, 0.0]
    assert found[1, 0] == found[1, 1] == pytest.approx(0.3)
    assert np.isnan(found[:2, 2]).all()
    assert found[2].tolist() == [0.1, 0.2, 0.3]
