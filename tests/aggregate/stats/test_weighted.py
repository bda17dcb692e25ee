"""A weighted sum of means over seeds: Student's t without gaps, and close to it with some."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from aggregate.stats.weighted import WeightedTest, averaged, cancels, chance_of_narrower, weighted_test

RANDOM = np.random.default_rng(8)
SLOPE = np.array([-2.0, -1.0, 0.0, 1.0, 2.0]) / 10


def test_without_gaps_it_is_students_test_of_the_sums_within_seeds() -> None:
    values = RANDOM.normal(size=(5, 7))
    found = weighted_test(values, SLOPE)
    expected = scipy.stats.ttest_1samp((SLOPE[:, None] * values).sum(axis=0), 0)
    assert (found.estimate, found.p) == pytest.approx((np.mean(found.per_seed), expected.pvalue))
    assert found.freedom == 6
    interval = expected.confidence_interval(0.99)
    assert found.interval(0.99) == pytest.approx((interval.low, interval.high))


def test_a_gap_that_is_nearly_filled_changes_nearly_nothing() -> None:
    """A row without weight may lack a seed: nothing depends on it, and the test is the same."""
    values = RANDOM.normal(size=(5, 7))
    whole = weighted_test(values, SLOPE)
    values[2, 3] = np.nan
    found = weighted_test(values, SLOPE)
    assert (found.estimate, found.error, found.freedom) == pytest.approx((whole.estimate, whole.error, 6.0))


@pytest.mark.parametrize("own", [0.0, 0.5])
def test_the_type_one_error_with_gaps_stays_at_its_level_even_if_seeds_have_slopes_of_their_own(own: float) -> None:
    repeats, wrong, tested = 1500, 0, 0
    for _ in range(repeats):
        values = RANDOM.normal(size=(5, 5)) + own * (10 * SLOPE)[:, None] * RANDOM.normal(size=5)
        values[RANDOM.random(values.shape) < 0.1] = np.nan
        p = weighted_test(values, SLOPE).p
        tested += p == p
        wrong += p <= 0.05
    assert tested > 0.95 * repeats
    assert wrong / tested < 0.05 + 3 * 0.0056


def test_a_row_with_one_value_says_nothing_of_chance() -> None:
    values = RANDOM.normal(size=(5, 4))
    values[0, 1:] = np.nan
    assert np.isnan(weighted_test(values, SLOPE).p)


def test_seeds_that_all_gave_the_same_number_have_no_interval() -> None:
    """One of no width would be read as one that covers."""
    found = weighted_test(np.full((2, 5), 0.3), np.array([1.0, -0.5]))
    assert (found.estimate, found.error) == (pytest.approx(0.15), 0.0)
    assert np.isnan([found.p, *found.interval(0.95)]).all()


def test_last_digits_do_not_depend_on_how_a_matrix_product_adds() -> None:
    values = RANDOM.normal(size=(5, 9)) * 10.0 ** RANDOM.integers(-8, 8, (5, 1))
    found = weighted_test(values, SLOPE).per_seed
    for seed in range(9):
        total = 0.0
        for row in range(5):
            total += float(SLOPE[row]) * float(values[row, seed])
        assert found[seed] == total


def test_spreads_whose_squares_vanish_are_still_spreads() -> None:
    values = 1e-200 * RANDOM.normal(1.0, 0.1, (1, 6))
    assert weighted_test(values, np.ones(1)).p == pytest.approx(scipy.stats.ttest_1samp(values[0] * 1e200, 0).pvalue)


def test_the_average_of_unrelated_tests_is_welchs_for_two_groups() -> None:
    """The mean of a row and of the negative of another is half the difference of two groups."""
    a, b = RANDOM.normal(1.0, 1.0, 5), RANDOM.normal(0.0, 3.0, 5)
    found = averaged([weighted_test(a[None], np.ones(1)), weighted_test(-b[None], np.ones(1))])
    expected = scipy.stats.ttest_ind(a, b, equal_var=False)
    assert (found.p, found.freedom) == (pytest.approx(expected.pvalue), pytest.approx(expected.df))
    low, high = expected.confidence_interval()
    assert found.interval(0.95) == pytest.approx((low / 2, high / 2))


@pytest.mark.parametrize(("shared", "seen"), [(-1.0, True), (1.0, False)])
def test_errors_that_cancel_are_told_from_those_that_add_up(shared: float, seen: bool) -> None:
    own = RANDOM.normal(size=5)
    rows = np.stack([own, shared * own]) + 0.1 * RANDOM.normal(size=(2, 5))
    test = weighted_test(rows, np.full(2, 0.5))
    other = averaged([weighted_test(row[None], np.ones(1)) for row in rows])
    assert cancels(test, other, 0.95) is seen


def test_how_often_unrelated_errors_cancel_as_much_is_never_said_to_be_rarer_than_it_is() -> None:
    for rows in (2, 3, 6):
        drawn = RANDOM.normal(size=(3000, rows, 5))
        means, own = drawn.mean(axis=1), (drawn.var(axis=2, ddof=1).sum(axis=1) / rows**2 / 5) ** 0.5
        ratio = (means.var(axis=1, ddof=1) / 5) ** 0.5 / own
        for limit in (0.4, 0.6, 0.8):
            test = WeightedTest(0.0, limit, 4.0, 5, np.empty(0))
            other = WeightedTest(0.0, 1.0, 10.0, 5, np.empty(0))
            assert np.mean(ratio <= limit) <= chance_of_narrower(test, other) + 0.02
