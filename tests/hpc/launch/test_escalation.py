"""Which cells --escalate gives more, and how much: by what the files and Slurm say of their last attempt."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.small_sweeps import ROOT, make_grid, make_store, make_sweep
from helpers.users import ALICE, GROUP, need_other_users

from hpc.errors import ConfigError, SweepError
from hpc.launch.escalation import escalation, limits_of
from hpc.launch.look import Look
from hpc.launch.preparation import asked_beside
from hpc.launch.request import Request
from hpc.node.attempt import PackAttempt
from hpc.node.training_run import TrainingRun
from hpc.slurm.answers import QueuedTask
from hpc.slurm.commands import Slurm
from hpc.slurm.profile import Profile
from hpc.status.shortage import GPU_MEMORY, MEMORY, TIME, Shortages
from hpc.storage.store import Store
from hpc.submission import intents
from hpc.submission.live import Queues
from hpc.sweep.cell import Cell
from training.contract import Checkpoint

PROFILE = Profile("lab", {"mem_gb": 2, "timeout_min": 60, "partition": "p"})
States = dict[str, str]


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> States:
    """What Slurm says of tasks, by the name of their array; it knows nothing else."""
    known: States = {}

    def queue(slurm: Slurm, names: Any, *_: Any, **__: Any) -> list[QueuedTask]:
        return [QueuedTask(name, "7", 0, known[name], "", "", "p", 0, 1, 0) for name in names if name in known]

    monkeypatch.setattr(Slurm, "queue", queue)
    monkeypatch.setattr(Slurm, "accounting", lambda *_: None)
    return known


@pytest.fixture
def store(tmp_path: Path, states: States) -> Store:
    return make_store(tmp_path / "out", make_sweep(make_grid((1, 2), (42,)), path=tmp_path / "toy.py"))


@pytest.fixture
def cell(store: Store) -> Cell:
    return store.sweep().grid[0]


def attempt(store: Store, cell: Cell, saves: int = 0, cause: str = "", stopped: bool = False, **asked: Any) -> str:
    """An attempt in a task of its own, which had 2 GB and an hour; the name of its array."""
    requested = [dict(PROFILE.asks(("mem_gb", "timeout_min"))) | asked]
    intent = intents.begin(
        store, [[[cell]]], kind="slurm", profile="lab", name="t", code="", requested=requested, signal_delay_s=90
    )
    began = PackAttempt.begin(store, store.sweep(), [cell], intent.number, {"task": [0, 0]})
    run = TrainingRun(began, stop_requested=lambda: False, device="cpu", threads=1, provenance={})
    run.hand_over([cell])
    saved = run.restore(cell)
    for step in range(1, saves + 1):
        run.save({cell: Checkpoint((saved.step if saved else 0) + step, values={})})
    if cause:
        run.fail(cell, cause)
    if stopped:
        run.note_stop()
    return intent.tokens[0]


def logged(store: Store, text: str) -> None:
    (number,) = {intent.number for intent in intents.intents(store)}
    store.paths.task_log(number, 0, 0).write_text(text)


def given_up(store: Store, cell: Cell, cause: str) -> None:
    intent = intents.begin(store, [[[cell]]], kind="slurm", profile="lab", name="t", code="")
    began = PackAttempt.begin(store, store.sweep(), [cell], intent.number, {"task": [0, 0]})
    run = TrainingRun(began, stop_requested=lambda: False, device="cpu", threads=1, provenance={})
    run.give_up(cell, cause, "", for_good=True)


# --- what an attempt ran out of ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cause", "short"),
    [
        ("MemoryError: ", MEMORY),
        ("_ArrayMemoryError: Unable to allocate 7.45 GiB for an array with shape (1000, 1000, 1000)", MEMORY),
        ("RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes", MEMORY),
        ("OSError: [Errno 12] Cannot allocate memory", MEMORY),
        ("OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB", GPU_MEMORY),
        ("XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes", GPU_MEMORY),
        ("ValueError: no such width", None),
        ("the command ended with signal 9", None),
    ],
)
def test_what_the_trainer_raised_counts(store: Store, cell: Cell, cause: str, short: str | None) -> None:
    attempt(store, cell, cause=cause)
    found = Shortages(store).of(cell)
    assert (found and found.of) == short
    assert found is None or found.had == {MEMORY: 2}.get(short)


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("slurmstepd-n1: error: StepId=1.batch exceeded memory limit (116772864 > 104857600), being killed\n", MEMORY),
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=7.batch. Some of the step tasks ...\n", MEMORY),
        ("x: line 6: 31 Killed\ntask.sh: a process was killed since the job was out of memory\n", MEMORY),
        ("slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-11-29T14:14:44 DUE TO TIME LIMIT ***\n", TIME),
        ("[2026-11-29T19:48:26.042] error: StepId=6.batch exceeded memory limit (19 > 16), being killed\n", MEMORY),
        ("[2026-11-29T19:48:26.053] error: Exceeded job memory limit\n", MEMORY),
        (
            "[2026-11-29T19:48:26.088] error: *** JOB 6 ON n1 CANCELLED AT 2026-11-29T19:48:26 DUE TO TIME LIMIT ***",
            TIME,
        ),
        (
            "[2026-11-29T19:48:26.088] error: *** JOB 6 ON n1 CANCELLED AT 2026-11-29T19:48:26 DUE to SIGNAL Killed",
            None,
        ),
        ("error: Exceeded job memory limit\n", None),
        ("slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-11-29T14:14:44 DUE TO PREEMPTION ***\n", None),
        ("slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-11-29T14:14:44 ***\n", None),
        ("x: line 6: 31 Killed   python3\n", None),
        ("", None),
    ],
)
def test_what_slurm_wrote_into_the_tasks_log_counts(store: Store, cell: Cell, text: str, short: str | None) -> None:
    attempt(store, cell)
    logged(store, text)
    found = Shortages(store).of(cell)
    assert (found and found.of) == short


@pytest.mark.parametrize(
    "who", ["slurmstepd ", "task.sh: ", "task.sh: x slurmstepd ", "[2026-11-29T19:48:26.042] error: "]
)
def test_a_log_that_repeats_a_name_is_read_in_a_time_that_its_length_bounds(who: str) -> None:
    """In another process, which the kernel ends: the time once grew with the square of the length."""
    program = (
        "import resource; from hpc.status import shortage; resource.setrlimit(resource.RLIMIT_CPU, (20, 20)); "
        f"print(repr(shortage._logged({who!r} * 100_000)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "''\n"), done.stderr


@pytest.mark.parametrize(
    ("state", "short"),
    [
        ("OUT_OF_MEMORY", MEMORY),
        ("TIMEOUT", TIME),
        *((other, None) for other in ("FAILED", "CANCELLED", "PREEMPTED", "NODE_FAIL", "COMPLETED", "BOOT_FAIL")),
    ],
)
def test_slurms_state_counts(store: Store, cell: Cell, states: States, state: str, short: str | None) -> None:
    states[attempt(store, cell)] = state
    found = Shortages(store).of(cell)
    assert (found and found.of) == short
    other = store.sweep().grid[1]
    assert Shortages(store).of(other) is None


def test_a_process_of_the_trainers_that_the_kernel_killed_counts(store: Store, cell: Cell, states: States) -> None:
    states[attempt(store, cell, cause="the command ended with signal 9")] = "OUT_OF_MEMORY"
    assert Shortages(store).of(cell) == (MEMORY, 2)


def test_out_of_time_with_something_saved_is_no_shortage(store: Store, cell: Cell, states: States) -> None:
    states[attempt(store, cell, saves=1)] = "TIMEOUT"
    assert Shortages(store).of(cell) is None


def test_only_the_last_attempt_counts(store: Store, cell: Cell, states: States) -> None:
    states[attempt(store, cell)] = "OUT_OF_MEMORY"
    attempt(store, cell, cause="ValueError: no such width")
    assert Shortages(store).of(cell) is None


def test_a_cell_that_was_given_up_ran_out_of_what_the_attempts_before_that_did(
    store: Store, cell: Cell, states: States
) -> None:
    states[attempt(store, cell)] = "OUT_OF_MEMORY"
    given_up(store, cell, "ended 3 times without progress (last: killed by signal 9, as when memory runs out)")
    assert Shortages(store).of(cell) == (MEMORY, 2)


@pytest.mark.parametrize(("minutes", "short"), [(59, TIME), (57.5, TIME), (40, None), (1, None)])
def test_a_cell_that_was_always_stopped_ran_out_of_time_if_it_was_so_late(
    store: Store, cell: Cell, minutes: float, short: str | None
) -> None:
    """Earlier, it was preempted."""
    attempt(store, cell, stopped=True)
    report = store.paths.progress_file(1)
    at = json.loads(report.read_text())["at"]
    os.utime(store.paths.pointer_file(cell, 1), (at - 60 * minutes,) * 2)
    assert Shortages(store).of(cell) is None, "it is requeued by itself until it is given up"
    given_up(store, cell, "was stopped 10 times in a row before it had saved anything; give it a longer time limit")
    found = Shortages(store).of(cell)
    assert (found and found.of) == short


# --- how much it gets ------------------------------------------------------------------------------------------------


def raised(store: Store, *limits: str, profile: Profile = PROFILE) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What each cell asks for beside the profile, and what is said."""
    request = Request(store, store.sweep())
    seen = Look(Queues(), tuple(store.statuses(store.sweep().grid, store.sweep())))
    found = escalation(request, limits_of(limits), profile, seen)
    asked = found.over(profile, asked_beside(request.sweep, profile))
    return {cell.name: dict(asked(cell)) for cell in store.sweep().grid if asked(cell)}, found.lines


