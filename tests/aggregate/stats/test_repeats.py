"""Metrics that are the same numbers under another name, and those that only look alike."""

from __future__ import annotations

import numpy as np
import pytest

from aggregate.stats.repeats import repeats

ENTROPY = np.random.default_rng(3).uniform(0.2, 2.3, (6, 4))
INFORMATION = 1 - ENTROPY / np.log(8)


def test_a_share_of_an_error_repeats_it() -> None:
    assert repeats(INFORMATION, ENTROPY, bounded=False) == (True, False)
    assert repeats(ENTROPY, INFORMATION, bounded=False) == (True, False)


def test_a_clipped_share_repeats_what_it_was_clipped_from_and_not_the_other_way_round() -> None:
    clipped = np.clip(INFORMATION, 0, 1)
    assert (clipped != INFORMATION).any()
    assert repeats(clipped, INFORMATION, bounded=True) == (True, True)
    assert repeats(clipped, ENTROPY, bounded=True) == (True, True)
    assert repeats(INFORMATION, clipped, bounded=False) == (False, False)


@pytest.mark.parametrize("other", [np.exp(ENTROPY), ENTROPY + np.where(ENTROPY.max() == ENTROPY, 1e-6, 0.0)])
def test_one_run_that_lies_off_the_line_is_enough(other: np.ndarray) -> None:
    assert repeats(other, ENTROPY, bounded=False) == (False, False)


def test_what_lacks_other_runs_is_no_repetition() -> None:
    gaps = ENTROPY.copy()
    gaps[0, 0] = np.nan
    assert repeats(gaps, ENTROPY, bounded=False) == (False, False)
    assert repeats(gaps, gaps, bounded=False) == (True, False)


def test_through_two_points_there_is_always_a_line() -> None:
    assert repeats(np.array([[1.0, 2.0]]), np.array([[5.0, 3.0]]), bounded=False) == (False, False)
    assert repeats(np.array([[1.0, 1.0]]), np.array([[1.0, 1.0]]), bounded=False) == (True, False)
