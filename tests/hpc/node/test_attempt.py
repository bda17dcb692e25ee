"""One attempt at a pack through the run object a trainer gets: checkpoints, restores, results, conflicts."""

from __future__ import annotations

import csv
import errno
import gc
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from helpers.small_sweeps import make_sweep

from hpc.files import atomic, directories, reading
from hpc.node.attempt import PackAttempt
from hpc.node.saving import StorageTroubleError
from hpc.node.training_run import TrainingRun
from hpc.storage import claims
from hpc.storage.checkpoint import SavedCell, decode
from hpc.storage.claims import new_attempt
from hpc.storage.revisions import write_sweep
from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from training.contract import Checkpoint, ContractError

Begin = Callable[..., TrainingRun]


@pytest.fixture
def begin(store: Store) -> Begin:
    """Begin an attempt at some cells; the run object that its trainer gets."""

    def start(cells: Sequence[Cell], stop: Callable[[], bool] = lambda: False, **changes: Any) -> TrainingRun:
        attempt = PackAttempt.begin(store, store.sweep(), list(cells), 1, {})
        about = {"node": "n1", "device": "cpu"}
        return TrainingRun(attempt, stop_requested=stop, device="cpu", threads=1, provenance=about, **changes)

    return start


def state(store: Store, cell: Cell) -> str:
    (status,) = store.statuses([cell], store.sweep())
    return status.state


def checkpoint_files(store: Store, pack: int) -> list[str]:
    return sorted(
        name for name in directories.entries(store.paths.pack_directory(pack)) if name.startswith("checkpoint")
    )


def rows_of(store: Store, pack: int, cell: Cell) -> list[SavedCell]:
    """All states of a cell in a pack attempt's checkpoints, newest first."""
    generations = [decode(path.read_bytes()) for path in store.paths.generations(pack)]
    return [row for rows in generations for row in rows if row.cell == cell.name]


def save(run: TrainingRun, cells: Sequence[Cell], step: int, epochs: bool = True) -> None:
    """Train the cells one epoch further and save them; the state says which step it is."""
    for cell in cells:
        if epochs:
            run.epoch(cell, step, 9, {"loss": 1 / step})
    run.save({cell: Checkpoint(step, {"w": np.full(3, step + cell.seed)}, {"step": step}) for cell in cells})


def finish(run: TrainingRun, cell: Cell, loss: float = 0.5, **options: Any) -> None:
    run.finish(cell, {"loss": loss, "accuracy": 0.25}, **options)


# --- checkpoints ----------------------------------------------------------------------------------------------------


def test_two_generations_are_kept_and_the_third_is_removed(store: Store, cells: list[Cell], begin: Begin) -> None:
    run = begin(cells[:2])
    seen = []
    for step in (1, 2, 3, 4):
        save(run, cells[:2], step)
        seen.append(checkpoint_files(store, 1))
    assert [len(names) for names in seen] == [1, 2, 2, 2]
    assert seen[-1] == ["checkpoint-000003", "checkpoint-000004"]


def test_the_state_of_a_cell_that_a_newer_attempt_took_over_is_not_rotated_away(
    store: Store, cells: list[Cell], begin: Begin
) -> None:
    run = begin(cells[:2])
    save(run, cells[:2], 1)
    newer = begin(cells[1:2])
    newer.restore(cells[1])
    save(newer, cells[1:2], 2, epochs=False)
    assert run.save({cell: Checkpoint(2) for cell in cells[:2]}) == {cells[1]}
    for step in (3, 4, 5):
        save(run, cells[:1], step, epochs=False)
    assert begin(cells[:2]).restore(cells[1]).step == 2
    assert checkpoint_files(store, 1) == ["checkpoint-000001", "checkpoint-000004", "checkpoint-000005"]


def test_a_newer_claim_alone_takes_no_cell_from_an_attempt(store: Store, cells: list[Cell], begin: Begin) -> None:
    run = begin(cells[:2])
    claims.new_attempt(store, cells[0])  # a process that was killed right after it
    begin(cells[1:2])  # and one killed after it had said which pack it is
    assert run.save({cell: Checkpoint(5) for cell in cells[:2]}) == frozenset()
    assert run.unfinished() == cells[:2]
    assert [begin(cells[:2]).restore(cell).step for cell in cells[:2]] == [5, 5]


def test_a_newer_attempt_that_saved_other_cells_only_takes_none(cells: list[Cell], begin: Begin) -> None:
    run, newer = begin(cells[:1]), begin(cells[:2])
    save(newer, cells[1:2], 1)
    assert run.save({cells[0]: Checkpoint(5)}) == frozenset()


