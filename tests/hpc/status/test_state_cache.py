"""Status of large sweeps: quick the second time, and never wrong for it."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.small_sweeps import make_sweep

from hpc.status import state_cache
from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from hpc.sweep.grid import Axis, Grid
from hpc.sweep.states import COMPLETED, CONFLICT, MISSING


@pytest.fixture(autouse=True)
def caches_small_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_cache, "_WORTH_IT", 1)


LONG_AGO = 1_600_000_000
GRID = Grid((Axis("width", tuple(range(1, 11))),), (42,))
SWEEP = make_sweep(GRID)


def finish(store: Store, cell: Cell) -> None:
    store.paths.cell_directory(cell).mkdir(parents=True, exist_ok=True)
    result = {"status": COMPLETED, "metrics": {}, "seed": 42, "run_id": 0, "epochs": 3, "best_epoch": None}
    result |= {"config_digest": SWEEP.config_digest, "outcome_digest": "o", "provenance": {"attempts": 2}}
    store.paths.result_file(cell).write_text(json.dumps(result))
    os.utime(store.paths.cell_directory(cell), (LONG_AGO, LONG_AGO))


def state_of_the_first(store: Store) -> str:
    """By a whole look: only its end writes the cache."""
    states = [status.state for status in state_cache.statuses(store, GRID, SWEEP)]
    return states[0]


def test_the_cache_says_what_the_files_say(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for cell in GRID[:6]:
        finish(store, cell)
    plain = list(store.statuses(GRID, SWEEP))
    assert list(state_cache.statuses(store, GRID, SWEEP)) == plain
    assert store.paths.state_cache_file.exists()
    assert list(state_cache.statuses(store, GRID, SWEEP)) == plain


def test_finished_cells_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    for cell in GRID:
        finish(store, cell)
    list(state_cache.statuses(store, GRID, SWEEP))
    monkeypatch.setattr("hpc.storage.results.parse_result", lambda *_: pytest.fail("read again"))
    assert {status.state for status in state_cache.statuses(store, GRID, SWEEP)} == {COMPLETED}


def test_what_comes_later_is_seen(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for cell in GRID[:9]:
        finish(store, cell)
    assert [s.state for s in state_cache.statuses(store, GRID, SWEEP)][-1] == MISSING
    finish(store, GRID[9])
    os.utime(store.paths.cell_directory(GRID[9]), (LONG_AGO + 60, LONG_AGO + 60))
    store.paths.conflict_file(GRID[0]).write_text("{}")
    states = [status.state for status in state_cache.statuses(store, GRID, SWEEP)]
    assert (states[0], states[9]) == (CONFLICT, COMPLETED)


def test_another_configuration_or_a_damaged_cache_is_read_from_the_files(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for cell in GRID:
        finish(store, cell)
    list(state_cache.statuses(store, GRID, SWEEP))
    assert {status.state for status in state_cache.statuses(store, GRID, replace(SWEEP, options={"lr": 1}))} == {
        MISSING
    }
    store.paths.state_cache_file.write_text("{")
    assert {status.state for status in state_cache.statuses(store, GRID, SWEEP)} == {COMPLETED}


def test_what_comes_within_the_second_of_the_last_look_is_seen(tmp_path: Path) -> None:
    store = Store(tmp_path)
    cell = GRID[0]
    finish(store, cell)
    # As a file system of whole seconds gives it to all that happens in one: an hour that this test does not take.
    stamp = int(time.time()) + 3600
    os.utime(store.paths.cell_directory(cell), (stamp, stamp))
    assert state_of_the_first(store) == COMPLETED
    store.paths.conflict_file(cell).write_text("{}")
    os.utime(store.paths.cell_directory(cell), (stamp, stamp))
    assert state_of_the_first(store) == CONFLICT
