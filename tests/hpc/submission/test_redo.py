"""A redo sets results aside; whatever was begun before it counts for nothing, and nothing is lost."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from helpers.command_line import WIDTH, Holdfast
from helpers.dying import KilledError, dying
from helpers.small_sweeps import make_grid, make_store, make_sweep, run_here, run_task, submit, write_trainer

from hpc.errors import SweepError
from hpc.files import directories, limits, reading
from hpc.node import failures
from hpc.node.attempt import PackAttempt
from hpc.paths import origin
from hpc.processes import start_time
from hpc.storage.checkpoint import SavedCell
from hpc.storage.claims import new_submission
from hpc.storage.store import Store
from hpc.submission import redo
from hpc.submission.lock import lock
from hpc.sweep.cell import Cell
from hpc.sweep.outcome import Outcome, history_csv, weights_bytes
from hpc.sweep.states import COMPLETED, MISSING


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(tmp_path / "out", make_sweep(path=write_trainer(tmp_path / "code")))


@pytest.fixture
def cell(store: Store) -> Cell:
    return store.sweep().grid[0]


def begin(store: Store, cell: Cell) -> PackAttempt:
    """An attempt of a submission of its own."""
    return PackAttempt.begin(store, store.sweep(), [cell], submit(store, [cell]), {})


def publish(attempt: PackAttempt, cell: Cell, value: float) -> bool:
    history = history_csv([{"epoch": 1, "loss": value}], ["loss"])
    return attempt.publish(cell, Outcome(COMPLETED, {"loss": value}, 1, 1, history, weights_bytes({})), {})


def set_aside(store: Store, cell: Cell) -> int:
    """As the command does it."""
    with lock(store, "holdfast redo") as held:
        return redo.set_aside(store, [cell], held)


def state(store: Store, cell: Cell) -> str:
    (found,) = store.statuses([cell], store.sweep())
    return found.state


def loss(store: Store, cell: Cell) -> float:
    """The number in the result, which has to be that of its history."""
    history = store.paths.history_file(cell).read_text().splitlines()[-1].split(",")[1]
    value = json.loads(store.paths.result_file(cell).read_text())["metrics"]["loss"]
    assert value == float(history)
    return float(value)


def test_the_old_result_is_kept_with_its_history_and_the_new_one_says_so(store: Store, cell: Cell) -> None:
    publish(begin(store, cell), cell, 1.0)
    number = set_aside(store, cell)
    assert (state(store, cell), store.has_result(cell.name)) == (MISSING, False)
    names = set(directories.entries(store.paths.cell_directory(cell)))
    assert {f"{name}.redone-{number:06d}" for name in ("results.json", "history.csv", "weights.safetensors")} <= names
    publish(begin(store, cell), cell, 2.0)
    assert (state(store, cell), loss(store, cell)) == (COMPLETED, 2.0)
    assert [(n, earlier["metrics"]["loss"]) for n, earlier in store.redone_results(cell)] == [(number, 1.0)]
    redone = (store.result(cell) or {})["provenance"]["redone"]
    assert [(entry["redo"], entry["status"]) for entry in redone] == [(number, COMPLETED)]


def test_the_record_of_a_redo_of_all_cells_that_a_sweep_may_have_is_read(store: Store) -> None:
    """Their names are longer than the 16 MiB that other documents may have."""
    cells = [Cell((("a" * 240, number),), 42, 0) for number in range(limits.MOST_CELLS)]
    with lock(store, "holdfast redo") as held:
        number = redo.set_aside(store, cells, held)
    assert redo.read(store, number)["cells"] == sorted(cell.name for cell in cells)


def test_a_redone_cell_trains_again_after_submissions_were_cleaned_up(store: Store, cell: Cell) -> None:
    for value in (1.0, 2.0):
        publish(begin(store, cell), cell, value)
        number = set_aside(store, cell)
    shutil.rmtree(store.paths.submissions_root)
    submission = submit(store, [cell])
    assert submission > number
    assert run_here(store, [cell], submission) == 0
    assert state(store, cell) == COMPLETED


def test_a_redo_after_submissions_were_cleaned_up_begins_from_the_start(store: Store, cell: Cell) -> None:
    """States and results of before have numbers that were given when there were more submissions than now."""
    first, late = begin(store, cell), begin(store, cell)
    publish(first, cell, 1.0)
    shutil.rmtree(store.paths.submissions_root)
    set_aside(store, cell)
    assert store.counting_attempts(cell) == []
    publish(late, cell, 3.0)
    assert state(store, cell) == MISSING


def test_a_cell_that_failed_is_tried_again_after_submissions_were_cleaned_up(store: Store, cell: Cell) -> None:
    begin(store, cell).fail(cell, "out of memory", "")
    shutil.rmtree(store.paths.submissions_root)
    assert run_here(store, [cell], submit(store, [cell])) == 0
    assert state(store, cell) == COMPLETED


@pytest.mark.parametrize("width", [4, 8, 16])
def test_a_number_is_found_by_one_look_at_each_file(store: Store, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack's record names all its cells: read once for each of them, packs would cost the square of their width."""
    cells = list(make_grid(range(1, width + 1), (42,)))
    for number in (1, 7, 5):
        PackAttempt.begin(store, store.sweep(), cells, number, {})
    PackAttempt.begin(store, store.sweep(), list(make_grid((99,), (42,))), 50, {})  # of no concern
    publish(PackAttempt.begin(store, store.sweep(), cells[:1], 2, {}), cells[0], 1.0)
    asked: Counter[str] = Counter()
    real = reading.read_with_stat

    def counted(path: Path | str, most: float) -> tuple[bytes, os.stat_result]:
        asked[str(path)] += 1
        return real(path, most)

    monkeypatch.setattr(reading, "read_with_stat", counted)
    assert new_submission(store, cells) == 8
    assert set(asked.values()) == {1}
    packs = {str(path / "pack.json") for path in store.paths.packs_root.iterdir()}
    assert set(asked) == packs | {str(store.paths.result_file(cells[0]))}


