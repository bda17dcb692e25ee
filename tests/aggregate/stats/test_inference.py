from __future__ import annotations

import sys

import numpy as np
import pytest
import scipy.stats

from aggregate.stats import exact
from aggregate.stats.exact import fisher_p, trend_p
from aggregate.stats.inference import (
    benjamini_hochberg,
    correlation_by_chance,
    equivalence_p,
    hedges_dz,
    holm,
    one_sample_t,
    pairing_ratio,
    seed_correlation,
)

RANDOM = np.random.default_rng(7)
NAN = float("nan")


def test_one_sample_t_agrees_with_scipy_and_leaves_absent_seeds_out() -> None:
    values = RANDOM.normal(0.4, 1, (6, 7))
    values[2, 3:] = np.nan
    found = one_sample_t(values)
    for i, row in enumerate(values):
        expected = scipy.stats.ttest_1samp(row[np.isfinite(row)], 0)
        interval = expected.confidence_interval(0.95)
        assert (found.t[i], found.p[i]) == pytest.approx((expected.statistic, expected.pvalue))
        assert (found.low[i], found.high[i]) == pytest.approx((interval.low, interval.high))


def test_values_without_spread_have_no_p_value() -> None:
    alike = one_sample_t([0.1, 0.1, 0.1])
    assert alike.mean == 0.1
    assert np.isnan([alike.p, alike.low, alike.high]).all()
    assert np.isnan(one_sample_t([0.1]).p)
    assert np.isnan(equivalence_p([0.0, 0.0], 1.0))


def test_equivalence_is_the_worse_of_two_one_sided_tests() -> None:
    values, margin = np.array([0.1, -0.05, 0.2, 0.02, 0.0]), 0.15
    below = scipy.stats.ttest_1samp(values, margin, alternative="less").pvalue
    above = scipy.stats.ttest_1samp(values, -margin, alternative="greater").pvalue
    assert equivalence_p(values, margin) == pytest.approx(max(below, above))


def test_holm_on_a_worked_case() -> None:
    # .01 x 4, .02 x 3 = .06, .03 x 2 = .06, .04 x 1 -> .06: never below the one before.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])


def test_a_test_that_could_not_be_made_still_counts_in_the_family() -> None:
    np.testing.assert_allclose(holm([0.01, NAN, 0.04]), [0.03, NAN, 0.08])


def test_benjamini_hochberg_agrees_with_scipy_over_the_tests_that_were_made() -> None:
    p = RANDOM.random(20) ** 2
    assert benjamini_hochberg(p) == pytest.approx(scipy.stats.false_discovery_control(p))
    with_gaps = np.insert(p, [0, 5, 20], NAN)
    found = benjamini_hochberg(with_gaps)
    assert found[~np.isnan(with_gaps)] == pytest.approx(scipy.stats.false_discovery_control(p))
    assert np.isnan(found[np.isnan(with_gaps)]).all()


def test_hedges_correction_on_a_worked_case() -> None:
    # 1, 2, 3: d = 2; for 2 degrees of freedom J = gamma(1) / (sqrt(1) gamma(1/2)) = 1 / sqrt(pi).
    assert hedges_dz([1.0, 2.0, 3.0]) == pytest.approx(2 / np.sqrt(np.pi))
    assert np.isnan(hedges_dz([1.0, 2.0]))


def test_the_seed_correlation_is_recovered_and_pairing_pays_by_it() -> None:
    shared, own = RANDOM.normal(size=4000), RANDOM.normal(size=(3, 4000))
    correlation, conditions, seeds = seed_correlation(np.sqrt(0.4) * shared + np.sqrt(0.6) * own)
    assert (correlation, conditions, seeds) == (pytest.approx(0.4, abs=0.03), 3, 4000)
    # Break-even of the paired interval, from the quantiles: 1 - (t_4 / t_2)^2 is above .5 at n = 3.
    assert pairing_ratio(0.0, 3) > 1 > pairing_ratio(0.6, 3)
    assert np.isnan(pairing_ratio(1.0, 5))  # a difference that does not vary has no interval to be narrower
    assert pairing_ratio(0.5, 1000) == pytest.approx(np.sqrt(0.5), abs=1e-3)


def test_seeds_without_every_condition_do_not_enter_the_correlation() -> None:
    values = np.array([[1.0, 2.0, 3.0, NAN], [2.0, 3.0, 4.0, 0.0]])
    assert seed_correlation(values) == (pytest.approx(1.0), 2, 3)
    assert np.isnan(seed_correlation(values[:1])[0])
    assert np.isnan(seed_correlation(values[:, :2])[0])


def test_the_seed_correlation_is_the_mean_over_all_pairs_however_unlike_the_spreads_are() -> None:
    values = RANDOM.normal(size=(6, 5)) * np.array([1, 1e-3, 100, 1, 1e4, 1])[:, None] + 3
    pairs = np.corrcoef(values)[np.triu_indices(6, 1)]
    assert seed_correlation(values) == (pytest.approx(pairs.mean()), 6, 5)
    constant = np.vstack([values, np.full(5, 0.1)])
    assert seed_correlation(constant) == seed_correlation(values)  # what does not vary correlates with nothing


def test_unrelated_runs_correlate_by_0_give_or_take_what_is_said() -> None:
    found = [seed_correlation(RANDOM.normal(size=(8, 5)))[0] for _ in range(4000)]
    assert np.mean(found) == pytest.approx(0, abs=0.005)
    assert np.std(found) == pytest.approx(correlation_by_chance(8, 5), rel=0.05)


@pytest.mark.parametrize("table", [(3, 10, 3, 20), (1, 10, 5, 20), (0, 5, 5, 10), (4, 6, 9, 40)])
def test_fishers_test_agrees_with_scipy(table: tuple[int, int, int, int]) -> None:
    bad, size, all_bad, total = table
    rows = [[bad, size - bad], [all_bad - bad, total - size - all_bad + bad]]
    assert fisher_p(*table) == pytest.approx(scipy.stats.fisher_exact(rows).pvalue)


def test_the_exact_trend_is_that_of_shuffled_failures() -> None:
    bad, size = np.array([0, 1, 1, 4]), np.array([10, 10, 10, 10])
    levels = np.repeat(range(4), 10)
    shuffled = RANDOM.permuted(np.tile(levels, (40_000, 1)), axis=1)[:, :6].sum(axis=1)
    method, p = trend_p(bad, size)
    assert method == "exact trend"
    assert p == pytest.approx(2 * (shuffled >= 15).mean(), abs=0.004)
    assert trend_p(size - bad, size)[1] == pytest.approx(p)


def test_many_failures_take_the_normal_approximation_and_none_are_no_trend() -> None:
    sizes = np.array([200, 200, 200])
    exact, approximate = trend_p(np.array([15, 20, 24]), sizes)[1], trend_p(np.array([16, 21, 25]), sizes)
    assert approximate[0] == "trend, normal approximation"
    assert approximate[1] == pytest.approx(exact, rel=0.2)
    assert np.isnan(trend_p(np.array([0, 0]), np.array([5, 5]))[1])


def test_a_one_sided_equivalence_or_trend_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules[__name__]
    monkeypatch.setattr(module, "equivalence_p", lambda values, margin: one_sample_t(np.array(values) + margin).p / 2)
    with pytest.raises(AssertionError):
        test_equivalence_is_the_worse_of_two_one_sided_tests()
    monkeypatch.setattr(module, "trend_p", lambda bad, size: ("exact trend", exact.trend_p(bad, size)[1] / 2))
    with pytest.raises(AssertionError):
        test_the_exact_trend_is_that_of_shuffled_failures()
