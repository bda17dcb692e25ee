from __future__ import annotations

import errno
from pathlib import Path

import pytest
from helpers.small_sweeps import ROOT, make_store, make_sweep, write_trainer

from hpc.storage.store import Store
from hpc.submission import intents, local_workers
from hpc.submission.intents import Intent

# Says that it trains, and trains until it is asked to stop.
TRAINER = """
import pathlib, time

def train(cells, options, run):
    pathlib.Path(options["place"]).touch()
    while not run.stop:
        time.sleep(0.02)
    run.save({cell: Checkpoint(step=1) for cell in cells})
"""


def two_tasks(directory: Path) -> tuple[Store, Intent, Path]:
    """A submission of two tasks; and a file that is there once the first one trains."""
    place = directory / "trains"
    sweep = make_sweep(path=write_trainer(directory, TRAINER), options={"place": str(place)})
    store = make_store(directory / "out", sweep)
    tasks = [[cell] for cell in list(sweep.grid)[:2]]
    return store, intents.begin(store, [tasks], kind=intents.LOCAL, profile="local", name="x", code=""), place


@pytest.mark.command
def test_tasks_save_before_a_run_ends_because_files_cannot_be_reached(tmp_path: Path) -> None:
    store, intent, place = two_tasks(tmp_path)

    def looks() -> None:
        if place.exists():
            raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        local_workers.run_tasks(store, intent, ROOT, parallel=1, device="cpu", on_poll=looks)
    assert_saved_and_no_other_begun(store)


@pytest.mark.command
def test_an_interrupt_between_two_turns_lets_the_tasks_save_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, intent, place = two_tasks(tmp_path)
    interrupts = iter([KeyboardInterrupt])

    def looks(workers: local_workers._Workers) -> bool:
        if place.exists() and (interrupt := next(interrupts, None)):
            raise interrupt
        return bool(workers._waiting or workers._running)

    monkeypatch.setattr(local_workers._Workers, "left", property(looks))
    ends = local_workers.run_tasks(store, intent, ROOT, parallel=1, device="cpu", on_poll=lambda: None)
    assert ends.interrupted
    assert_saved_and_no_other_begun(store)


def assert_saved_and_no_other_begun(store: Store) -> None:
    first, second, *_ = store.sweep().grid
    assert "saved at step 1" in store.paths.log_file(first).read_text()
    assert not store.attempts(second)