def test_an_old_copy_that_ends_after_a_redo_changes_nothing(store: Store, cell: Cell) -> None:
    old = begin(store, cell)
    publish(begin(store, cell), cell, 1.0)
    set_aside(store, cell)
    assert old.superseded([cell]) == {cell}, "it trains on for nothing"
    assert not publish(old, cell, 1.5)
    assert state(store, cell) == MISSING
    publish(begin(store, cell), cell, 2.0)
    assert not publish(old, cell, 1.5)
    assert (state(store, cell), loss(store, cell)) == (COMPLETED, 2.0)
    assert store.paths.conflict_files(cell) == [], "what comes from before a redo contradicts nothing"


def test_an_old_copy_that_looked_before_the_redo_and_publishes_after_it_is_not_believed(
    store: Store, cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = begin(store, cell)
    publish(begin(store, cell), cell, 1.0)
    set_aside(store, cell)
    monkeypatch.setattr(old, "_precedes_redo", lambda cell: False)  # as it was when it looked
    publish(old, cell, 1.5)
    assert store.paths.result_file(cell).exists()
    assert (state(store, cell), store.has_result(cell.name)) == (MISSING, False)
    new = begin(store, cell)
    assert new.superseded([cell]) == frozenset()
    assert publish(new, cell, 2.0)
    assert (state(store, cell), loss(store, cell)) == (COMPLETED, 2.0)


def test_an_old_copy_that_claims_its_cell_after_the_new_attempt_takes_nothing_from_it(store: Store, cell: Cell) -> None:
    queued_before = submit(store, [cell])
    publish(begin(store, cell), cell, 1.0)
    set_aside(store, cell)
    number = submit(store, [cell])
    new = PackAttempt.begin(store, store.sweep(), [cell], number, {})
    old = PackAttempt.begin(store, store.sweep(), [cell], queued_before, {})  # it had looked before the redo
    digests = {"cell_digest": store.sweep().cell_digest(cell), "config_digest": store.sweep().config_digest}
    old.save([SavedCell(cell.name, step=1, **digests)])
    assert (new.superseded([cell]), old.superseded([cell])) == (frozenset(), {cell}), "one of them trains on"
    new.fail(cell, "bad luck", "")
    assert failures.failed_in(store, cell, number), "its own end counts, whoever claimed the cell since"


def test_a_result_that_is_set_aside_between_listing_and_reading_it_is_missing(
    store: Store, cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(begin(store, cell), cell, 1.0)
    real = directories.entries

    def listed_before_the_redo(path: Path | str) -> list[str]:
        names = real(path)
        if str(path) == str(store.paths.cell_directory(cell)):
            monkeypatch.setattr(directories, "entries", real)
            set_aside(store, cell)
        return names

    monkeypatch.setattr(directories, "entries", listed_before_the_redo)
    assert state(store, cell) == MISSING
    assert len(store.redos(cell.name)) == 1


def test_what_a_new_task_trains_starts_from_nothing_that_was_saved_before(tmp_path: Path) -> None:
    keep = {"weights": "final", "checkpoints": True}
    code = write_trainer(tmp_path / "code")
    store = make_store(tmp_path / "out", make_sweep(path=code, keep=keep, options={"save_always": True}))
    cell = store.sweep().grid[0]
    assert run_task(store, submit(store, [cell])).returncode == 0
    assert begin(store, cell).restore(cell) is not None, "the checkpoints are kept"
    set_aside(store, cell)
    assert begin(store, cell).restore(cell) is None
    assert run_task(store, submit(store, [cell])).returncode == 0
    new, (_, old) = store.result(cell) or {}, store.redone_results(cell)[0]
    assert new["outcome_digest"] == old["outcome_digest"]
    assert new["provenance"]["pack"] > old["provenance"]["pack"]


def test_a_task_that_was_queued_before_a_redo_and_starts_after_it_trains_nothing(store: Store, cell: Cell) -> None:
    early = submit(store, [cell])
    assert run_task(store, submit(store, [cell])).returncode == 0
    set_aside(store, cell)
    before = store.attempts(cell)
    assert run_task(store, early).returncode == 0
    assert (state(store, cell), store.paths.result_file(cell).exists()) == (MISSING, False)
    assert store.attempts(cell) == before


@pytest.mark.parametrize("kill_at", range(1, 9))
def test_killed_at_any_step_a_cell_is_as_it_was_or_set_aside_and_a_second_redo_ends_it(
    store: Store, cell: Cell, kill_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(begin(store, cell), cell, 1.0)
    with lock(store, "holdfast redo") as held, monkeypatch.context() as patch:
        dying(patch, kill_at)
        with contextlib.suppress(KilledError):
            redo.set_aside(store, [cell], held)
    if state(store, cell) == COMPLETED:
        assert loss(store, cell) == 1.0
        set_aside(store, cell)
    assert state(store, cell) == MISSING
    assert publish(begin(store, cell), cell, 2.0)
    assert (state(store, cell), loss(store, cell)) == (COMPLETED, 2.0)
    assert [earlier["metrics"]["loss"] for _, earlier in store.redone_results(cell)] == [1.0]
    kept = [path.read_text() for path in store.paths.cell_directory(cell).glob("history.csv.*")]
    assert any("1.0" in text for text in kept)


def test_a_redo_whose_lock_was_taken_over_leaves_what_was_trained_since_alone(store: Store, cell: Cell) -> None:
    publish(begin(store, cell), cell, 1.0)
    with lock(store, "holdfast redo") as stopped:
        for owner in store.paths.lock_directory.glob("owner-*"):
            owner.unlink()  # as `submit --take-over` does
        with pytest.raises(SweepError, match="another command has taken over this sweep"):
            redo.set_aside(store, [cell], stopped)
    assert state(store, cell) == COMPLETED


def test_a_cell_of_a_pack_that_still_trains_here_is_refused(store: Store, cell: Cell) -> None:
    publish(begin(store, cell), cell, 1.0)
    about = {"pid": os.getpid(), "began": start_time(os.getpid()), **origin(store.root)}
    PackAttempt.begin(store, store.sweep(), [cell, store.sweep().grid[1]], submit(store, [cell]), about)
    with pytest.raises(SweepError, match=f"{cell.name} is part of a task that is queued or running; wait for it"):
        set_aside(store, cell)
    assert state(store, cell) == COMPLETED


# --- the command ----------------------------------------------------------------------------------------------------


def trained(holdfast: Holdfast, directory: Path) -> Store:
    (directory / "sweep.yaml").write_text(
        f"trainer: {WIDTH}:train\ntrainer_options: {{epochs: 3}}\n"
        "sweep: {name: small, axes: {width: [1, 2]}, runs_per_condition: 2}\n"
    )
    holdfast("run", "--config", "sweep.yaml")
    return Store(directory / "out")


def test_redo_asks_sets_aside_and_run_trains_again_and_show_and_report_say_so(
    holdfast: Holdfast, tmp_path: Path
) -> None:
    store = trained(holdfast, tmp_path)
    asked = holdfast("redo", "out", "--axis", "width=1", expect=2).stderr
    assert asked.splitlines() == [
        "set the results of 2 finished cells aside, to train again? add -y to confirm",
    ]
    said = holdfast("redo", "out", "--axis", "width=1", "--cell", "width_1_run_0", "-y").stderr
    assert "1 result set aside by redo 2" in said
    assert "1 MISSING" in holdfast("status", "out", expect=4).stdout
    before = (store.root / "aggregated_results.json").read_bytes()
    holdfast("run", "out")
    assert (store.root / "aggregated_results.json").read_bytes() == before, "the same training gives the same numbers"
    shown = holdfast("show", "out", "width_1_run_0").stdout
    assert "earlier result, set aside by redo 2 on " in shown
    redone = json.loads(holdfast("show", "out", "width_1_run_0", "--json").stdout)["redone"]
    assert [(entry["redo"], entry["result"]["status"]) for entry in redone] == [(2, COMPLETED)]
    told = holdfast("aggregate", "out").stderr
    line = "redone after their results could be seen (holdfast redo): {}; all ended as before"
    assert line.format("width_1_run_0") in told
    assert line.format("width 1, seed 42") in (store.root / "report.html").read_text()


def test_redo_with_a_profile_trains_at_once(holdfast: Holdfast, tmp_path: Path) -> None:
    store = trained(holdfast, tmp_path)
    cells = [name for width in (1, 2) for name in ("--cell", f"width_{width}_run_1")]
    holdfast("redo", "out", *cells, "--profile", "local", "-y")
    redone = [bool(result["provenance"].get("redone")) for cell in store.sweep().grid if (result := store.result(cell))]
    assert redone == [False, True, False, True]


def test_what_cannot_be_redone_is_said_in_a_line(holdfast: Holdfast, tmp_path: Path) -> None:
    store = trained(holdfast, tmp_path)
    holdfast("redo", "out", "--cell", "width_2_run_0", "-y")
    for words, exit_code, line in (
        ([], 2, "command line: no cell is named; add --cell NAME, --state DIVERGED or another filter"),
        (["--state", "FAILED"], 2, "--include-failed` runs failed cells again"),
        (["--axis", "width=7"], 2, "command line: width is '7'; one value of this sweep: 1, 2"),
        (["--axis", "width=1,2"], 2, "command line: width is '1,2'; one value of this sweep: 1, 2"),
        (["--cell", "width_1"], 2, "no cell is called 'width_1'; did you mean width_1_run_0? (2 begin so)"),
        (["--cell", "width_1_run_9"], 2, "no cell is called 'width_1_run_9'; did you mean width_1_run_"),
        (["--dim", "8"], 2, "command line: no factor is called 'dim'; valid: width"),
        (["--state", "DIVERGED"], 0, "no finished cell matches; nothing is set aside"),
        (["--cell", "width_2_run_0"], 2, "width_2_run_0 is MISSING, so there is no result of it to set aside"),
    ):
        said = holdfast("redo", "out", *words, "-y", expect=exit_code).stderr
        assert line in said
        assert len(said.splitlines()) == 1
    assert sum(store.has_result(cell.name) for cell in store.sweep().grid) == 3


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]", b"null", b'{"provenance": 3}', b"\xff", b"[" * 100_000])
def test_a_result_that_is_damaged_once_it_was_looked_at_is_set_aside_as_it_is(
    damaged: bytes, store: Store, cell: Cell
) -> None:
    publish(begin(store, cell), cell, 1.0)
    store.paths.result_file(cell).write_bytes(damaged)
    number = set_aside(store, cell)
    assert store.paths.redone_result_file(cell, number).read_bytes() == damaged
    assert state(store, cell) == MISSING
    publish(begin(store, cell), cell, 2.0)
    assert (state(store, cell), loss(store, cell)) == (COMPLETED, 2.0)
    assert store.redone_results(cell) == []
