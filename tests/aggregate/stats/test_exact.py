"""Tests that count all ways, against SciPy and against counting them one by one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats

from aggregate.stats.exact import permutation_p, sign_change_p


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_changing_signs_is_scipys_permutation_of_samples(seeds: int) -> None:
    values = np.random.default_rng(seeds).normal(0.5, 1, seeds)
    expected = scipy.stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_change_p(values) == pytest.approx(expected.pvalue)


def test_seeds_that_all_agree_have_the_smallest_p_and_too_many_none() -> None:
    assert sign_change_p(np.array([0.1, 0.2, 0.1, 0.3, 0.2])) == 2 / 32
    assert np.isnan(sign_change_p(np.ones(17)))
    assert np.isnan(sign_change_p(np.empty(0)))


def test_a_permuted_correlation_counts_the_orders_that_correlate_as_much() -> None:
    x, y = np.random.default_rng(1).normal(size=(2, 5))
    wanted = abs(np.corrcoef(x, y)[0, 1])
    found = [abs(np.corrcoef(x, list(order))[0, 1]) for order in itertools.permutations(y)]
    assert permutation_p(x - x.mean(), y - y.mean()) == np.mean(np.array(found) >= wanted - 1e-12)


def test_of_many_seeds_a_draw_of_orders_finds_what_pearson_does_where_seeds_are_normal() -> None:
    x, y = np.random.default_rng(2).normal(size=(2, 30))
    y += 0.4 * x
    expected = scipy.stats.pearsonr(x, y).pvalue
    assert permutation_p(x - x.mean(), y - y.mean()) == pytest.approx(expected, abs=0.01)
