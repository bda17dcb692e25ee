"""Aggregations at the same time; all pairs of places are tried by `make chaos`."""

from __future__ import annotations

from pathlib import Path

from .aggregates import campaign


def test_aggregations_at_once_leave_one_set_and_the_next_one_repairs_what_a_kill_left(tmp_path: Path) -> None:
    counts = campaign(tmp_path, seed=3, pairs=4)
    assert counts["aggregations at once"] == 8
    assert counts["kills"] > 0
