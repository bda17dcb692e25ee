"""What a level stands for is part of what a result is: a corrected level is not mixed with what it was before."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.small_sweeps import make_store, make_sweep, submit

from hpc.checkout import SCRIPT_TRAINER
from hpc.errors import OutdatedError
from hpc.files import directories
from hpc.node.attempt import PackAttempt
from hpc.node.giving_up import MOST_ALONE, MOST_INTERRUPTED, Futile, futile
from hpc.node.pack import PackTask
from hpc.status import state_cache
from hpc.storage import published
from hpc.storage.revisions import has_work
from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from hpc.sweep.definition import DeclaredTrainer, Sweep
from hpc.sweep.grid import Axis, Grid
from hpc.sweep.outcome import Outcome, history_csv
from hpc.sweep.states import COMPLETED, CONFLICT

GRID = Grid((Axis("recipe", ("small", "large")),), (1,))
SMALL, LARGE = GRID
FACTORS = {"recipe": {"kind": "word"}}
METRICS = {"loss": {"kind": "positive", "better": "lower"}}


def sweep(lr: float) -> Sweep:
    trainer = DeclaredTrainer(SCRIPT_TRAINER, "", FACTORS, METRICS)
    bundles = {"recipe": {"small": {"lr": lr}, "large": {"lr": 0.5}}}
    return make_sweep(GRID, options={"command": "x", "bundles": bundles}, trainer=trainer)


BEFORE, AFTER = sweep(0.1), sweep(0.001)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(tmp_path / "out", BEFORE)


def begin(store: Store, cell: Cell, asked: Sweep = BEFORE) -> PackAttempt:
    return PackAttempt.begin(store, asked, [cell], 1, {})


def publish(attempt: PackAttempt, cell: Cell, loss: float = 9.0) -> bool:
    history = history_csv([{"epoch": 1, "loss": loss}], ["loss"])
    return attempt.publish(cell, Outcome(COMPLETED, {"loss": loss}, None, 1, history, None), {})


def correct(store: Store) -> None:
    """As `submit` records a correction, here with a task of before still at work where nobody can see it."""
    manifest = json.loads(store.paths.sweep_file.read_text())
    manifest["revisions"].append(AFTER.to_json())
    store.paths.sweep_file.write_text(json.dumps(manifest))


def state(store: Store, cell: Cell, asked: Sweep = AFTER) -> tuple[str, str]:
    (status,) = store.statuses([cell], asked)
    return status.state, status.cause


def test_a_result_of_the_settings_of_before_does_not_count(store: Store) -> None:
    assert BEFORE.config_digest == AFTER.config_digest, "levels can be added to a sweep"
    old = begin(store, SMALL)
    correct(store)
    publish(old, SMALL)
    said = "was made with other settings of its levels"
    assert (state(store, SMALL)[0], said in state(store, SMALL)[1]) == (CONFLICT, True)
    assert state(store, SMALL, BEFORE) == (COMPLETED, "")
    publish(begin(store, LARGE), LARGE)
    assert state(store, LARGE) == (COMPLETED, ""), "this level is as it was"


def test_nor_does_it_agree_with_one_of_the_new_settings_that_has_the_same_numbers(store: Store) -> None:
    old, new = begin(store, SMALL), begin(store, SMALL, AFTER)
    publish(new, SMALL)
    publish(old, SMALL)
    (conflict,) = store.paths.conflict_files(SMALL)
    conflict.unlink()
    assert state(store, SMALL) == (COMPLETED, ""), "the old one took nothing from it"


def test_a_result_says_what_its_levels_stand_for(store: Store) -> None:
    publish(begin(store, SMALL), SMALL)
    config = json.loads(store.paths.cell_config_file(SMALL).read_text())
    assert config["levels"] == {"recipe": {"lr": 0.1}}
    assert config["cell_digest"] == (store.result(SMALL) or {})["cell_digest"] == BEFORE.cell_digest(SMALL)


def test_a_result_of_a_version_that_did_not_say_it_is_believed(store: Store) -> None:
    publish(begin(store, SMALL), SMALL)
    path = store.paths.result_file(SMALL)
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "cell_digest"}))
    assert state(store, SMALL) == (COMPLETED, "")


def test_the_configuration_that_an_earlier_version_wrote_stays_as_it_is_named(store: Store) -> None:
    begin(store, SMALL)
    path = store.paths.cell_config_file(SMALL)
    written = {k: v for k, v in json.loads(path.read_text()).items() if k not in ("cell_digest", "levels")}
    path.write_text(json.dumps(written))
    publish(begin(store, SMALL), SMALL)
    assert json.loads(path.read_text()) == written
    assert published.whole_fault(store.paths, SMALL, store.result(SMALL) or {}) == ""
    begin(store, SMALL, AFTER)
    assert [other.name for other in path.parent.glob("config.json.replaced-*")] == []


def test_a_task_that_was_queued_for_the_settings_of_before_trains_nothing(store: Store) -> None:
    number, other = submit(store, [LARGE, SMALL]), submit(store, [LARGE])
    correct(store)
    with pytest.raises(OutdatedError, match="the configuration was changed after this task was queued"):
        PackTask.from_list(store, number, 0, 0, lambda: False)
    PackTask.from_list(store, other, 0, 0, lambda: False)


def test_a_task_list_of_a_version_that_did_not_say_it_is_read_as_before(store: Store) -> None:
    number = submit(store, [SMALL])
    path = store.paths.tasks_file(number, 0)
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "cell_digests"}) + "\n")
    correct(store)
    PackTask.from_list(store, number, 0, 0, lambda: False)


def test_remembered_states_are_those_of_the_settings_that_are_asked_for(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_cache, "_WORTH_IT", 1)
    monkeypatch.setattr(directories, "_COARSEST_NS", -(10**10))  # remembered at once
    for cell in GRID:
        publish(begin(store, cell), cell)
    assert {status.state for status in state_cache.statuses(store, GRID, BEFORE)} == {COMPLETED}
    assert store.paths.state_cache_file.exists()
    assert [status.state for status in state_cache.statuses(store, GRID, AFTER)] == [CONFLICT, COMPLETED]


# --- whether anything may still come of a sweep as it was -------------------------------------------------------------


def test_an_attempt_that_was_followed_by_a_failed_one_may_still_be_at_work(store: Store) -> None:
    begin(store, SMALL)  # its node is cut off, and Slurm requeues the task
    begin(store, SMALL).fail(SMALL, "lr too high", "")
    assert has_work(store)


def test_what_a_cell_was_given_up_for_is_no_work(store: Store) -> None:
    for _ in range(MOST_ALONE):
        begin(store, SMALL).report_progress({SMALL.name: (0, 0)})
    cause = futile(store, SMALL, fused=False).cause
    begin(store, SMALL).fail(SMALL, cause, "", given_up=True)
    assert not has_work(store)
    begin(store, SMALL)
    assert has_work(store), "tried again"


def test_what_a_cell_was_given_up_for_before_its_ten_thousandth_attempt_says_nothing_of_that(store: Store) -> None:
    given_up = store.paths.failure_file(SMALL, 9_999)
    given_up.parent.mkdir(parents=True)
    given_up.write_text(json.dumps({"given_up": True, "cause": "", "time": ""}))
    assert not has_work(store)
    store.paths.attempt_directory(SMALL, 10_000).mkdir()
    assert has_work(store)


def test_the_newest_checkpoint_is_the_one_of_the_highest_number_however_many_digits_it_has(store: Store) -> None:
    numbers = [999_998, 999_999, 1_000_000]
    store.paths.pack_directory(1).mkdir(parents=True)
    for number in numbers:
        store.paths.generation_file(1, number).touch()
    assert store.paths.generations(1) == [store.paths.generation_file(1, number) for number in reversed(numbers)]


NOTHING = Futile(attempts=0, packed=0, interrupted=0, last_alone=True, last="killed")
PACKED = replace(NOTHING, last_alone=False)
CAUSES = [
    "ended 3 times without progress (last: killed by signal 9, as when memory runs out)",
    "was stopped 10 times in a row before it had saved anything; give it a longer time limit, an earlier warning",
    *(replace(NOTHING, attempts=MOST_ALONE, damaged=damaged).cause for damaged in (False, True)),
    *(replace(PACKED, interrupted=MOST_INTERRUPTED, repeated=repeated).cause for repeated in (False, True)),
    replace(PACKED, interrupted=MOST_INTERRUPTED, damaged=True).cause,
]


def without_the_word(store: Store, attempt: PackAttempt, cell: Cell) -> None:
    """As a version wrote it that did not say so beside the cause."""
    path = store.paths.failure_file(cell, attempt.claims[cell])
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "given_up"}))


@pytest.mark.parametrize("cause", CAUSES)
def test_nor_where_an_earlier_version_gave_the_cell_up(store: Store, cause: str) -> None:
    begin(store, SMALL).report_progress({SMALL.name: (0, 0)})
    last = begin(store, SMALL)
    last.fail(SMALL, cause, "", given_up=True)
    without_the_word(store, last, SMALL)
    assert not has_work(store)


@pytest.mark.parametrize("cause", ["RuntimeError: was stopped 10 times in a row", "ended 3 times without progressing"])
def test_a_failure_of_the_trainers_own_gives_nothing_up(store: Store, cause: str) -> None:
    begin(store, SMALL).report_progress({SMALL.name: (0, 0)})
    begin(store, SMALL).fail(SMALL, cause, "")
    assert has_work(store)
