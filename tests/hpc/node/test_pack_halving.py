"""A fused pack that fails as a whole is tried again in halves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.small_sweeps import make_grid, make_store, make_sweep, run_here, write_trainer

from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from hpc.sweep.states import COMPLETED, FAILED

# A pack of more than `fits` cells needs more memory than there is; one cell may be broken in itself.
TRAINER = """
def train(cells, options, run):
    with open(options["calls"], "a") as calls:
        calls.write(f"{len(cells)}\\n")
    states = {cell: run.restore(cell) for cell in cells}
    if len(cells) > options["fits"]:
        run.save({cell: Checkpoint(step=len(cells), values={}) for cell in cells})
        raise MemoryError("a batch of all cells does not fit")
    for cell in cells:
        if cell.name == options["broken"]:
            raise ValueError("this one")
        run.finish(cell, {"loss": states[cell].step if states[cell] else 0})
"""


def sweep_of(root: Path, cells: int, fits: int, broken: str = "") -> tuple[Store, list[Cell]]:
    path = write_trainer(root / "trainer", TRAINER)
    options = {"fits": fits, "calls": str(root / "calls"), "broken": broken}
    sweep = make_sweep(make_grid(range(1, cells + 1), [42]), path=path, pack_mode="fused", options=options)
    return make_store(root / "out", sweep), list(sweep.grid)


def widths(root: Path) -> list[int]:
    return [int(line) for line in (root / "calls").read_text().split()]


@pytest.mark.parametrize(
    ("cells", "fits", "tried"), [(8, 8, [8]), (8, 4, [8, 4, 4]), (7, 2, [7, 3, 1, 2, 4, 2, 2]), (3, 1, [3, 1, 2, 1, 1])]
)
def test_a_pack_without_enough_memory_is_halved_until_it_fits(
    tmp_path: Path, cells: int, fits: int, tried: list[int]
) -> None:
    store, every = sweep_of(tmp_path, cells, fits)
    assert run_here(store, every) == 0
    assert widths(tmp_path) == tried
    assert {status.state for status in store.statuses(every, store.sweep())} == {COMPLETED}


def test_the_halves_go_on_from_what_the_whole_pack_had_saved(tmp_path: Path) -> None:
    store, every = sweep_of(tmp_path, 4, 2)
    assert run_here(store, every) == 0
    assert [(store.result(cell) or {})["metrics"]["loss"] for cell in every] == [4, 4, 4, 4]


def test_only_a_cell_that_fails_alone_is_failed_and_with_its_own_cause(tmp_path: Path) -> None:
    store, every = sweep_of(tmp_path, 8, 8, broken="width_6_run_0")
    assert run_here(store, every) == 1
    statuses = {status.cell.name: status for status in store.statuses(every, store.sweep())}
    assert [name for name, status in statuses.items() if status.state == FAILED] == ["width_6_run_0"]
    assert statuses["width_6_run_0"].cause == "ValueError: this one"
    assert sum(status.state == COMPLETED for status in statuses.values()) == 7
    # Finished cells are not trained again: 8 (of which 5 finish), then the other 3 as 1 and 2, then 6 was alone.
    assert widths(tmp_path) == [8, 1, 2]


def test_memory_that_does_not_even_hold_one_cell_fails_each_with_that_cause(tmp_path: Path) -> None:
    store, every = sweep_of(tmp_path, 2, 0)
    assert run_here(store, every) == 1
    failures = [store.failure(cell, store.attempts(cell)[-1]) or {} for cell in every]
    assert all(failure["cause"].startswith("MemoryError") for failure in failures), json.dumps(failures)
