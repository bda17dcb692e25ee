"""Names of settings that are as long as a document: no row of a report, or of a comparison, repeats all of one."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from aggregate.report import page
from aggregate.two_sweeps import differences

FLAT = [page._flat, differences._flat]
LONG = "K" * 500_000


@pytest.mark.parametrize("flat", FLAT)
def test_entries_below_a_long_name_take_memory_as_their_own_size(
    flat: Callable[[str, Any], Iterable[tuple[str, str]]],
) -> None:
    deep = {LONG: {str(number): 0 for number in range(200)}}
    tracemalloc.start()
    try:
        rows = list(flat("sections", deep))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * len(LONG)  # uncut it is 200 times its length
    assert len(dict(rows)) == 200  # each entry keeps a name of its own


@pytest.mark.parametrize("flat", FLAT)
def test_a_name_that_can_be_read_is_left_alone(flat: Callable[[str, Any], Iterable[tuple[str, str]]]) -> None:
    assert list(flat("sections", {"training": {"epochs": 3}})) == [("sections.training.epochs", "3")]
