"""How the cells of a task are cut into packs where a pack's width may change bits."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from training.loop.width import MOST_PACKS, NARROWEST, SPARE, chosen_width

COUNTS = st.lists(st.integers(1, 400), min_size=1, max_size=8)


def packs(cells: list[int], width: int) -> int:
    return sum(math.ceil(count / width) for count in cells)


def test_a_sweep_of_one_architecture_is_cut_into_four_packs() -> None:
    assert packs([210], chosen_width([210])) == 4
    assert packs([209], chosen_width([209])) == 4


def test_cells_of_a_wider_architecture_do_not_get_a_pack_as_wide_as_that_of_all_others() -> None:
    width = chosen_width([180, 30])
    assert packs([180, 30], width) * width <= 1.05 * 210


def test_few_cells_are_one_pack() -> None:
    assert [chosen_width([count]) for count in (1, 3, 8, NARROWEST, 20)] == [1, 3, 8, NARROWEST, 20]


@given(COUNTS)
def test_no_more_rows_are_idle_than_the_width_of_least_waste_has_and_the_spare_ones(cells: list[int]) -> None:
    chosen = chosen_width(cells)
    assert 1 <= chosen <= max(cells)
    narrowest = min(max(NARROWEST, math.ceil(sum(cells) / MOST_PACKS)), max(cells))
    for width in range(narrowest, max(cells) + 1):
        assert packs(cells, chosen) * chosen <= (1 + SPARE) * packs(cells, width) * width


@given(COUNTS, st.data())
def test_a_task_that_is_requeued_with_some_of_its_cells_keeps_its_width(cells: list[int], data: st.DataObject) -> None:
    width = chosen_width(cells)
    left = [data.draw(st.integers(0, count)) for count in cells]
    if any(left):
        assert chosen_width([count for count in left if count], saved=width) == width


def test_a_task_of_far_more_cells_than_a_saved_one_had_does_not_become_hundreds_of_packs() -> None:
    assert chosen_width([210], saved=1) == math.ceil(210 / MOST_PACKS)
