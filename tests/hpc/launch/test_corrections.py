"""What a sweep is may be corrected where nothing came of it yet, but never under the feet of its tasks."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.small_sweeps import make_grid, make_store, make_sweep, run_task, submit, write_trainer

from hpc import provenance
from hpc.cli import app
from hpc.errors import BusyError, SweepError
from hpc.launch.request import Request
from hpc.node.attempt import PackAttempt
from hpc.processes import start_time
from hpc.protocol import TaskExit
from hpc.storage.revisions import may_resume
from hpc.storage.store import Store
from hpc.submission.lock import lock
from hpc.sweep.definition import Sweep
from hpc.sweep.grid import Grid


@pytest.fixture
def failed(tmp_path: Path) -> Store:
    """A sweep all of whose attempts have failed; the process that made the last one, this one, still runs."""
    store = make_store(tmp_path / "out", make_sweep(path=write_trainer(tmp_path)))
    about = {"pid": os.getpid(), "began": start_time(os.getpid())}
    attempt = PackAttempt.begin(store, store.sweep(), [store.sweep().grid[0]], 1, about)
    attempt.fail(store.sweep().grid[0], "too few epochs", "")
    return store


@pytest.mark.parametrize("lives", [False, True])
@pytest.mark.parametrize("part", [make_grid((1, 2), (42,)), make_grid((2,), (42, 43))])
def test_a_part_of_the_cells_leaves_a_sweep_that_has_failed_as_it_is(failed: Store, part: Grid, lives: bool) -> None:
    """Its other cells may be queued, and end without training if they are in the sweep no more."""
    if not lives:
        failed.paths.pack_file(1).unlink()
    before = failed.paths.sweep_file.read_bytes()
    asked = replace(failed.sweep(), grid=part)
    record(failed, asked)
    assert failed.sweep().grid == make_grid()
    assert json.loads(before)["revisions"][0]["grid"] == failed.manifest()["revisions"][-1]["grid"]


def test_explicit_seeds_are_the_same_after_fewer_were_asked_for(failed: Store) -> None:
    failed.paths.pack_file(1).unlink()
    record(failed, replace(failed.sweep(), grid=make_grid((1, 2), (7, 9, 11))))
    record(failed, failed.sweep().with_runs(1))
    record(failed, failed.sweep().with_runs(4))
    assert failed.sweep().grid.seeds == (7, 9, 11, 12)


def corrections(sweep: Sweep) -> list[Sweep]:
    """Another configuration, and other seeds under the same names."""
    return [replace(sweep, options={"epochs": 7}), replace(sweep, grid=make_grid((1, 2), (7, 8)))]


def record(store: Store, sweep: Sweep) -> None:
    """As a command does it."""
    with lock(store, "holdfast submit") as held:
        Request(store, sweep).record(held)


@pytest.mark.parametrize("which", [0, 1])
def test_a_correction_waits_for_the_tasks_of_the_sweep_as_it_was(failed: Store, which: int) -> None:
    corrected = corrections(failed.sweep())[which]
    before = failed.paths.sweep_file.read_bytes()
    with pytest.raises(SweepError, match=r"cannot change while 1 of its tasks .*holdfast cancel"):
        record(failed, corrected)
    assert failed.paths.sweep_file.read_bytes() == before
    failed.paths.pack_file(1).unlink()  # as if its process had ended
    record(failed, corrected)
    assert failed.sweep().config_digest == corrected.config_digest
    assert failed.sweep().grid == corrected.grid


def test_growing_a_sweep_waits_for_nobody(failed: Store) -> None:
    record(failed, failed.sweep().with_runs(3))
    assert len(failed.sweep().grid.seeds) == 3


def test_a_submitter_that_was_taken_over_leaves_the_sweep_as_the_other_one_has_made_it(
    failed: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stopped after it has read the sweep, and continued when the other one has grown it, too."""
    versions = provenance.versions

    def taken_over() -> dict[str, str]:
        monkeypatch.setattr(provenance, "versions", versions)
        (owner,) = failed.paths.lock_directory.iterdir()
        owner.unlink()  # what a take-over does
        record(failed, failed.sweep().with_runs(4))
        return versions()

    monkeypatch.setattr(provenance, "versions", taken_over)
    with pytest.raises(BusyError, match="has taken over this sweep"):
        record(failed, failed.sweep().with_runs(5))
    assert len(failed.sweep().grid.seeds) == 4
    assert len(failed.manifest()["revisions"]) == 2


# --- corrected code ---------------------------------------------------------------------------------------------------

