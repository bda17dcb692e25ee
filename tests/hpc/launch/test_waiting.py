"""`submit --wait` when Slurm has no room or does not answer for a while."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.small_sweeps import make_sweep

from hpc.files.opening import RefusedFileError
from hpc.launch import look, slurm, watching
from hpc.launch.look import Look, Reached
from hpc.launch.options import SubmitOptions
from hpc.launch.request import Request
from hpc.node.attempt import PackAttempt
from hpc.node.training_run import TrainingRun
from hpc.planning.plan import Plan, make_plan
from hpc.slurm.answers import QueuedTask
from hpc.slurm.commands import LimitError, SlurmError
from hpc.slurm.profile import Profile
from hpc.storage.revisions import write_sweep
from hpc.storage.store import Store
from hpc.submission import cancels
from hpc.submission.live import LiveTask
from hpc.sweep.cell import Cell
from training.contract import Checkpoint

Answer = Exception | Callable[[], None] | None


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    store, sweep = Store(tmp_path), make_sweep()
    write_sweep(store, sweep, {})
    return Request(store, sweep)


def wait(
    request: Request, monkeypatch: pytest.MonkeyPatch, answers: Sequence[Answer], **failing: int
) -> tuple[int, list[int]]:
    """Wait while submissions end as the answers say; then nothing is left to queue. Returns exit code and pauses.

    An answer that is a function is what the tasks of this submission do. failing: how often take (a look) or
    follow_in_lines cannot read a file first.
    """
    pauses: list[int] = []
    left = list(answers)

    def submit_once(*_: Any) -> int:
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            answer()
        return 0

    def plan(*_: Any) -> Any:
        return SimpleNamespace(tasks=left)

    def follow(*_: Any, **__: Any) -> None:
        """Nothing is in a queue."""

    monkeypatch.setattr(slurm, "follow_in_lines", trouble(failing.get("follow_in_lines", 0), EIO, follow))
    monkeypatch.setattr(slurm, "_plan_for_slurm", plan)
    monkeypatch.setattr(slurm, "submit_once", submit_once)
    monkeypatch.setattr(slurm.time, "sleep", pauses.append)
    seen = look.take(request)
    monkeypatch.setattr(look, "take", trouble(failing.get("take", 0), EIO, look.take))
    return slurm.wait(request, SubmitOptions(), Profile("cluster"), None, seen), pauses


def test_it_asks_again_after_a_pause_whatever_the_reason(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    code, pauses = wait(request_, monkeypatch, [SlurmError("no answer"), LimitError("full"), None])
    assert code == 4  # nothing was trained here
    assert pauses == [60, 60]


def test_a_full_queue_is_waited_for_however_long(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    _, pauses = wait(request_, monkeypatch, [LimitError("full")] * 100)
    assert len(pauses) == 100
    assert pauses[:6] == [60, 120, 240, 480, 600, 600]
    assert max(pauses) == 600


def test_a_slurm_that_refuses_for_half_an_hour_is_an_error(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SlurmError, match="no such partition"):
        wait(request_, monkeypatch, [SlurmError("no such partition")] * 100)


# --- what is progress -------------------------------------------------------------------------------------------------


def task(store: Store, *steps: int) -> Callable[[], None]:
    """A task that restores, saves these steps within its first epoch, and is stopped."""

    def run_it() -> None:
        cell = store.sweep().grid[0]
        attempt = PackAttempt.begin(store, store.sweep(), [cell], 1, {})
        run = TrainingRun(attempt, stop_requested=lambda: False, device="cpu", threads=1, provenance={})
        run.hand_over([cell])
        run.restore(cell)
        for step in steps:
            run.save({cell: Checkpoint(step, values={"step": step})})
        run.note_stop()

    return run_it


@pytest.mark.parametrize("saves", [1, 2], ids=["beside what was saved before", "in place of what was saved before"])
def test_epochs_longer_than_a_time_limit_are_waited_for(
    request_: Request, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], saves: int
) -> None:
    rounds = [task(request_.store, *range(10 * n, 10 * n + saves)) for n in range(1, 7)]
    wait(request_, monkeypatch, rounds)
    assert len(request_.store.attempts(request_.sweep.grid[0])) == len(rounds)
    assert "stopped:" not in capsys.readouterr().err


@pytest.mark.parametrize("steps", [(), (3,), (3, 3)], ids=["nothing saved", "saved again", "saved again twice"])
def test_tasks_that_get_no_further_are_not_queued_for_ever(
    request_: Request, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], steps: tuple[int, ...]
) -> None:
    task(request_.store, 3)()
    wait(request_, monkeypatch, [task(request_.store, *steps)] * 6)
    assert "stopped: 2 submissions in a row brought no cell further" in capsys.readouterr().err
    assert len(request_.store.attempts(request_.sweep.grid[0])) == 2


def failing(store: Store, cell: Cell, epochs: int) -> None:
    """A task in which the cell saves one state more than it had, gets so far and fails."""
    attempt = PackAttempt.begin(store, store.sweep(), [cell], 1, {})
    run = TrainingRun(attempt, stop_requested=lambda: False, device="cpu", threads=1, provenance={})
    run.hand_over([cell])
    saved = run.restore(cell)
    run.save({cell: Checkpoint(1 + (saved.step if saved else 0), values={})})
    for epoch in range(1, epochs + 1):
        run.epoch(cell, epoch, 9, {"loss": 1.0})
    run.fail(cell, "always")


@pytest.mark.parametrize("room", [None, 1], ids=["all at once", "one at a time"])
def test_cells_that_failed_are_run_once_more_and_no_more_often(
    request_: Request, monkeypatch: pytest.MonkeyPatch, room: int | None
) -> None:
    """Also where the queue takes them one by one, so that some are still to be tried after the first round."""
    store, cells = request_.store, list(request_.sweep.grid)
    for cell in cells:
        failing(store, cell, 3)

    def plan(_: Request, asked: SubmitOptions, __: Profile, ___: object, seen: Look) -> Plan:
        wanted = {"include_failed": asked.include_failed, "retry": seen.untried}
        return make_plan(seen.statuses, room=room, **wanted)  # type: ignore[arg-type]

    def submit_once(*given: Any) -> int:
        for (cell,) in plan(*given[:5]).tasks:
            assert len(store.attempts(cell)) < 5, "it is tried without end"
            failing(store, cell, 3 + len(store.attempts(cell)) % 2)
        return 0

    options = SubmitOptions(include_failed=True)
    monkeypatch.setattr(slurm, "follow_in_lines", lambda *_: None)
    monkeypatch.setattr(slurm, "_plan_for_slurm", plan)
    monkeypatch.setattr(slurm, "submit_once", submit_once)
    seen = look.take(request_)
    submit_once(request_, options, None, None, seen)
    assert slurm.wait(request_, options, Profile("cluster"), None, seen) == 4
    assert [len(store.attempts(cell)) for cell in cells] == [2] * len(cells)


@pytest.mark.parametrize("kind", [{"reason": "launch failed requeued held"}, {"void": True}], ids=["held", "void"])
def test_failed_cells_are_still_run_again_where_a_task_that_never_trains_is_cancelled_first(
    request_: Request, monkeypatch: pytest.MonkeyPatch, kind: dict[str, Any]
) -> None:
    """One that has been tried meanwhile is not tried once more."""
    store, cells = request_.store, list(request_.sweep.grid)
    for cell in cells[:2]:
        failing(store, cell, 3)
    queued = QueuedTask("t", "7", 0, "PENDING", kind.get("reason", "Resources"), "", "p", 0, 1, 0)
    stuck = LiveTask(queued, 1, (cells[3].name,), void=kind.get("void", False))
    seen = look.take(request_)
    seen = replace(seen, queues=replace(seen.queues, tasks=(stuck,))).with_untried(seen.failed)
    assert seen.untried == set(cells[:2])
    failing(store, cells[1], 3)
    monkeypatch.setattr(cancels, "take_out", lambda _: [])  # Slurm takes it out
    cleared = look.clear(request_, seen, None)
    assert not cleared.queues.tasks, "a new look"
    assert cleared.untried == {cells[0]}


def test_what_falls_back_and_returns_is_no_progress() -> None:
    progress = watching.Progress(Reached(3, 10, frozenset({1})))
    marks = [
        Reached(3, 4, frozenset()),
        Reached(2, 10, frozenset({1})),
        Reached(2, 11, frozenset()),
        Reached(1, 0, frozenset({2})),
    ]
    assert [progress.made(mark) for mark in [*marks, *marks]] == [False, False, True, True] + [False] * 4


# --- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("diverged", "code"), [(0, 0), (3, 0), (4, 4)])
def test_it_ends_with_0_once_every_cell_has_a_result_unless_all_of_them_diverged(
    request_: Request, monkeypatch: pytest.MonkeyPatch, diverged: int, code: int
) -> None:
    cells = list(request_.sweep.grid)

    def all_end() -> None:
        attempt = PackAttempt.begin(request_.store, request_.sweep, cells, 1, {})
        run = TrainingRun(attempt, stop_requested=lambda: False, device="cpu", threads=1, provenance={})
        run.hand_over(cells)
        for i, cell in enumerate(cells):
            run.finish(cell, {"loss": 1.0}, diverged=i < diverged)

    assert len(cells) == 4
    assert wait(request_, monkeypatch, [all_end])[0] == code


# --- hiccups ----------------------------------------------------------------------------------------------------------


def trouble(times: int, error: Exception, call: Callable[..., Any]) -> Callable[..., Any]:
    """The call, which fails so many times first."""
    left = [error] * times

    def failing(*arguments: Any, **options: Any) -> Any:
        if left:
            raise left.pop()
        return call(*arguments, **options)

    return failing


EIO = OSError(5, "Input/output error", "sweep.json")


@pytest.mark.parametrize("where", ["take", "submit_once", "follow_in_lines"])
def test_a_file_system_that_fails_for_a_while_is_asked_again(
    request_: Request, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    if where == "submit_once":
        code, pauses = wait(request_, monkeypatch, [EIO, EIO, None])
    else:
        code, pauses = wait(request_, monkeypatch, [None], **{where: 2})
    assert (code, pauses) == (4, [60, 60])


def test_a_file_system_that_fails_for_half_an_hour_is_an_error(
    request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OSError, match="Input/output error"):
        wait(request_, monkeypatch, [EIO] * 100)


def test_a_file_that_is_refused_is_an_error_at_once(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RefusedFileError):
        wait(request_, monkeypatch, [RefusedFileError(22, "is no regular file; move it away", "sweep.json"), None])


def test_hiccups_that_lie_far_apart_are_not_added_up(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a wait of a week, while one submission is followed."""
    hours = iter(range(10**6))
    monkeypatch.setattr(slurm.time, "monotonic", lambda: 3600 * next(hours))
    _, pauses = wait(request_, monkeypatch, [None], follow_in_lines=100)
    assert len(pauses) == 100