def test_a_damaged_checkpoint_of_a_newer_attempt_takes_no_cell(store: Store, cells: list[Cell], begin: Begin) -> None:
    run, newer = begin(cells[:1]), begin(cells[:1])
    save(newer, cells[:1], 1)
    (path,) = store.paths.generations(2)
    path.write_bytes(path.read_bytes()[:-1])
    assert run.save({cells[0]: Checkpoint(5)}) == frozenset()


def test_the_state_of_a_cell_that_has_its_result_is_rotated_away(store: Store, cells: list[Cell], begin: Begin) -> None:
    run = begin(cells[:2])
    save(run, cells[:2], 1)
    finish(run, cells[1])
    for step in (2, 3):
        save(run, cells[:1], step)
    assert checkpoint_files(store, 1) == ["checkpoint-000002", "checkpoint-000003"]


def test_a_cell_goes_on_from_its_newest_state(cells: list[Cell], begin: Begin) -> None:
    run = begin(cells[:2])
    assert run.restore(cells[0]) is None
    for step in (1, 2, 3):
        save(run, cells[:2], step)
    restored = begin(cells[:2]).restore(cells[1])
    assert restored.step == 3
    assert restored.values == {"step": 3}
    assert restored.arrays["w"].tolist() == [3 + cells[1].seed] * 3


def test_the_history_goes_on_where_it_was(store: Store, cells: list[Cell], begin: Begin) -> None:
    save(begin(cells[:1]), cells[:1], 1)
    run = begin(cells[:1])
    run.restore(cells[0])
    with pytest.raises(ContractError, match="epoch 1 was reported after epoch 1"):
        run.epoch(cells[0], 1, 9, {"loss": 1.0})
    run.epoch(cells[0], 2, 9, {"loss": 0.5})
    finish(run, cells[0])
    rows = list(csv.DictReader(store.paths.history_file(cells[0]).read_text().splitlines()))
    assert [(row["epoch"], float(row["loss"])) for row in rows] == [("1", 1.0), ("2", 0.5)]
    assert store.result(cells[0])["epochs"] == 2


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped", "foreign"])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_used(
    store: Store, cells: list[Cell], begin: Begin, damage: str
) -> None:
    run = begin(cells[:1])
    for step in (1, 2):
        save(run, cells[:1], step)
    newest = store.paths.generations(1)[0]
    data = newest.read_bytes()
    flipped = data[:-1] + bytes([data[-1] ^ 1])
    newest.write_bytes({"truncated": data[:-1], "empty": b"", "flipped": flipped, "foreign": b"PK\3\4"}[damage])
    assert begin(cells[:1]).restore(cells[0]).step == 1
    assert [name.partition(".")[0] for name in checkpoint_files(store, 1)] == ["checkpoint-000001", "checkpoint-000002"]
    assert len(store.paths.generations(1)) == 1
    assert "damaged" in store.paths.log_file(cells[0]).read_text()


def test_if_all_checkpoints_are_damaged_an_older_attempt_is_used(store: Store, cells: list[Cell], begin: Begin) -> None:
    save(begin(cells[:1]), cells[:1], 1)
    run = begin(cells[:1])
    run.restore(cells[0])
    save(run, cells[:1], 2)
    store.paths.generations(2)[0].write_bytes(b"")
    assert begin(cells[:1]).restore(cells[0]).step == 1
    store.paths.generations(1)[0].write_bytes(b"")
    assert begin(cells[:1]).restore(cells[0]) is None


