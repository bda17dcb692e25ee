"""When a cell is given up: saving again what was restored is no progress, whatever is saved after it is."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from helpers.small_sweeps import ROOT, make_grid, make_store, make_sweep, run_task, submit, write_trainer

from hpc.node.attempt import PackAttempt
from hpc.node.giving_up import MOST_ALONE, MOST_INTERRUPTED, futile
from hpc.node.training_run import TrainingRun
from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from hpc.sweep.states import FAILED
from hpc.trainers.data import data_digest
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


def cut(store: Store, pack: int) -> None:
    """Storage that loses the tails of files."""
    for path in store.paths.generations(pack):
        path.write_bytes(path.read_bytes()[:-5])


@pytest.mark.parametrize(("stopped", "most"), [(True, MOST_INTERRUPTED), (False, MOST_ALONE)])
def test_states_that_can_never_be_read_again_are_no_progress(
    store: Store, cell: Cell, stopped: bool, most: int
) -> None:
    for pack in range(1, most + 1):
        assert not futile(store, cell, fused=False).hopeless, pack
        attempt(store, cell, 1, stopped=stopped)
        cut(store, pack)
    past = futile(store, cell, fused=False)
    assert past.hopeless
    assert past.cause.endswith(
        "could not be read again, and is kept as packs/*/checkpoint-*.corrupt-*: see the storage"
    )
    assert len(list(store.paths.packs_root.rglob("*.corrupt-*"))) == most - 1


def test_one_whole_state_among_damaged_ones_is_progress(store: Store, cell: Cell) -> None:
    for pack in range(1, MOST_ALONE + 1):
        attempt(store, cell, pack, stopped=False)
        cut(store, pack)
    attempt(store, cell, MOST_ALONE + 1, stopped=False)
    assert futile(store, cell, fused=False).attempts == 0
    attempt(store, cell, MOST_ALONE + 2, stopped=False)
    assert futile(store, cell, fused=False).attempts == 0


def test_an_epoch_more_at_the_same_step_is_progress(store: Store, cell: Cell) -> None:
    attempt(store, cell, 1)
    begun = PackAttempt.begin(store, store.sweep(), [cell], 1, {})
    run = TrainingRun(begun, stop_requested=lambda: False, device="cpu", threads=1, provenance={})
    run.restore(cell)
    run.epoch(cell, 1, 9, {"loss": 0.5})
    run.save({cell: Checkpoint(1)})
    assert futile(store, cell, fused=False).attempts == 0


def lose_report(store: Store, pack: int) -> None:
    """What a node that goes down may leave of a file that was not synced: its name alone."""
    store.paths.progress_file(pack).write_bytes(b"")


def test_an_attempt_that_took_its_node_down_counts_though_its_report_is_lost(store: Store, cells: list[Cell]) -> None:
    for pack in range(1, MOST_ALONE + 1):
        begun = PackAttempt.begin(store, store.sweep(), cells[:2], 1, {})
        run = TrainingRun(begun, stop_requested=lambda: False, device="cpu", threads=1, provenance={})
        run.hand_over(cells[:1])
        run.epoch(cells[0], 1, 9, {"loss": 0.5})
        lose_report(store, pack)
    assert [futile(store, cell, fused=False).attempts for cell in cells[:2]] == [MOST_ALONE, 0]


def test_what_was_only_saved_again_counts_though_the_report_is_lost(store: Store, cell: Cell) -> None:
    attempt(store, cell, 3)
    for pack in range(2, MOST_ALONE + 2):
        attempt(store, cell, 3, stopped=False)
        lose_report(store, pack)
    assert futile(store, cell, fused=False).attempts == MOST_ALONE
    attempt(store, cell, 3, 4, stopped=False)
    lose_report(store, MOST_ALONE + 2)
    assert futile(store, cell, fused=False).attempts == 0


def test_a_report_that_was_taken_back_does_not_count(store: Store, cell: Cell) -> None:
    begun = PackAttempt.begin(store, store.sweep(), [cell], 1, {})
    run = TrainingRun(begun, stop_requested=lambda: False, device="cpu", threads=1, provenance={})
    run.hand_over([cell])
    begun.retract_progress()
    assert futile(store, cell, fused=False).attempts == 0


def test_which_cells_a_trainer_has_is_on_disk_before_it_gets_them(
    store: Store, cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, list[str]]] = []
    real = os.fsync

    def watched(fd: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        synced.append((path.name, sorted(os.listdir(path)) if path.is_dir() else []))
        real(fd)

    begun = PackAttempt.begin(store, store.sweep(), [cell], 1, {})
    run = TrainingRun(begun, stop_requested=lambda: False, device="cpu", threads=1, provenance={})
    monkeypatch.setattr(os, "fsync", watched)
    run.hand_over([cell])
    (content, _), (directory, names) = synced
    assert content.startswith(".pack.json.")
    assert (directory, names) == ("000001", ["pack.json", "progress.json"])
    assert store.pack_record(1)["handed_over"] == [cell.name]
    run.epoch(cell, 1, 9, {"loss": 0.5})
    run.save({cell: Checkpoint(1)})
    assert [name.split(".")[1] for name, _ in synced[2:] if name.startswith(".")] == ["checkpoint-000001"]


# USR2 comes at the moment in which the first cell of a pack is claimed, as it does where claims take seconds.
STRUCK = """
import os, re, signal, sys
from training.contract import Checkpoint