@pytest.mark.parametrize(
    ("limit", "more", "said"),
    [
        ("mem_gb=64", {"mem_gb": 4}, "run again with mem_gb 4"),
        ("mem_gb=3G", {"mem_gb": 3}, "run again with mem_gb 3"),
        ("mem_gb=2", None, "the limit of --escalate: not raised any more"),
        ("timeout_min=2:00:00", None, "--escalate mem_gb=LIMIT gives it more"),
    ],
)
def test_it_is_twice_as_much_up_to_the_limit(
    store: Store, cell: Cell, limit: str, more: dict[str, Any] | None, said: str
) -> None:
    attempt(store, cell, cause="MemoryError: ")
    given, (line,) = raised(store, limit)
    assert given == ({cell.name: more} if more else {})
    assert line.startswith("1 cell ran out of memory with mem_gb 2")
    assert said in line


def test_nothing_is_raised_unasked_or_for_other_failures(store: Store, cell: Cell) -> None:
    attempt(store, cell, cause="MemoryError: ")
    attempt(store, store.sweep().grid[1], cause="ValueError: no such width")
    assert raised(store) == ({}, ())
    assert set(raised(store, "mem_gb=64")[0]) == {cell.name}


def test_a_larger_gpu_is_not_given_by_more_memory(store: Store, cell: Cell) -> None:
    attempt(store, cell, cause="OutOfMemoryError: CUDA out of memory")
    given, (line,) = raised(store, "mem_gb=64")
    assert given == {}
    assert "GPU memory, which --escalate cannot give; name a larger GPU by `constraint` in resources" in line


