"""What a sweep is may be corrected where nothing came of it yet, but never under the feet of its tasks."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.small_sweeps import make_grid, make_store, make_sweep, write_trainer

from hpc.errors import SweepError
from hpc.launch.request import Request
from hpc.node.attempt import PackAttempt
from hpc.processes import start_time
from hpc.storage.store import Store
from hpc.sweep.definition import Sweep


@pytest.fixture
def failed(tmp_path: Path) -> Store:
    """A sweep all of whose attempts have failed; the process that made the last one, this one, still runs."""
    store = make_store(tmp_path / "out", make_sweep(path=write_trainer(tmp_path)))
    about = {"pid": os.getpid(), "began": start_time(os.getpid())}
    attempt = PackAttempt.begin(store, store.sweep(), [store.sweep().grid[0]], 1, about)
    attempt.fail(store.sweep().grid[0], "too few epochs", "")
    return store


def corrections(sweep: Sweep) -> list[Sweep]:
    """Another configuration, and other seeds under the same names."""
    return [replace(sweep, options={"epochs": 7}), replace(sweep, grid=make_grid((1, 2), (7, 8)))]


@pytest.mark.parametrize("which", [0, 1])
def test_a_correction_waits_for_the_tasks_of_the_sweep_as_it_was(failed: Store, which: int) -> None:
    corrected = corrections(failed.sweep())[which]
    before = failed.paths.sweep_file.read_bytes()
    with pytest.raises(SweepError, match=r"cannot change while 1 of its tasks .*holdfast cancel"):
        Request(failed, corrected).record()
    assert failed.paths.sweep_file.read_bytes() == before
    failed.paths.pack_file(1).unlink()  # as if its process had ended
    Request(failed, corrected).record()
    assert failed.sweep().config_digest == corrected.config_digest
    assert failed.sweep().grid == corrected.grid


def test_growing_a_sweep_waits_for_nobody(failed: Store) -> None:
    Request(failed, failed.sweep().with_runs(3)).record()
    assert len(failed.sweep().grid.seeds) == 3
