"""A weighted sum of means over seeds: Student's t without gaps, and close to it with some."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from aggregate.stats.weighted import weighted_test

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
