from __future__ import annotations

import errno
from pathlib import Path

import pytest
from helpers.small_sweeps import ROOT, make_store, make_sweep, write_trainer

from hpc.submission import intents, local_workers

# Says that it trains, and trains until it is asked to stop.
TRAINER = """
import pathlib, time

def train(cells, options, run):
    pathlib.Path(options["place"]).touch()
    while not run.stop:
        time.sleep(0.02)
    run.save({cell: Checkpoint(step=1) for cell in cells})
"""


@pytest.mark.command
def test_tasks_save_before_a_run_ends_because_files_cannot_be_reached(tmp_path: Path) -> None:
    place = tmp_path / "trains"
    sweep = make_sweep(path=write_trainer(tmp_path, TRAINER), options={"place": str(place)})
    store = make_store(tmp_path / "out", sweep)
    cells = list(sweep.grid)
    intent = intents.begin(store, [[cells[:1], cells[1:2]]], kind=intents.LOCAL, profile="local", name="x", code="")

    def looks() -> None:
        if place.exists():
            raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        local_workers.run_tasks(store, intent, ROOT, parallel=1, device="cpu", on_poll=looks)
    assert "saved at step 1" in store.paths.log_file(cells[0]).read_text()
    assert not store.attempts(cells[1]), "no further task is started"
