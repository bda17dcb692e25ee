from __future__ import annotations

import heapq
import itertools

import pytest

from hpc.planning.packing import MEMORY_SHARE, Limits, Measurement, choose

# A GPU that is far from full: twice the cells, hardly more time.
GPU = [Measurement(width, 1.0 + 0.01 * width, device_bytes=width << 30) for width in (1, 2, 3, 5, 8, 16, 32)]
# A CPU core: packs of five take 0.75 of the time of five alone, wider ones fall out of its cache.
CPU = [Measurement(1, 1.4), Measurement(2, 2.5), Measurement(5, 5.2), Measurement(8, 11.2)]


def test_one_process_takes_the_widest_pack_that_pays() -> None:
    assert choose(32, GPU, Limits(processes=1)).width == 32
    assert choose(40, CPU, Limits(processes=1)).width == 5


def test_many_free_processes_make_narrow_packs_faster_than_the_widest() -> None:
    assert choose(30, CPU, Limits(processes=30)).width == 1
    assert choose(30, CPU, Limits(processes=15)).width == 2
    assert choose(32, GPU, Limits(processes=8)).width == 4  # between the measured 3 and 5


def test_a_pack_never_needs_more_memory_than_a_process_has() -> None:
    limits = Limits(processes=1, device_bytes=10 << 30)
    choice = choose(32, GPU, limits)
    assert choice.width <= MEMORY_SHARE * 10
    assert "32 would not fit into memory" in choice.reason
    assert choose(32, [Measurement(1, 1.0, host_bytes=1 << 30)], Limits(1, host_bytes=2 << 30)).width == 1


def test_memory_that_was_not_measured_or_is_not_known_is_no_bound() -> None:
    assert choose(8, [Measurement(1, 1.0), Measurement(8, 1.1)], Limits(1, device_bytes=1)).width == 8
    assert choose(32, GPU, Limits(1)).width == 32


def test_what_does_not_fit_even_alone_is_refused_with_the_fix() -> None:
    with pytest.raises(ValueError, match="mem_gb"):
        choose(4, GPU, Limits(1, device_bytes=1 << 30))
    with pytest.raises(ValueError, match="measured"):
        choose(4, [], Limits(1))


def test_starting_a_process_counts_once_the_length_of_a_cell_is_known() -> None:
    linear = [Measurement(width, float(width)) for width in (1, 2, 4)]
    assert choose(8, linear, Limits(2)).width == 1
    assert choose(8, linear, Limits(2), steps=10, start_s=30.0).width == 4
    assert choose(8, linear, Limits(2), steps=10, start_s=30.0).seconds == 30 + 10 * 4


def test_processes_of_one_task_share_its_cells() -> None:
    choice = choose(64, GPU, Limits(processes=8, per_task=4))
    assert (choice.width, choice.pack_size) == (8, 32)


def test_no_pack_is_wider_than_the_cells_that_are_left() -> None:
    assert choose(3, GPU, Limits(1)).width == 3
    assert choose(1, GPU, Limits(5)).width == 1


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
@pytest.mark.parametrize("cells", [1, 4, 5, 6, 23, 30])
def test_the_estimate_and_the_choice_are_those_of_playing_the_sweep_through(cells: int, processes: int) -> None:
    seconds = {1: 1.4, 2: 2.5, 3: 3.4, 4: 4.3, 5: 5.2}
    series = [Measurement(width, value) for width, value in seconds.items()]

    def played(width: int) -> float:
        busy = [0.0] * processes
        sizes = [min(width, cells - start) for start in range(0, cells, width)]
        for size in sizes:
            heapq.heappush(busy, heapq.heappop(busy) + seconds[size])
        return max(busy)

    choice = choose(cells, series, Limits(processes))
    best = min(played(width) for width in itertools.takewhile(lambda w: w <= cells, seconds))
    assert choice.seconds == pytest.approx(played(choice.width))
    assert played(choice.width) == pytest.approx(best)
