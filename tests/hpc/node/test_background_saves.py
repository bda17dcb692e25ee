"""Large checkpoints are written beside training: what training does meanwhile changes nothing of them."""

from __future__ import annotations

import threading
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.small_sweeps import make_grid, make_sweep
from helpers.waiting import PATIENCE

from hpc.node import attempt as attempt_module
from hpc.node.attempt import PackAttempt
from hpc.node.saving import StorageTroubleError
from hpc.node.training_run import TrainingRun
from hpc.storage.revisions import write_sweep
from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from training.contract import Checkpoint

CELL: Cell = make_grid()[0]


def begin(store: Store, stop: bool = False) -> TrainingRun:
    sweep = store.sweep()
    made = PackAttempt.begin(store, sweep, [CELL], 1, {})
    return TrainingRun(made, stop_requested=lambda: stop, device="cpu", threads=1, provenance={})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = Store(tmp_path)
    write_sweep(found, make_sweep(), {})
    return found


def large(value: float) -> dict[str, Any]:
    return {"weights": np.full(500_000, value)}


def held(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Writing waits until the first event is set; the second one is as soon as it has begun."""
    release, begun, real = threading.Event(), threading.Event(), attempt_module.PackAttempt.save

    def save(self: PackAttempt, rows: Any) -> None:
        begun.set()
        assert release.wait(PATIENCE)
        real(self, rows)

    monkeypatch.setattr(attempt_module.PackAttempt, "save", save)
    return release, begun


def test_training_goes_on_while_a_large_checkpoint_is_written(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    release, _ = held(monkeypatch)
    run = begin(store)
    run.restore(CELL)
    arrays, values = large(1.0), {"seen": [1]}
    run.save({CELL: Checkpoint(1, arrays, values)})
    arrays["weights"][:] = 2.0
    values["seen"].append(2)
    run.epoch(CELL, 1, 3, {"loss": 0.5})
    assert not store.paths.generations(1)
    release.set()
    run.check_storage()
    restored = begin(store).restore(CELL)
    assert restored is not None
    assert restored.step == 1
    assert restored.values == {"seen": [1]}
    assert (restored.arrays["weights"] == 1.0).all()


def test_arrays_that_are_still_on_their_way_are_waited_for_beside_training(store: Store) -> None:
    """As a copy from a GPU: however small, training waits neither for it nor for the file."""
    arrived, asked = threading.Event(), []

    def copied() -> Any:
        asked.append(threading.current_thread())
        assert arrived.wait(PATIENCE)
        return np.full(3, 7.0)

    run = begin(store)
    run.restore(CELL)
    run.save({CELL: Checkpoint(1, {"weights": copied, "others": np.ones(2)})})
    assert not store.paths.generations(1)
    arrived.set()
    run.check_storage()
    assert asked != [threading.main_thread()]
    restored = begin(store).restore(CELL)
    assert restored is not None
    assert (restored.arrays["weights"] == 7.0).all()
    assert (restored.arrays["others"] == 1.0).all()


def test_arrays_that_have_arrived_are_written_in_parts_without_another_copy_of_them(store: Store) -> None:
    """735 MB for 210 cells on a GPU: neither the memory for a second time, nor a pause of training to make it."""
    arrived = {name: np.full(1_000_000, 7.0) for name in ("weights", "first", "second")}
    run = begin(store)
    run.restore(CELL)
    tracemalloc.start()
    run.save({CELL: Checkpoint(1, {name: lambda array=array: array for name, array in arrived.items()})})
    run.check_storage()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert store.paths.generations(1)[0].stat().st_size > 24_000_000
    assert most < 1_000_000


def test_arrays_on_their_way_are_waited_for_at_once_when_training_ends(store: Store) -> None:
    run = begin(store, stop=True)
    run.restore(CELL)
    run.save({CELL: Checkpoint(1, {"weights": lambda: np.full(3, 7.0)})})
    assert store.paths.generations(1)


def test_writing_beside_training_does_not_stretch_the_interval_and_one_is_enough(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (release, begun), clock = held(monkeypatch), [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    made = PackAttempt.begin(store, replace(store.sweep(), checkpoint_seconds=0.2), [CELL], 1, {})
    run = TrainingRun(made, stop_requested=lambda: False, device="cpu", threads=1, provenance={})
    run.restore(CELL)
    run.save({CELL: Checkpoint(1, large(1.0))})
    assert begun.wait(PATIENCE)
    clock[0] += 0.25
    assert not run.checkpoint_due()  # the one before is not written yet
    release.set()
    run.check_storage()
    clock[0] += 0.74
    assert not run.checkpoint_due()  # it took 0.25 s, and one may be in the writing a quarter of the time
    clock[0] += 0.01
    assert run.checkpoint_due()


def test_the_next_save_waits_for_the_one_before(store: Store) -> None:
    run = begin(store)
    run.restore(CELL)
    for step in range(1, 6):
        run.save({CELL: Checkpoint(step, large(step))})
    run.check_storage()
    restored = begin(store).restore(CELL)
    assert restored is not None
    assert restored.step == 5
    assert len(store.paths.generations(1)) == 2


def test_a_stop_is_saved_before_the_trainer_returns(store: Store) -> None:
    run = begin(store, stop=True)
    run.restore(CELL)
    run.save({CELL: Checkpoint(7, large(7.0))})
    assert len(store.paths.generations(1)) == 1


def test_a_write_that_fails_stops_training_and_is_no_fault_of_the_cell(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(self: PackAttempt, rows: Any) -> None:
        raise OSError(28, "No space left on device", "checkpoint")

    monkeypatch.setattr(attempt_module.PackAttempt, "save", save)
    run = begin(store)
    run.restore(CELL)
    run.save({CELL: Checkpoint(1, large(1.0))})
    for thread in threading.enumerate():
        if thread.name == "checkpoint":
            thread.join()
    assert run.stop
    with pytest.raises(StorageTroubleError, match="No space left"):
        run.check_storage()