def test_what_was_given_once_is_kept_unless_more_is_asked_for_or_the_command_line_decides(
    store: Store, cell: Cell
) -> None:
    kept = {cell.name: {"mem_gb": 8}}
    intents.begin(store, [[[cell]]], kind="slurm", profile="lab", name="t", code="", escalated=kept)
    assert raised(store)[0] == kept
    assert raised(store, profile=Profile("lab", {"mem_gb": 16}))[0] == {}
    assert raised(store, profile=Profile("lab", {"mem_gb": 1}, settled=frozenset({"mem_gb"})))[0] == {}


def test_what_another_user_gave_a_cell_is_shown_and_not_asked_for(store: Store, cell: Cell) -> None:
    need_other_users()
    kept = {cell.name: {"mem_gb": 8}}
    intent = intents.begin(store, [[[cell]]], kind="slurm", profile="lab", name="t", code="", escalated=kept)
    os.chown(store.paths.intent_file(intent.number), ALICE, GROUP)
    assert raised(store)[0] == {}
    assert intents.raised_before(store, by_others=True) == kept


@pytest.mark.parametrize(
    "amounts",
    [
        *({"mem_gb": amount} for amount in (10**400, 1.7e308, -1, 0, "8", True)),
        *({"timeout_min": amount} for amount in (10**400, 0)),
        *({key: 8} for key in ("cpus_per_task", "partition", "account")),
    ],
)
def test_what_no_submission_of_ours_gives_is_no_record(store: Store, cell: Cell, amounts: dict[str, Any]) -> None:
    intent = intents.begin(store, [[[cell]]], kind="slurm", profile="lab", name="t", code="")
    path = store.paths.intent_file(intent.number)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"escalated": {cell.name: amounts}}))
    with pytest.raises(SweepError, match="cannot be read by this version"):
        raised(store)


def test_where_the_profile_gives_more_by_now_that_is_tried_first(store: Store, cell: Cell) -> None:
    attempt(store, cell, cause="MemoryError: ")
    given, (line,) = raised(store, "mem_gb=64", profile=Profile("lab", {"mem_gb": 3}))
    assert given == {}
    assert "run again with mem_gb 3" in line


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        (("mem_gb",), "--escalate is 'mem_gb'; write mem_gb=LIMIT or timeout_min=LIMIT, up to which"),
        (("mem_gb=",), "--escalate is 'mem_gb='; write"),
        (("mem_gb=~",), "--escalate is 'mem_gb=~'; write"),
        (("cpus_per_task=4",), "--escalate is 'cpus_per_task=4'; write mem_gb=LIMIT"),
        (("mem_gb=lots",), "--escalate: mem_gb is 'lots'; must be a number of GB, or a size such as 16G"),
        (("mem_gb=-1",), "--escalate: mem_gb is -1; must be greater than 0"),
        (("timeout_min=0",), "--escalate: timeout_min is 0; must be greater than or equal to 1"),
        (("timeout_min=[1]",), "--escalate: timeout_min is [1]; must be a whole number"),
        (("mem_gb=4", "mem_gb=8"), "--escalate mem_gb is given twice; remove one"),
    ],
)
def test_a_limit_that_is_none_is_refused_in_a_line(settings: tuple[str, ...], fault: str) -> None:
    with pytest.raises(ConfigError) as refused:
        limits_of(settings)
    (line,) = refused.value.faults
    assert line.startswith(f"command line: {fault}")
