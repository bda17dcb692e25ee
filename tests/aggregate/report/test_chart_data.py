"""Curves as they are sent to the page: 16 bits a number, and close enough for a screen."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from aggregate.arrays import Floats
from aggregate.report.chart_data import _packed


def _unpacked(packed: dict[str, object], *, log: bool) -> Floats:
    codes = np.frombuffer(base64.b64decode(str(packed["packed"])), "<u2")
    numbers = float(str(packed["start"])) + codes * float(str(packed["step"]))
    return np.where(codes == 65535, np.nan, np.exp(numbers) if log else numbers)


@pytest.mark.parametrize("log", [True, False])
def test_packed_numbers_are_within_a_ten_thousandth_of_the_charts_height_and_gaps_stay_gaps(log: bool) -> None:
    random = np.random.default_rng(1)
    values = np.exp(random.normal(0, 3, (4, 3, 20)))
    values[1, 2, 5:] = np.nan
    scale = np.log if log else np.asarray
    found = _unpacked(_packed([values], log=log), log=log).reshape(values.shape)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(values))
    height = np.nanmax(scale(values)) - np.nanmin(scale(values))
    np.testing.assert_allclose(scale(found), scale(values), atol=1e-4 * height)


def test_the_ends_of_a_band_beyond_the_chart_do_not_take_its_digits() -> None:
    values, band = np.linspace(1.0, 2.0, 50), np.array([-1e9, 1e9, np.inf])
    found = _unpacked(_packed([values, band], log=False), log=False)
    np.testing.assert_allclose(found[:50], values, atol=1e-4)
    assert found[50] < -4.5 < 7.5 < found[51]  # outside, where the frame cuts it off however far it reaches
    assert np.isnan(found[52])


@pytest.mark.parametrize("values", [np.full(3, np.nan), np.full(3, 0.25), np.array([0.0, np.nan, 0.0])])
def test_curves_without_any_range_are_packed_all_the_same(values: Floats) -> None:
    np.testing.assert_allclose(_unpacked(_packed([values], log=False), log=False), values)