# Trains to the end, saves every epoch, and notices the mistake in RATE only then.
LATE = """
def train(cells, options, run):
    for cell in cells:
        saved = run.restore(cell)
        done, total = (saved.step, saved.values["total"]) if saved else (0, 0.0)
        while done < 4:
            done, total = done + 1, total + RATE
            run.epoch(cell, done, 4, {"loss": total})
            run.save({cell: Checkpoint(done, values={"total": total})})
        assert RATE == 0.5, "wrong result"
        run.finish(cell, {"loss": total})
"""


def write_late(directory: Path, rate: float) -> Path:
    return write_trainer(directory, LATE.replace("def train", f"RATE = {rate}\ndef train"))


@pytest.fixture
def late(tmp_path: Path) -> Store:
    """A sweep all of whose cells have saved their last epoch, and then failed by a mistake in the trainer's code."""
    sweep = make_sweep(make_grid((1,), (42,)), path=write_late(tmp_path, 1.0))
    store = Store(tmp_path / "out")
    record(store, sweep)
    assert app.main(["run", str(store.root)]) != 0
    assert store.failure(sweep.grid[0], 1)
    return store


@pytest.mark.parametrize(("words", "loss"), [([], 2.0), (["--allow-code-change"], 4.0)])
def test_corrected_code_resumes_no_state_of_the_code_before_unless_that_is_allowed(
    late: Store, tmp_path: Path, words: list[str], loss: float, capsys: pytest.CaptureFixture[str]
) -> None:
    write_late(tmp_path, 0.5)
    app.main(["run", str(late.root), "--include-failed", *words])
    result = late.result(late.sweep().grid[0])
    assert result is not None
    assert result["metrics"]["loss"] == loss
    assert ("trained_by" in result["provenance"]) is bool(words)
    said = capsys.readouterr().err
    assert ("what it saved before is not resumed" in said) is not bool(words)
    assert ("cells of before and after are mixed" in said) is bool(words)


def test_a_task_of_the_code_before_a_correction_trains_nothing(late: Store, tmp_path: Path) -> None:
    number = submit(late, list(late.sweep().grid))
    write_late(tmp_path, 0.5)
    record(late, late.sweep())
    write_late(tmp_path, 1.0)  # as the snapshot has it that the task was queued with
    done = run_task(late, number)
    assert done.returncode == TaskExit.OUTDATED
    assert done.stderr.strip() == (
        f"{late.paths.sweep_file}: the code of toy.py:train was changed after this task was queued; submit again"
    )
    assert late.attempts(late.sweep().grid[0]) == [1]


def revision(code: str | None, **more: Any) -> dict[str, Any]:
    about = {} if code is None else {"trainer_digest": code}
    seen = {"results_seen": more.pop("results_seen")} if "results_seen" in more else {}
    return {"provenance": about | more, **seen}


@pytest.mark.parametrize(
    ("revisions", "ours", "theirs", "resumed"),
    [
        ([revision("a")], "a", "a", True),
        ([revision("a")], "x", "a", True),  # a node's Python finds other files to count than the one of the submission
        ([revision("a"), revision("b", code_change_allowed=False)], "b", "a", False),
        ([revision("a"), revision("b", code_change_allowed=False)], "a", "b", False),
        ([revision("a"), revision("b", code_change_allowed=False)], "b", "b", True),
        ([revision("a"), revision("b", code_change_allowed=False)], "b", None, False),
        ([revision("a"), revision("b", code_change_allowed=False)], "x", "y", False),
        ([revision("a"), revision("b", code_change_allowed=True)], "b", "a", True),
        ([revision("a"), revision("b", code_change_allowed=True)], "b", None, True),
        ([revision("a"), revision("b", results_seen=True)], "b", "a", True),
        ([revision("a"), revision("b", results_seen=False)], "b", "a", False),
        ([revision("a"), revision("a"), revision("a", results_seen=False)], "a", None, True),
        ([revision(None), revision("b", results_seen=False)], "b", None, True),
        ([revision("a"), revision("b", code_change_allowed=False), revision("b", results_seen=True)], "b", "a", False),
        ([revision("a"), revision("b", results_seen=True), revision("c", results_seen=False)], "c", "a", False),
        ([revision("a"), revision("b", results_seen=True), revision("c", results_seen=False)], "b", "a", True),
    ],
)
def test_states_pass_between_codes_only_over_changes_that_were_allowed(
    revisions: list[dict[str, Any]], ours: str, theirs: str | None, resumed: bool
) -> None:
    assert may_resume(revisions, ours, theirs) is resumed
