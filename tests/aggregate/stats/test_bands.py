from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from aggregate.analysis.curves import by_level, curves
from aggregate.stats.bands import simultaneous_multiplier

EPOCHS = 30


def _gaussian_curves(seeds: int, smoothness: float, repeats: int) -> np.ndarray:
    at = np.arange(EPOCHS)
    covariance = np.exp(-0.5 * ((at[:, None] - at) / smoothness) ** 2) + 1e-8 * np.eye(EPOCHS)
    return np.random.default_rng(5).normal(size=(repeats, seeds, EPOCHS)) @ np.linalg.cholesky(covariance).T


@pytest.mark.parametrize("smoothness", [0.3, 4.0, 15.0])
@pytest.mark.parametrize("seeds", [4, 5, 10])
def test_the_band_holds_the_whole_curve_as_often_as_it_says(seeds: int, smoothness: float) -> None:
    values = _gaussian_curves(seeds, smoothness, 3000)
    multiplier = simultaneous_multiplier(values, np.ones((3000, EPOCHS), dtype=bool))
    t = np.abs(values.mean(axis=1)) / (values.std(axis=1, ddof=1) / np.sqrt(seeds))
    assert 0.94 <= (t.max(axis=1) <= multiplier).mean() <= 0.975
    pointwise = special.stdtrit(seeds - 1, 0.975)
    assert (t.max(axis=1) <= pointwise).mean() < 0.87


def test_a_constant_shift_needs_no_more_than_a_point_and_no_band_more_than_bonferroni() -> None:
    shift = np.repeat(np.random.default_rng(1).normal(size=(1, 5, 1)), EPOCHS, axis=2)
    full = np.ones((1, EPOCHS), dtype=bool)
    assert simultaneous_multiplier(shift, full)[0] == pytest.approx(special.stdtrit(4, 0.975))
    rough = _gaussian_curves(5, 0.1, 20)
    assert (
        simultaneous_multiplier(rough, np.repeat(full, 20, 0)) <= special.stdtrit(4, 1 - 0.025 / EPOCHS) + 1e-9
    ).all()


def test_three_seeds_get_no_band() -> None:
    values = _gaussian_curves(3, 4.0, 2)
    assert np.isnan(simultaneous_multiplier(values, np.ones((2, EPOCHS), dtype=bool))).all()


def _long(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """position, epoch and value of every finite entry of (cells, epochs)."""
    cell, place = np.nonzero(np.isfinite(values))
    return cell, place + 1, values[cell, place]


def test_a_band_ends_where_the_first_seed_stops() -> None:
    values = _gaussian_curves(5, 4.0, 1)[0]
    values[2, 20:] = np.nan
    made = curves(*_long(values), np.ones((1, 5), dtype=bool))
    assert made.n[0].tolist() == [5] * 20 + [4] * 10
    assert np.isfinite(made.low[0, :20]).all()
    assert np.isnan(made.low[0, 20:]).all()
    assert np.isfinite(made.mean[0]).all()


def test_losses_are_averaged_and_banded_on_a_log_scale() -> None:
    values = np.exp(_gaussian_curves(4, 4.0, 1)[0])
    made = curves(*_long(values), np.ones((1, 4), dtype=bool), log=True)
    np.testing.assert_allclose(made.mean[0], np.exp(np.log(values).mean(axis=0)))
    np.testing.assert_allclose(np.log(made.high / made.mean), np.log(made.mean / made.low))
    assert not curves(*_long(-values), np.ones((1, 4), dtype=bool), log=True).log


def test_levels_of_a_factor_are_averaged_within_seeds_that_have_all_conditions() -> None:
    values = np.arange(2 * 3 * 2 * 2, dtype=float).reshape(12, 2)  # 2 x 3 conditions, 2 seeds, 2 epochs
    values[1, 1] = np.nan  # first condition, second seed, second epoch
    found = by_level(curves(*_long(values), np.ones((6, 2), dtype=bool)), np.arange(6).reshape(2, 3))
    cells = values.reshape(2, 3, 2, 2)
    np.testing.assert_allclose(found.values, cells.mean(axis=1))
    assert found.n.tolist() == [[2, 1], [2, 2]]
    by_other = by_level(curves(*_long(values), np.ones((6, 2), dtype=bool)), np.arange(6).reshape(2, 3).T)
    np.testing.assert_allclose(by_other.values, cells.mean(axis=0))


def test_the_band_of_a_bounded_metric_stays_within_the_bounds_and_no_other_band_does() -> None:
    seeds, epochs = 5, 3
    position, epoch = np.repeat(np.arange(seeds), epochs), np.tile(np.arange(1, epochs + 1), seeds)
    values = np.repeat([0.1, 0.1, 0.1, 0.1, 0.9], epochs) + 0.01 * epoch
    counted = np.ones((1, seeds), dtype=bool)
    free = curves(position, epoch, values, counted)
    held = curves(position, epoch, values, counted, bounded=True)
    assert (free.low < 0).all()
    # The delta method: half as wide on the scale of the logit as the free band over m (1 - m).
    half = (free.high - free.low) / 2 / (free.mean * (1 - free.mean))
    expected = 1 / (1 + np.exp(-(np.log(free.mean / (1 - free.mean)) + np.array([[-1], [1]]) * half)))
    np.testing.assert_allclose(np.concatenate([held.low, held.high]), expected)
    wrong = curves(position, epoch, values + 1, counted, bounded=True)
    assert (wrong.high > 1).all()
