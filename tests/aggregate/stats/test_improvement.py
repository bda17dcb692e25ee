from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from aggregate.stats.improvement import improvement_interval, probability_of_improvement

RANDOM = np.random.default_rng(4)


def test_the_probability_of_improvement_is_mann_whitneys_u_over_all_pairs() -> None:
    values, reference = RANDOM.normal(size=(3, 6)), RANDOM.normal(size=6)
    found, n = probability_of_improvement(values, reference, "higher")
    expected = [scipy.stats.mannwhitneyu(row, reference).statistic / 36 for row in values]
    assert found == pytest.approx(expected)
    assert n.tolist() == [6, 6, 6]
    assert probability_of_improvement(values, reference, "lower")[0] == pytest.approx(1 - np.array(expected))


def test_runs_without_a_value_make_no_pairs() -> None:
    values, reference = np.array([[1.0, np.nan, 3.0], [np.nan] * 3]), np.array([2.0, 0.0, np.nan])
    found, n = probability_of_improvement(values, reference, "higher")
    assert found[0] == 0.75
    assert np.isnan(found[1])
    assert n.tolist() == [2, 0]


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_its_interval_covers_and_has_a_width_even_where_every_pair_agrees(seeds: int) -> None:
    shift = 1.0
    truth = scipy.stats.norm.cdf(shift / np.sqrt(2))
    found, n = probability_of_improvement(
        RANDOM.normal(shift, 1, (4000, seeds)), np.zeros(seeds) + RANDOM.normal(size=(4000, seeds)), "higher"
    )
    low, high = improvement_interval(found, n)
    assert ((low <= truth) & (truth <= high)).mean() > 0.94
    assert np.all((low >= 0) & (high <= 1) & (low < high))
    assert np.all(low[found == 1] < 0.9)
    assert np.all(high[found == 1] == pytest.approx(1.0))