def test_a_checkpoint_that_another_task_has_just_set_aside_is_passed_over(
    store: Store, cells: list[Cell], begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(begin(cells[:1]), cells[:1], 1)
    store.paths.generations(1)[0].write_bytes(b"")
    real = atomic.quarantine

    def other_was_first(path: Path) -> Path:
        real(path)
        return real(path)

    monkeypatch.setattr(atomic, "quarantine", other_was_first)
    assert begin(cells[:1]).restore(cells[0]) is None


def test_a_generation_is_read_once_for_all_cells_of_a_pack(
    store: Store, cells: list[Cell], begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begin(cells)
    for step in (1, 2):
        save(run, cells, step)
    older, newest = reversed(store.paths.generations(1))
    newest.write_bytes(newest.read_bytes()[:-1])
    reads: list[str] = []
    real = reading.read

    def counted(path: Path, *rest: Any) -> bytes:
        reads.append(path.name)
        return real(path, *rest)

    monkeypatch.setattr(reading, "read", counted)
    again = begin(cells)
    assert [again.restore(cell).step for cell in cells] == [1] * 4
    assert [name for name in reads if name.startswith("checkpoint")] == [newest.name, older.name]


def test_a_state_that_was_worked_on_in_place_is_restored_as_it_was_saved(cells: list[Cell], begin: Begin) -> None:
    save(begin(cells[:2]), cells[:2], 1)
    run = begin(cells[:2])
    run.restore(cells[0]).arrays["w"] += 1
    assert run.restore(cells[0]).arrays["w"].tolist() == [1 + cells[0].seed] * 3


def test_what_was_restored_is_not_kept_in_memory_once_training_has_saved(cells: list[Cell], begin: Begin) -> None:
    save(begin(cells[:2]), cells[:2], 1)
    run = begin(cells[:2])
    before = {id(one) for one in gc.get_objects() if type(one) is SavedCell}
    steps = [run.restore(cell).step for cell in cells[:2]]
    save(run, cells[:2], 2)
    kept = [one for one in gc.get_objects() if type(one) is SavedCell and id(one) not in before]
    assert steps == [1, 1]
    assert not any(row.arrays for row in kept)


def test_packs_may_be_cut_differently_next_time(store: Store, cells: list[Cell], begin: Begin) -> None:
    one, two, three, four = cells
    first, second = begin([one, two]), begin([three, four])
    save(first, [one, two], 1)
    save(second, [three, four], 1)
    save(second, [three, four], 2)
    mixed = begin([four, one, two])
    assert {cell.name: mixed.restore(cell).step for cell in (one, two, four)} == {
        one.name: 1,
        two.name: 1,
        four.name: 2,
    }
    assert mixed.restore(four).arrays["w"].tolist() == [2 + four.seed] * 3


def test_a_state_of_another_configuration_is_never_restored(store: Store, cells: list[Cell], begin: Begin) -> None:
    save(begin(cells[:1]), cells[:1], 1)
    other = make_sweep(options={"lr": 2})
    attempt = PackAttempt.begin(store, other, cells[:1], 1, {})
    assert attempt.restore(cells[0]) is None


def test_an_attempt_that_died_before_its_first_checkpoint_is_passed_over(
    store: Store, cells: list[Cell], begin: Begin
) -> None:
    save(begin(cells[:1]), cells[:1], 1)
    begin(cells[:1])
    new_attempt(store, cells[0])
    assert begin(cells[:1]).restore(cells[0]).step == 1


def test_values_metrics_and_nan_survive_a_resume(cells: list[Cell], begin: Begin) -> None:
    run = begin(cells[:1])
    run.epoch(cells[0], 1, 3, {"loss": float("nan")})
    arrays = {"zero_d": np.array(7, "u1"), "empty": np.zeros((0, 2)), "odd": np.array([np.nan, np.inf, -0.0])}
    run.save({cells[0]: Checkpoint(1, arrays, {"best": float("inf"), "text": "ä\n"})})
    restored = begin(cells[:1]).restore(cells[0])
    assert restored.values == {"best": float("inf"), "text": "ä\n"}
    for name, array in arrays.items():
        assert restored.arrays[name].shape == array.shape
        assert restored.arrays[name].tobytes() == array.tobytes()


def test_older_attempts_checkpoints_go_after_two_of_ones_own(store: Store, cells: list[Cell], begin: Begin) -> None:
    save(begin(cells[:2]), cells[:2], 1)
    save(begin(cells[2:]), cells[2:], 1)
    run = begin(cells[:2])
    for cell in cells[:2]:
        run.restore(cell)
    save(run, cells[:2], 2)
    assert checkpoint_files(store, 1) == ["checkpoint-000001"]
    save(run, cells[:2], 3)
    assert checkpoint_files(store, 1) == []
    assert len(checkpoint_files(store, 2)) == 1
    assert len(checkpoint_files(store, 3)) == 2


@pytest.mark.parametrize("packs", [[[0, 1]], [[0], [1]]], ids=["together", "each alone"])
def test_a_cell_that_is_saved_apart_keeps_the_older_state_until_it_has_two_of_its_own(
    store: Store, cells: list[Cell], begin: Begin, packs: list[list[int]]
) -> None:
    for pack in packs:
        save(begin([cells[i] for i in pack]), [cells[i] for i in pack], 1)
    run = begin(cells[:2])
    for cell in cells[:2]:
        run.restore(cell)
    save(run, cells[:1], 2)
    save(run, cells[1:2], 2)
    assert [row.step for row in rows_of(store, len(packs), cells[1])] == [1]
    newest = store.paths.generations(len(packs) + 1)[0]
    whole = newest.read_bytes()
    newest.write_bytes(whole[:-1])
    assert [begin(cells[:2]).restore(cell).step for cell in cells[:2]] == [2, 1]
    newest.write_bytes(whole)
    for cell in cells[:2]:
        save(run, [cell], 3)
    assert [checkpoint_files(store, pack + 1) for pack in range(len(packs))] == [[]] * len(packs)


def test_two_states_of_every_cell_are_kept_in_whatever_groups_they_are_saved(
    store: Store, cells: list[Cell], begin: Begin
) -> None:
    run = begin(cells[:3])
    order = [[0], [1, 2], [0], [0], [1], [2], [0, 1], [2], [0]]
    steps = dict.fromkeys(cells[:3], 0)
    for group in order:
        for cell in (cells[i] for i in group):
            steps[cell] += 1
        run.save({cells[i]: Checkpoint(steps[cells[i]]) for i in group})
        for cell, step in steps.items():
            kept = [row.step for row in rows_of(store, 1, cell)]
            assert kept[:2] == [step, step - 1][: min(step, 2)]
    assert len(checkpoint_files(store, 1)) < len(order)


def test_older_checkpoints_stay_while_another_cell_still_needs_them(
    store: Store, cells: list[Cell], begin: Begin
) -> None:
    save(begin(cells[:2]), cells[:2], 1)
    run = begin(cells[:1])
    run.restore(cells[0])
    for step in (2, 3, 4):
        save(run, cells[:1], step)
    assert begin(cells[1:2]).restore(cells[1]).step == 1


def test_a_full_disk_leaves_the_generation_before_intact(
    store: Store, cells: list[Cell], begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begin(cells[:1])
    save(run, cells[:1], 1)
    before = store.paths.generations(1)[0].read_bytes()

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageTroubleError, match=f"{store.paths.generation_file(1, 2)}: No space left"):
        save(run, cells[:1], 2)
    monkeypatch.undo()
    assert run.stop
    with pytest.raises(StorageTroubleError):
        run.check_storage()
    assert [path.read_bytes() for path in store.paths.generations(1)] == [before]
    assert begin(cells[:1]).restore(cells[0]).step == 1


def test_slow_storage_stretches_the_interval(cells: list[Cell], begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begin(cells[:1])
    assert run.checkpoint_due()
    clock = [1000.0]
    monkeypatch.setattr("hpc.node.saving.time.monotonic", lambda: clock[0])
    real = run._attempt.save

    def slow(rows: Any) -> None:
        real(rows)
        clock[0] += 10.0

    monkeypatch.setattr(run._attempt, "save", slow)
    save(run, cells[:1], 1)
    clock[0] += 490
    assert not run.checkpoint_due()
    clock[0] += 20
    assert run.checkpoint_due()


# --- who else is at work --------------------------------------------------------------------------------------------


def test_a_cell_that_a_newer_attempt_has_saved_is_dropped_and_the_others_go_on(cells: list[Cell], begin: Begin) -> None:
    run = begin(cells[:2])
    assert [run.restore(cell) for cell in cells[:2]] == [None, None]
    save(begin(cells[:1]), cells[:1], 1)
    assert run.save({cell: Checkpoint(1) for cell in cells[:2]}) == {cells[0]}
    assert run.unfinished() == [cells[1]]
    assert not run.stop
    with pytest.raises(ContractError, match=cells[0].name):
        run.epoch(cells[0], 1, 2, {})


def test_a_cell_that_another_attempt_has_finished_is_dropped(cells: list[Cell], begin: Begin) -> None:
    run, other = begin(cells[:1]), begin(cells[:1])
    finish(other, cells[0])
    assert run.save({cells[0]: Checkpoint(1)}) == {cells[0]}
    assert run.stop


def test_a_dropped_cell_is_not_in_the_generation(store: Store, cells: list[Cell], begin: Begin) -> None:
    run = begin(cells[:2])
    assert [run.restore(cell) for cell in cells[:2]] == [None, None]
    save(begin(cells[:1]), cells[:1], 1)
    run.save({cell: Checkpoint(5) for cell in cells[:2]})
    assert begin(cells[:1]).restore(cells[0]).step == 1


# --- results --------------------------------------------------------------------------------------------------------


def test_a_result_holds_what_is_documented(store: Store, cells: list[Cell], begin: Begin) -> None:
    run = begin(cells[:1])
    run.numerics(dtype="float64")
    run.epoch(cells[0], 1, 1, {"loss": 0.5})
    finish(run, cells[0], best_epoch=1, weights={"w": np.arange(3.0), "b": np.array(2.0)})
    result = json.loads(store.paths.result_file(cells[0]).read_text())
    assert result["width"] == 1
    assert (result["cell"], result["condition_id"], result["run_id"], result["seed"]) == (
        "width_1_run_0",
        "width_1",
        0,
        42,
    )
    assert (result["status"], result["best_epoch"], result["epochs"]) == ("COMPLETED", 1, 1)
    assert result["metrics"] == {"loss": 0.5, "accuracy": 0.25}
    assert result["config_digest"] == store.sweep().config_digest
    assert result["provenance"]["numerics"] == {"dtype": "float64"}
    assert result["provenance"]["attempts"] == 1
    weights = safetensors.numpy.load_file(store.paths.weights_file(cells[0]))
    assert weights["w"].tolist() == [0.0, 1.0, 2.0]
    assert weights["b"].shape == ()
    assert store.paths.history_file(cells[0]).read_text() == "epoch,loss\n1,0.5\n"


def test_the_outcome_digest_is_over_outcome_alone(store: Store, cells: list[Cell], begin: Begin) -> None:
    run = begin(cells[:1])
    run.epoch(cells[0], 1, 1, {"loss": 0.5})
    finish(run, cells[0], best_epoch=1)
    history = hashlib.sha256(b"epoch,loss\n1,0.5\n").hexdigest()
    text = (
        '[{"point":[["width",1]],"run_id":0,"seed":42},"COMPLETED",{"accuracy":0.25,"loss":0.5},1,1,'
        f'"{history}",null]'
    )
    assert store.result(cells[0])["outcome_digest"] == hashlib.sha256(text.encode()).hexdigest()


def test_a_result_is_published_once_and_the_same_outcome_is_no_conflict(
    store: Store, cells: list[Cell], begin: Begin
) -> None:
    first, second = begin(cells[:1]), begin(cells[:1])
    finish(second, cells[0])
    before = store.paths.result_file(cells[0]).read_bytes()
    finish(first, cells[0])
    assert store.paths.result_file(cells[0]).read_bytes() == before
    assert not store.paths.conflict_file(cells[0]).exists()
    assert state(store, cells[0]) == "COMPLETED"
    assert "the same outcome" in store.paths.log_file(cells[0]).read_text()


@pytest.mark.parametrize(
    "differently",
    [
        lambda run, cell: finish(run, cell, 0.6),
        lambda run, cell: finish(run, cell, diverged=True),
        lambda run, cell: finish(run, cell, best_epoch=1),
        lambda run, cell: finish(run, cell, weights={"w": np.ones(1)}),
        lambda run, cell: (run.epoch(cell, 1, 1, {"loss": 0.1}), finish(run, cell)),
    ],
    ids=["metric", "status", "best_epoch", "weights", "history"],
)
def test_a_second_different_outcome_is_kept_beside_the_first_as_a_conflict(
    store: Store, cells: list[Cell], begin: Begin, differently: Callable[[TrainingRun, Cell], Any]
) -> None:
    first, second = begin(cells[:1]), begin(cells[:1])
    finish(first, cells[0])
    before = store.paths.result_file(cells[0]).read_bytes()
    differently(second, cells[0])
    assert store.paths.result_file(cells[0]).read_bytes() == before
    assert state(store, cells[0]) == "CONFLICT"
    conflict = json.loads(store.paths.conflict_file(cells[0]).read_text())
    assert conflict["published"] == json.loads(before)["outcome_digest"]
    assert conflict["outcome"]["outcome_digest"] != conflict["published"]


@pytest.mark.parametrize("damaged", ["{", "", '{"status": "COMPLETED"}'])
def test_a_damaged_result_gives_way_to_a_whole_one_and_is_no_second_outcome(
    store: Store, cells: list[Cell], begin: Begin, damaged: str
) -> None:
    first, second = begin(cells[:1]), begin(cells[:1])
    finish(first, cells[0])
    whole = json.loads(store.paths.result_file(cells[0]).read_text())
    store.paths.result_file(cells[0]).write_text(damaged)  # a bad disk, while the second attempt still trains
    finish(second, cells[0])
    result = json.loads(store.paths.result_file(cells[0]).read_text())
    assert (result["provenance"]["attempts"], result["outcome_digest"]) == (2, whole["outcome_digest"])
    assert state(store, cells[0]) == "COMPLETED"
    assert not store.paths.conflict_files(cells[0])
    aside = next(store.paths.cell_directory(cells[0]).glob("results.json.corrupt-*"))
    assert aside.read_text() == damaged


def test_a_diverged_cell_has_ended_with_numbers_that_json_holds(store: Store, cells: list[Cell], begin: Begin) -> None:
    run = begin(cells[:1])
    run.epoch(cells[0], 1, 2, {"loss": float("inf")})
    run.finish(cells[0], {"loss": float("nan"), "accuracy": None}, diverged=True)
    assert state(store, cells[0]) == "DIVERGED"
    assert store.result(cells[0])["metrics"] == {"loss": None, "accuracy": None}
    assert store.paths.history_file(cells[0]).read_text() == "epoch,loss\n1,\n"


def test_numbers_of_numpy_are_numbers(store: Store, cells: list[Cell], begin: Begin) -> None:
    run = begin(cells[:1])
    run.epoch(cells[0], np.int64(1), np.int64(2), {"loss": np.float32(0.5)})
    run.save({cells[0]: Checkpoint(1)})
    run.finish(cells[0], {"loss": np.float64(0.25)}, best_epoch=np.int64(1))
    assert store.result(cells[0])["metrics"] == {"loss": 0.25}
    assert store.result(cells[0])["best_epoch"] == 1


def test_the_loser_of_a_race_leaves_the_winners_files_alone(store: Store, cells: list[Cell], begin: Begin) -> None:
    first, second = begin(cells[:1]), begin(cells[:1])
    for run, loss in ((first, 0.1), (second, 0.2)):
        run.epoch(cells[0], 1, 1, {"loss": loss})
    finish(first, cells[0], weights={"w": np.ones(1)})
    finish(second, cells[0], weights={"w": np.zeros(1)})
    assert store.paths.history_file(cells[0]).read_text() == "epoch,loss\n1,0.1\n"
    assert safetensors.numpy.load_file(store.paths.weights_file(cells[0]))["w"].tolist() == [1.0]


def test_where_links_between_directories_are_refused_the_history_is_copied(
    store: Store, cells: list[Cell], begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.link

    def within_one_directory(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int, **options: Any) -> None:
        if not os.path.sameopenfile(src_dir_fd, dst_dir_fd):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        real(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, **options)

    run = begin(cells[:1])
    run.epoch(cells[0], 1, 1, {"loss": 0.5})
    monkeypatch.setattr(os, "link", within_one_directory)
    finish(run, cells[0])
    assert store.paths.history_file(cells[0]).read_text() == "epoch,loss\n1,0.5\n"


def test_weights_can_be_left_out_and_still_count(tmp_path: Path, cells: list[Cell]) -> None:
    digests = []
    for keep in ("final", "none"):
        store = Store(tmp_path / keep)
        sweep = write_sweep(store, make_sweep(keep={"weights": keep, "checkpoints": False}), {})
        attempt = PackAttempt.begin(store, sweep, cells[:1], 1, {})
        run = TrainingRun(attempt, stop_requested=lambda: False, device="cpu", threads=1, provenance={})
        finish(run, cells[0], weights={"w": np.ones(1)})
        assert store.paths.weights_file(cells[0]).exists() == (keep == "final")
        digests.append(store.result(cells[0])["outcome_digest"])
    assert digests[0] == digests[1]


def test_checkpoints_go_once_all_cells_of_the_pack_have_results(store: Store, cells: list[Cell], begin: Begin) -> None:
    run = begin(cells[:2])
    save(run, cells[:2], 1)
    finish(run, cells[0])
    run._attempt.end()
    assert len(checkpoint_files(store, 1)) == 1
    finish(run, cells[1])
    run._attempt.end()
    assert checkpoint_files(store, 1) == []


def test_the_last_attempt_clears_what_earlier_ones_left(store: Store, cells: list[Cell], begin: Begin) -> None:
    save(begin(cells[:2]), cells[:2], 1)
    for cell in cells[:2]:
        run = begin([cell])
        run.restore(cell)
        finish(run, cell)
        run._attempt.end()
    assert checkpoint_files(store, 1) == []


def test_checkpoints_stay_where_the_user_keeps_them(tmp_path: Path, cells: list[Cell]) -> None:
    store = Store(tmp_path / "kept")
    sweep = write_sweep(store, make_sweep(keep={"weights": "final", "checkpoints": True}), {})
    attempt = PackAttempt.begin(store, sweep, cells[:1], 1, {})
    run = TrainingRun(attempt, stop_requested=lambda: False, device="cpu", threads=1, provenance={})
    save(run, cells[:1], 1)
    finish(run, cells[0])
    attempt.end()
    assert checkpoint_files(store, 1) == ["checkpoint-000001"]


# --- failures -------------------------------------------------------------------------------------------------------


def test_a_failed_cell_is_started_again_by_a_new_attempt(store: Store, cells: list[Cell], begin: Begin) -> None:
    run = begin(cells[:2])
    run.fail(cells[0], "the data are bad")
    assert state(store, cells[0]) == "FAILED"
    assert state(store, cells[1]) == "STARTED"
    assert run.unfinished() == [cells[1]]
    begin(cells[:1])
    assert state(store, cells[0]) == "STARTED"


def test_a_failure_of_an_older_attempt_does_not_hide_a_newer_one(store: Store, cells: list[Cell], begin: Begin) -> None:
    old = begin(cells[:1])
    begin(cells[:1])
    old.fail(cells[0], "too late")
    assert state(store, cells[0]) == "STARTED"


# --- the contract ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (lambda run, cell: run.epoch(cell, 1, 2, {"los": 1.0}), "metric 'los' is not declared; did you mean 'loss'?"),
        (lambda run, cell: run.epoch(cell, 1, 2, {"xyzzy": 1.0}), "metric 'xyzzy' is not declared; add it to METRICS"),
        (lambda run, cell: run.finish(cell, {"acuracy": 1}), "did you mean 'accuracy'?"),
        (lambda run, cell: run.epoch(cell, 1, 2, {"loss": "low"}), "metric 'loss' is 'low'; give a number"),
        (lambda run, cell: run.epoch(cell, 1, 2, {"loss": True}), "metric 'loss' is True; give a number"),
        (lambda run, cell: run.epoch(cell, 1, 2, {"loss": 10**400}), "give a number"),
        (lambda run, cell: run.epoch(cell, 2, 2, {"loss": 1.0}), "epoch 2 was reported after epoch 0"),
        (lambda run, cell: run.epoch(cell, 0, 2, {"loss": 1.0}), "epoch 0 was reported after epoch 0"),
    ],
)
def test_what_the_contract_does_not_allow_is_named_with_cell_and_fix(
    store: Store, cells: list[Cell], begin: Begin, act: Callable[[TrainingRun, Cell], None], reason: str
) -> None:
    run = begin(cells[:1])
    with pytest.raises(ContractError) as caught:
        act(run, cells[0])
    assert str(caught.value).startswith(f"{cells[0].name}: ")
    assert reason in str(caught.value)
    assert store.result(cells[0]) is None


@pytest.mark.parametrize(
    "use",
    [
        lambda run, cell: run.epoch(cell, 1, 1, {}),
        lambda run, cell: run.save({cell: Checkpoint(1)}),
        lambda run, cell: run.finish(cell, {}),
        lambda run, cell: run.fail(cell, "x"),
        lambda run, cell: run.restore(cell),
    ],
    ids=["epoch", "save", "finish", "fail", "restore"],
)
def test_a_cell_that_has_ended_or_is_foreign_cannot_be_used(
    cells: list[Cell], begin: Begin, use: Callable[[TrainingRun, Cell], None]
) -> None:
    run = begin(cells[:2])
    finish(run, cells[0])
    for cell in (cells[0], cells[3]):
        with pytest.raises(ContractError, match=f"{cell.name}: this cell has ended or is not of this task"):
            use(run, cell)


def test_a_resume_under_other_numerics_is_stamped(store: Store, cells: list[Cell], begin: Begin) -> None:
    run = begin(cells[:2])
    run.numerics(device="cpu")
    save(run, cells[:2], 1)
    again = begin(cells[:2])
    again.numerics(device="cuda")
    for cell in cells[:1]:
        again.restore(cell)
    for cell in cells[:2]:
        finish(again, cell)
    assert store.result(cells[0])["provenance"]["numerics_before"] == {"device": "cpu"}
    assert store.result(cells[0])["provenance"]["restored_at_step"] == 1
    assert "numerics_before" not in store.result(cells[1])["provenance"]


def test_provenance_is_no_part_of_the_outcome(tmp_path: Path, cells: list[Cell]) -> None:
    digests = set()
    for node in ("n1", "n2"):
        store = Store(tmp_path / node)
        sweep = write_sweep(store, make_sweep(), {})
        attempt = PackAttempt.begin(store, sweep, cells[:1], 1, {"node": node})
        about = {"node": node, "device": node}
        run = TrainingRun(attempt, stop_requested=lambda: False, device="cpu", threads=1, provenance=about)
        finish(run, cells[0])
        digests.add(store.result(cells[0])["outcome_digest"])
    assert len(digests) == 1


def test_progress_that_cannot_be_written_stops_nothing(
    store: Store, cells: list[Cell], begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begin(cells[:1])
    run.epoch(cells[0], 1, 2, {"loss": 1.0})
    store.paths.progress_file(1).unlink(missing_ok=True)
    store.paths.progress_file(1).mkdir()
    (store.paths.progress_file(1) / "x").touch()
    save(run, cells[:1], 1, epochs=False)
    finish(run, cells[0])
    assert state(store, cells[0]) == "COMPLETED"


# --- what trained a cell --------------------------------------------------------------------------------------------


def part(store: Store, cell: Cell, code: str, kernel: str, step: int) -> TrainingRun:
    """An attempt under this code and kernel that resumes the cell and saves it at this step."""
    attempt = PackAttempt.begin(store, store.sweep(), [cell], 1, {})
    run = TrainingRun(
        attempt, stop_requested=lambda: False, device="cpu", threads=1, provenance={"trainer_digest": code}
    )
    if kernel:
        run.numerics(kernel=kernel)
    run.restore(cell)
    run.save({cell: Checkpoint(step)})
    return run


@pytest.mark.parametrize(
    ("parts", "codes", "kernels", "before"),
    [
        (["1A", "1A"], None, None, None),
        (["1A", "1B"], ["1", "1"], ["A", "B"], "A"),
        (["1A", "1B", "1B"], ["1", "1"], ["A", "B"], "A"),
        (["1A", "1B", "1A"], ["1", "1", "1"], ["A", "B", "A"], "B"),
        (["1A", "1B", "1C"], ["1", "1", "1"], ["A", "B", "C"], "B"),
        (["1A", "2A", "2A"], ["1", "2"], ["A", "A"], None),
        (["1A", "2B", "2B", "2B"], ["1", "2"], ["A", "B"], "A"),
        (["1", "1A"], None, None, None),
    ],
)
def test_a_result_names_every_code_and_numerics_that_trained_it_over_any_number_of_stops(
    store: Store,
    cells: list[Cell],
    parts: list[str],
    codes: list[str] | None,
    kernels: list[str] | None,
    before: str | None,
) -> None:
    for step, (code, *kernel) in enumerate(parts, 1):
        run = part(store, cells[0], code, "".join(kernel), step)
    finish(run, cells[0])
    provenance = store.result(cells[0])["provenance"]
    trained_by = provenance.get("trained_by")
    assert (trained_by and [entry["code"] for entry in trained_by]) == codes
    assert (trained_by and [entry["numerics"]["kernel"] for entry in trained_by]) == kernels
    assert provenance.get("numerics_before") == (before and {"kernel": before})
    if trained_by:
        assert next(entry["from_step"] for entry in trained_by) == 0


def test_a_state_of_a_version_that_kept_the_last_numerics_only_still_shows_a_change(
    store: Store, cells: list[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("hpc.node.books.Book.lineage", lambda *_: [])
        patch.setattr("hpc.node.training_run.mixture", lambda _: {})
        part(store, cells[0], "1", "A", 1)
    finish(part(store, cells[0], "1", "B", 2), cells[0])
    provenance = store.result(cells[0])["provenance"]
    assert provenance["numerics_before"] == {"kernel": "A"}
    assert [entry["code"] for entry in provenance["trained_by"]] == [None, "1"]


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), None])
def test_a_cell_whose_final_value_of_a_declared_metric_is_not_finite_is_diverged(
    store: Store, cells: list[Cell], begin: Begin, loss: float | None
) -> None:
    run = begin(cells[:2])
    run.finish(cells[0], {"loss": loss, "accuracy": 0.5})
    run.finish(cells[1], {"loss": 1.0, "accuracy": None})  # which is declared optional
    assert [(store.result(cell) or {})["status"] for cell in cells[:2]] == ["DIVERGED", "COMPLETED"]


def test_a_declared_metric_that_was_never_reported_is_an_error_that_names_it(cells: list[Cell], begin: Begin) -> None:
    run = begin(cells[:2])
    with pytest.raises(ContractError, match="metric 'loss' was never reported; give it to finish"):
        run.finish(cells[0], {"accuracy": 0.5})
    run.epoch(cells[0], 1, 1, {"loss": 1.0})
    run.finish(cells[0], {"accuracy": 0.5})  # an epoch has reported it