def strike(event, arguments):
    if event == "os.mkdir" and re.fullmatch("[0-9]{4}", os.path.basename(arguments[0])):  # the number of an attempt
        os.kill(os.getpid(), signal.SIGUSR2)

sys.addaudithook(strike)

def train(cells, options, run):
    raise AssertionError("a task that was asked to stop trains nothing")
"""


@pytest.mark.parametrize("pack_mode", ["sequential", "fused"])
def test_stops_that_come_while_cells_are_claimed_are_counted(tmp_path: Path, pack_mode: str) -> None:
    path = write_trainer(tmp_path / "user", STRUCK)
    sweep = make_sweep(make_grid((1, 2), (42,)), path=path, pack_mode=pack_mode)
    store = make_store(tmp_path / "out", sweep)
    number = submit(store, list(sweep.grid))
    for stops in range(1, MOST_INTERRUPTED + 1):
        assert run_task(store, number).returncode == 85
        past = [futile(store, cell, fused=pack_mode == "fused") for cell in sweep.grid]
        in_turn = past if pack_mode == "fused" else past[:1]
        assert [(one.attempts, one.interrupted) for one in in_turn] == [(0, stops)] * len(in_turn)
    assert all(one.hopeless for one in in_turn)


# --- stopped while the data is read -----------------------------------------------------------------------------------

# The first file of the data brings a signal; whoever opens the second one says so.
STRIKING = """
import os, signal, sys

def strike(event, arguments):
    name = os.path.basename(str(arguments[0])) if event == "open" else ""
    if name == "a.npy":
        os.kill(os.getpid(), getattr(signal, os.environ["STRIKE"]))
    if name == "b.npy":
        os.write(2, b"read on")

sys.addaudithook(strike)
"""


@pytest.fixture
def with_data(tmp_path: Path) -> Store:
    """A sweep of two cells in one task, whose data is two files."""
    data = tmp_path / "data"
    data.mkdir()
    for name in ("a.npy", "b.npy"):
        (data / name).write_bytes(b"as planned")
    path = write_trainer(tmp_path / "user")
    write_trainer(tmp_path / "striking", STRIKING, "sitecustomize.py")
    grid, digest = make_grid((1, 2), (42,)), data_digest(data, ["*"])
    return make_store(
        tmp_path / "out", make_sweep(grid, path=path, sections={"data": {"dir": str(data)}}, data_digest=digest)
    )


def struck(store: Store, name: str) -> subprocess.CompletedProcess[str]:
    """A task that gets a signal when it begins to read its data."""
    cells = list(store.sweep().grid)
    place = store.paths.root.parent / "striking"
    return run_task(store, submit(store, cells), PYTHONPATH=f"{ROOT}:{place}", STRIKE=name)


def test_a_task_that_is_stopped_while_it_reads_its_data_stops_at_once_and_that_is_counted(with_data: Store) -> None:
    done = struck(with_data, "SIGUSR2")
    assert done.returncode == 85, done.stderr
    assert "read on" not in done.stderr
    past = [futile(with_data, cell, fused=False) for cell in with_data.sweep().grid]
    assert [(one.attempts, one.interrupted) for one in past] == [(0, 1)] * 2


def test_data_that_takes_longer_to_read_than_every_task_has_is_given_up_for(with_data: Store) -> None:
    cells = list(with_data.sweep().grid)
    for cell in cells:
        for _ in range(MOST_INTERRUPTED):
            attempt(with_data, cell)
    assert struck(with_data, "SIGUSR2").returncode == 1
    found = list(with_data.statuses(cells, with_data.sweep()))
    assert [status.state for status in found] == [FAILED] * 2
    assert found[0].cause.startswith(f"was stopped {MOST_INTERRUPTED} times in a row before it had saved anything")


def test_a_kill_while_the_data_is_read_counts_against_no_cell(with_data: Store) -> None:
    assert struck(with_data, "SIGKILL").returncode == -9
    cells = list(with_data.sweep().grid)
    assert [len(with_data.attempts(cell)) for cell in cells] == [0, 0]
    assert run_task(with_data, submit(with_data, cells)).returncode == 0
