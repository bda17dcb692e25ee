"""How often the range of the time left was right: sweeps played to their end, looked at on the way."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable

import pytest
from helpers.small_sweeps import make_sweep

from hpc.status.remaining import FEWEST, _unseen, remaining

SWEEPS, CELLS = 60, 60

Draw = Callable[[random.Random], float]
REGIMES: dict[str, Draw] = {
    "alike": lambda chance: math.exp(chance.gauss(4, 0.05)),
    "scattered": lambda chance: math.exp(chance.gauss(4, 0.3)),
    "four levels, mixed": lambda chance: math.exp(3 + 0.5 * chance.randrange(4) + chance.gauss(0, 0.1)),
}


def _seen(seconds: list[float], at_once: int, done: float) -> tuple[list[float], list[float], int, float]:
    """A sweep when a share of its cells is done: durations known, shares left, cells running, time to the true end."""
    free = [0.0] * at_once
    spans = []
    for length in seconds:
        begin = heapq.heappop(free)
        spans.append((begin, begin + length))
        heapq.heappush(free, begin + length)
    now = sorted(end for _, end in spans)[max(FEWEST + 2, int(done * len(seconds))) - 1] + 1e-6
    known = [end - begin for begin, end in spans if end <= now]
    running = sorted(((end - now) / (end - begin) for begin, end in spans if begin <= now < end))
    waiting = [1.0] * sum(begin > now for begin, _ in spans)
    return known, running + waiting, len(running), max(end for _, end in spans) - now


@pytest.mark.parametrize("at_once", [1, 4])
@pytest.mark.parametrize("regime", REGIMES)
def test_the_finish_falls_into_the_range_about_as_often_as_it_says(regime: str, at_once: int) -> None:
    chance = random.Random(f"{regime} {at_once}")
    right = looks = 0
    for _ in range(SWEEPS):
        seconds = [REGIMES[regime](chance) for _ in range(CELLS)]
        for done in (0.2, 0.5, 0.8):
            known, shares, running, truth = _seen(seconds, at_once, done)
            found = remaining(known, shares, running)
            assert found is not None
            assert found.low <= found.middle <= found.high
            right += found.low <= truth <= found.high
            looks += 1
    assert right / looks > 0.8  # of a nominal 0.9: cells that are done first were the short ones


def test_a_sweep_that_is_nearly_done_is_no_longer_uncertain_by_more_than_its_last_cells() -> None:
    found = remaining([100.0, 101.0, 99.0, 100.0, 102.0], [0.1, 0.05], 2)
    assert found is not None
    assert 8 < found.low < found.middle < found.high < 13


def test_too_few_durations_say_nothing() -> None:
    assert remaining([100.0] * 12, [1.0] * 20, 16) is None  # the short ones of a first wave
    assert remaining([100.0] * 24, [1.0] * 20, 16) is not None
    assert remaining([100.0] * (FEWEST - 1), [1.0], 1) is None
    assert remaining([100.0] * FEWEST, [], 1) is None


def test_levels_that_no_cell_is_done_with_are_named() -> None:
    cells = list(make_sweep().grid)
    first, *others = sorted({cell.point for cell in cells})
    done = [cell for cell in cells if cell.point == first]
    (name, value), *_ = next(point for point in others if point != first)
    assert f"{name} {value}" in _unseen(done, cells)
    assert _unseen(cells, cells) == ""
