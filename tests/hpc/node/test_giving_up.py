"""When a cell is given up: saving again what was restored is no progress, whatever is saved after it is."""

from __future__ import annotations

import pytest

from hpc.node.attempt import PackAttempt
from hpc.node.giving_up import MOST_ALONE, MOST_INTERRUPTED, futile
from hpc.node.training_run import TrainingRun
from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from training.contract import Checkpoint


@pytest.fixture
def cell(cells: list[Cell]) -> Cell:
    return cells[0]


def attempt(store: Store, cell: Cell, *steps: int, stopped: bool = True) -> None:
    """An attempt that restores, saves these steps, and is stopped; or killed."""
    begun = PackAttempt.begin(store, store.sweep(), [cell], 1, {})
    run = TrainingRun(begun, stop_requested=lambda: False, device="cpu", threads=1, provenance={})
    run.hand_over([cell])
    run.restore(cell)
    for step in steps:
        run.save({cell: Checkpoint(step, values={"step": step})})
    if stopped:
        run.note_stop()


def test_stops_that_only_save_again_what_was_restored_are_counted(store: Store, cell: Cell) -> None:
    attempt(store, cell, 3)
    for _ in range(MOST_INTERRUPTED - 1):
        attempt(store, cell, 3)
    assert not futile(store, cell, fused=False).hopeless
    attempt(store, cell, 3)
    past = futile(store, cell, fused=False)
    assert (past.attempts, past.interrupted, past.hopeless) == (0, MOST_INTERRUPTED, True)
    assert past.cause.startswith(f"was stopped {MOST_INTERRUPTED} times in a row before it had saved anything new; ")


def test_kills_after_saving_again_what_was_restored_are_counted(store: Store, cell: Cell) -> None:
    attempt(store, cell, 3)
    for _ in range(MOST_ALONE):
        attempt(store, cell, 3, stopped=False)
    assert futile(store, cell, fused=False).attempts == MOST_ALONE


@pytest.mark.parametrize("steps", [(4,), (3, 4), (3, 3, 4), (4, 4)])
def test_an_attempt_that_got_further_ends_the_count(store: Store, cell: Cell, steps: tuple[int, ...]) -> None:
    attempt(store, cell, 3)
    for _ in range(2):
        attempt(store, cell, 3, stopped=False)
    attempt(store, cell, *steps, stopped=False)
    past = futile(store, cell, fused=False)
    assert (past.attempts, past.interrupted) == (0, 0)


def test_what_only_repeats_leaves_the_checkpoints_that_show_earlier_progress(store: Store, cell: Cell) -> None:
    for step in range(1, MOST_ALONE + 2):
        attempt(store, cell, step, stopped=False)
    attempt(store, cell, 4, 4, 4, stopped=False)
    assert futile(store, cell, fused=False).attempts == 1
    attempt(store, cell, 5, 6, stopped=False)
    assert [store.paths.has_saved(pack) for pack in range(1, 7)] == [False] * 5 + [True]


def test_an_epoch_more_at_the_same_step_is_progress(store: Store, cell: Cell) -> None:
    attempt(store, cell, 1)
    begun = PackAttempt.begin(store, store.sweep(), [cell], 1, {})
    run = TrainingRun(begun, stop_requested=lambda: False, device="cpu", threads=1, provenance={})
    run.restore(cell)
    run.epoch(cell, 1, 9, {"loss": 0.5})
    run.save({cell: Checkpoint(1)})
    assert futile(store, cell, fused=False).attempts == 0
