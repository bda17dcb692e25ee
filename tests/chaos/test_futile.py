"""Attempts that come to nothing: three in a row fail a cell, two split a pack, being stopped never counts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from helpers.waiting import wait_until

from hpc.node.giving_up import MOST_INTERRUPTED, futile
from hpc.submission import intents, local_workers
from hpc.sweep.cell import Cell
from hpc.sweep.states import COMPLETED, FAILED

from .attempts import ROOT, ForkServer, Hold
from .bench import OPTIONS, Bench, causes

CHILD_KILLED = -signal.SIGKILL


def deadly(memory: Path, *, trainer: str = "deadly.py:train", pack: int = 1, **options: Any) -> Bench:
    settings = {**OPTIONS, "together": 99, **options}
    return Bench.make(memory / "out", trainer=trainer, factors={"width": [1, 2, 3]}, options=settings, pack=pack)


def state(bench: Bench, cell: Cell) -> str:
    return next(bench.store.statuses([cell], bench.sweep)).state


def attempt(bench: Bench, server: ForkServer, task: int = 0, **environment: str) -> int:
    return bench.start(server, task, environment=environment).wait()


def test_a_cell_that_is_killed_three_times_before_its_first_checkpoint_fails_with_the_cause(
    memory: Path, server: ForkServer
) -> None:
    bench = deadly(memory, widths=[1])
    assert [attempt(bench, server) for _ in range(3)] == [CHILD_KILLED] * 3
    assert attempt(bench, server) == 1
    assert causes(bench) == [
        "ended 3 times without progress (last: without a word: killed with its job, or its node failed)"
    ]
    assert state(bench, bench.tasks[0][0]) == FAILED
    assert attempt(bench, server) == 0, "the same submission does not try again"
    bench.submit()
    assert attempt(bench, server) == CHILD_KILLED, "another one, with --include-failed, does"


def test_the_cause_names_the_signal_where_the_tasks_starter_saw_it(memory: Path) -> None:
    bench = deadly(memory, widths=[1])
    for _ in range(4):
        intent = intents.begin(bench.store, [[bench.tasks[0]]], kind=intents.LOCAL, profile="local", name="x", code="")
        local_workers.run_tasks(bench.store, intent, ROOT, parallel=1, device="cpu", on_poll=lambda: None)
    assert causes(bench) == ["ended 3 times without progress (last: killed by signal 9, as when memory runs out)"]


def test_the_cause_names_the_signal_on_a_cluster_too_where_the_shell_notes_it(memory: Path) -> None:
    bench = deadly(memory, widths=[1])
    script = [ROOT / "slurm_templates" / "task.sh", ROOT, bench.store.paths.root, bench.submission, 0, "cpu", ""]
    log = bench.log(0)
    for job in range(4):
        environment = os.environ | {"SLURM_JOB_ID": str(job)}
        with log.open("ab") as output:
            command = ["bash", *map(str, script), sys.executable]
            subprocess.run(command, env=environment, stdout=output, stderr=output, check=False)
    assert causes(bench) == ["ended 3 times without progress (last: killed by signal 9, as when memory runs out)"]


def test_no_number_of_kills_fails_a_cell_that_gets_on(memory: Path, server: ForkServer) -> None:
    bench = Bench.make(memory / "out", options=OPTIONS)
    cell = bench.tasks[0][0]
    for pack in range(1, 9):
        hold = Hold.at(memory / f"hold-{pack}", 3 * pack + 1)  # past one more checkpoint
        task = bench.start(server, 0, environment=hold.environment)
        hold.reached(task)
        assert bench.store.paths.has_saved(pack)
        task.signal(signal.SIGKILL)
        assert task.wait() == CHILD_KILLED
    assert attempt(bench, server) == 0
    assert state(bench, cell) == COMPLETED
    assert not bench.failures()


@pytest.mark.parametrize("when", ["before the trainer", "in the trainer"])
def test_being_stopped_before_the_first_step_never_counts(memory: Path, server: ForkServer, when: str) -> None:
    bench = deadly(memory, save=10**9)
    for number in range(5):
        hold = Hold.at(memory / f"hold-{number}", number + 1)  # it goes on from where it was stopped
        task = bench.start(server, 0, environment=hold.environment, frozen=when == "before the trainer")
        if when == "in the trainer":
            hold.reached(task)
        task.signal(signal.SIGTERM)
        task.signal(signal.SIGCONT)
        assert task.wait() in (85, -signal.SIGTERM)
    past = futile(bench.store, bench.tasks[0][0], fused=True)
    assert (past.attempts, past.hopeless) == (0, False)


def test_a_task_that_is_stopped_again_and_again_before_it_saves_anything_fails_with_the_cause(
    memory: Path, server: ForkServer
) -> None:
    bench = deadly(memory)
    # As task.sh tells a task that was signalled while Python started: a limit that leaves no room, at every requeue.
    again = [attempt(bench, server, HOLDFAST_STOP="SIGUSR2", SLURM_JOB_ID="7") for _ in range(MOST_INTERRUPTED)]
    assert again == [85] * MOST_INTERRUPTED
    assert attempt(bench, server, HOLDFAST_STOP="SIGUSR2", SLURM_JOB_ID="7") == 1
    (cause,) = causes(bench)
    assert cause.startswith(f"was stopped {MOST_INTERRUPTED} times in a row before it had saved anything; ")
    bench.submit()
    assert attempt(bench, server) == 0, "submitted again, it gets as many tries"


def test_requeues_before_the_first_checkpoint_are_bounded_too(memory: Path, server: ForkServer) -> None:
    bench = deadly(memory, widths=[1])
    for restarts in range(MOST_INTERRUPTED):
        assert attempt(bench, server, SLURM_JOB_ID="7", SLURM_RESTART_COUNT=str(restarts)) == CHILD_KILLED
    assert attempt(bench, server, SLURM_JOB_ID="7", SLURM_RESTART_COUNT=str(MOST_INTERRUPTED)) == 1
    assert futile(bench.store, bench.tasks[0][0], fused=True).interrupted == 0, "a recorded failure ends the count"


def test_attempts_that_slurm_requeued_do_not_count(memory: Path, server: ForkServer) -> None:
    bench = deadly(memory, widths=[1])
    for restarts in range(6):
        assert attempt(bench, server, SLURM_JOB_ID="7", SLURM_RESTART_COUNT=str(restarts)) == CHILD_KILLED
    for _ in range(2):  # the sixth was not requeued: it died by itself, as these
        assert attempt(bench, server, SLURM_JOB_ID="8") == CHILD_KILLED
    assert attempt(bench, server, SLURM_JOB_ID="9") == 1


def test_copies_that_still_run_do_not_count(memory: Path, server: ForkServer) -> None:
    bench = deadly(memory, seconds=30)
    tasks = [bench.start(server, 0) for _ in range(4)]
    wait_until(lambda: len(list(bench.store.paths.packs_root.glob("*/progress.json"))) == 4, "four live copies")
    assert futile(bench.store, bench.tasks[0][0], fused=True).attempts == 0
    for task in tasks:
        task.signal(signal.SIGKILL)
        task.wait()
    assert futile(bench.store, bench.tasks[0][0], fused=True).attempts == 4


def test_a_cell_that_never_had_its_turn_is_not_blamed_for_the_one_before_it(memory: Path, server: ForkServer) -> None:
    bench = deadly(memory, trainer="deadly_alone.py:train", pack=3, widths=[1])
    assert [attempt(bench, server) for _ in range(3)] == [CHILD_KILLED] * 3
    assert attempt(bench, server) == 1
    states = [state(bench, cell) for cell in bench.tasks[0]]
    assert states == [FAILED, COMPLETED, COMPLETED]


def test_a_pack_that_is_killed_twice_is_split_and_all_its_cells_finish(memory: Path, server: ForkServer) -> None:
    bench = deadly(memory, pack=3, together=1)
    assert [attempt(bench, server) for _ in range(2)] == [CHILD_KILLED] * 2
    assert attempt(bench, server) == 0
    assert [state(bench, cell) for cell in bench.tasks[0]] == [COMPLETED] * 3


def test_of_a_split_pack_only_the_cell_that_fails_alone_fails(memory: Path, server: ForkServer) -> None:
    bench = deadly(memory, pack=3, widths=[2])
    assert [attempt(bench, server) for _ in range(3)] == [CHILD_KILLED] * 3
    assert attempt(bench, server) == 1
    assert [state(bench, cell) for cell in bench.tasks[0]] == [COMPLETED, FAILED, COMPLETED]


def test_a_split_pack_stays_split_until_a_pack_gets_somewhere(memory: Path, server: ForkServer) -> None:
    bench = deadly(memory, pack=3, together=1)
    assert [attempt(bench, server) for _ in range(2)] == [CHILD_KILLED] * 2
    hold = Hold.at(memory / "hold", 10)
    task = bench.start(server, 0, environment=hold.environment)
    hold.reached(task)
    assert bench.store.paths.has_saved(3), "progress of the first cell alone"
    task.signal(signal.SIGTERM)
    assert task.wait() == 85
    assert attempt(bench, server) == 0
    sizes = [
        len(json.loads(path.read_text())["cells"]) for path in sorted(bench.store.paths.packs_root.glob("*/pack.json"))
    ]
    assert sizes == [3, 3, 1, 1, 1, 1]


def test_a_full_disk_is_no_fault_of_the_cells(memory: Path, server: ForkServer) -> None:
    trainer = memory / "printing.py"
    trainer.write_text(
        "import errno\n"
        "FACTORS = {'width': {'kind': 'integer'}}\n"
        "METRICS = {'error': {'kind': 'real', 'better': 'lower'}}\n"
        "def train(cells, options, run):\n"
        "    raise OSError(errno.ENOSPC, 'No space left on device')  # as print() does\n"
    )
    bench = Bench.make(memory / "out", trainer=str(trainer) + ":train")
    for _ in range(4):
        assert attempt(bench, server) == 3
    assert "No space left on device" in bench.text(0)
    assert not bench.failures()
    assert futile(bench.store, bench.tasks[0][0], fused=False).attempts == 0


def test_nothing_here_depends_on_the_clock(memory: Path, server: ForkServer) -> None:
    bench = deadly(memory, widths=[1])
    for _ in range(3):
        attempt(bench, server)
    for path in bench.store.paths.root.rglob("*"):
        os.utime(path, (0, time.time() - 10**8))
    assert attempt(bench, server) == 1
