"""`rm -rf out; holdfast submit` while a task of the old directory trains: nothing of it gets into the new one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.small_sweeps import ROOT, make_store, make_sweep, run_here, submit, write_trainer
from helpers.waiting import PATIENCE, wait_until

from hpc import protocol
from hpc.errors import OutdatedError
from hpc.node.attempt import PackAttempt
from hpc.node.giving_up import futile
from hpc.node.pack import PackTask
from hpc.node.saving import ReplacedTroubleError, TroubleError
from hpc.node.training_run import TrainingRun
from hpc.protocol import TaskExit
from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from training.contract import Checkpoint

SAID = r"packs/000001/pack\.json: was removed, or made anew, while its task trained; submit again"


def begin(store: Store, cell: Cell, code: str) -> TrainingRun:
    attempt = PackAttempt.begin(store, store.sweep(), [cell], 1, {})
    about = {"trainer_digest": code}
    return TrainingRun(attempt, stop_requested=lambda: False, device="cpu", threads=1, provenance=about)


def checkpoint(step: int) -> Checkpoint:
    return Checkpoint(step, {"w": np.full(2, step)})


def start_afresh(store: Store) -> None:
    """What a user does who has found a mistake: everything goes, and the same sweep begins in the same place."""
    sweep = store.sweep()
    shutil.rmtree(store.root)
    make_store(store.root, sweep)


def contents(store: Store) -> dict[str, bytes]:
    """All that anything is decided by: logs are for people who watch."""
    return {str(path): path.read_bytes() for path in store.root.rglob("*") if path.is_file() and path.name != "log.txt"}


def save(run: TrainingRun, cell: Cell) -> None:
    run.save({cell: checkpoint(2)})


def save_large(run: TrainingRun, cell: Cell) -> None:
    """States that are written while training continues."""
    run.save({cell: Checkpoint(2, {"w": np.zeros(10**6)})})
    run.check_storage()


def finish(run: TrainingRun, cell: Cell) -> None:
    run.finish(cell, {"loss": 999.0, "accuracy": 0.5})


def fail(run: TrainingRun, cell: Cell) -> None:
    run.fail(cell, "an old mistake")


@pytest.mark.parametrize("act", [save, save_large, finish, fail])
def test_what_an_attempt_of_the_old_directory_has_does_not_get_into_the_new_one(
    store: Store, cells: list[Cell], act: Callable[[TrainingRun, Cell], None]
) -> None:
    cell = cells[0]
    old = begin(store, cell, "old")
    old.restore(cell)
    old.save({cell: checkpoint(1)})
    start_afresh(store)
    new = begin(store, cell, "new")
    assert new.restore(cell) is None
    before = contents(store)
    with pytest.raises(ReplacedTroubleError, match=SAID):
        act(old, cell)
    with pytest.raises(ReplacedTroubleError):
        old.check_storage()  # whatever the trainer makes of the first one
    assert old.stop
    assert contents(store) == before
    assert begin(store, cell, "new").restore(cell) is None


@pytest.mark.parametrize("act", [save, finish, fail])
def test_the_same_where_the_directory_was_only_removed(
    store: Store, cells: list[Cell], act: Callable[[TrainingRun, Cell], None]
) -> None:
    old = begin(store, cells[0], "old")
    old.restore(cells[0])
    shutil.rmtree(store.root)
    with pytest.raises(TroubleError) as told:
        act(old, cells[0])
    assert told.value.status == TaskExit.OUTDATED
    assert not store.root.exists()


def hand_over(run: TrainingRun, cell: Cell) -> None:
    run.hand_over([cell])


def note_stop(run: TrainingRun, _: Cell) -> None:
    run.note_stop()


def take_back(run: TrainingRun, _: Cell) -> None:
    run._attempt.retract_progress()


@pytest.mark.parametrize("handed_over", [False, True], ids=["just begun", "handed over"])
@pytest.mark.parametrize("act", [hand_over, note_stop, take_back])
def test_what_is_said_of_the_new_attempt_is_its_own(
    store: Store, cells: list[Cell], act: Callable[[TrainingRun, Cell], None], handed_over: bool
) -> None:
    """Whether an attempt came to nothing is counted by its report: another one's would acquit it, or blame it."""
    old = begin(store, cells[0], "old")
    start_afresh(store)
    new = begin(store, cells[0], "new")
    if handed_over:
        new.hand_over(cells[:1])
    before = contents(store)
    counted = futile(store, cells[0], fused=False)
    act(old, cells[0])
    assert contents(store) == before
    assert futile(store, cells[0], fused=False) == counted
    new.restore(cells[0])
    new.save({cells[0]: checkpoint(1)})
    finish(new, cells[0])
    assert (store.result(cells[0]) or {})["provenance"]["trainer_digest"] == "new"


def test_an_attempt_whose_record_has_no_word_of_its_own_is_another_one(store: Store, cells: list[Cell]) -> None:
    """The directory that was made anew may be in the hands of an earlier version, which writes none."""
    old = begin(store, cells[0], "old")
    start_afresh(store)
    begin(store, cells[0], "new")
    path = store.paths.pack_file(1)
    path.write_text(json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != "nonce"}))
    with pytest.raises(ReplacedTroubleError):
        finish(old, cells[0])


def test_a_task_has_no_further_attempt_in_the_new_directory(
    store: Store, cells: list[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    def array(number: int) -> str:
        return str(json.loads(store.paths.intent_file(number).read_text())["tokens"][0])

    number = submit(store, cells)
    monkeypatch.setenv(protocol.ARRAY, array(number))
    task = PackTask.from_list(store, number, 0, 0, lambda: False)
    start_afresh(store)
    assert submit(store, cells) == number
    assert array(number) != os.environ[protocol.ARRAY]
    with pytest.raises(OutdatedError, match="of a directory that was here before; nothing is trained"):
        task.run()
    assert [store.attempts(cell) for cell in cells] == [[]] * len(cells)


TRAINER = """
import time
from pathlib import Path
from training.contract import Checkpoint

def train(cells, options, run):
    here = Path(options["here"])
    run.restore(cells[0])
    run.save({cells[0]: Checkpoint(1)})
    (here / "saved").touch()
    while not (here / "afresh").exists():
        time.sleep(0.01)
    try:
        run.save({cells[0]: Checkpoint(2)})
    except Exception:
        pass  # as a trainer does that means to go on whatever happens
    run.finish(cells[0], {"loss": 999.0})
"""


def test_a_task_in_mid_training_ends_with_4_and_blames_no_cell(tmp_path: Path) -> None:
    path = write_trainer(tmp_path / "user", TRAINER)
    sweep = make_sweep(path=path, options={"here": str(tmp_path)})
    store, cell = make_store(tmp_path / "out", sweep), sweep.grid[0]
    words = [sys.executable, "-P", "-m", "hpc.node.task", str(store.root), str(submit(store, [cell])), "0", "0"]
    task = subprocess.Popen(words, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
    wait_until((tmp_path / "saved").exists, "a saved state")
    start_afresh(store)
    new = begin(store, cell, "new")
    (tmp_path / "afresh").touch()
    assert task.wait(PATIENCE) == TaskExit.OUTDATED
    assert store.failure(cell, 1) is None
    assert new.restore(cell) is None
    finish(new, cell)
    assert (store.result(cell) or {})["provenance"]["trainer_digest"] == "new"


def test_a_task_of_a_directory_that_stays_is_not_disturbed(store: Store, cells: list[Cell]) -> None:
    assert run_here(store, cells) == 0
