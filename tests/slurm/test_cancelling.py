"""Cancel means cancel: against a submission that waits, one that is at work, and a task that is saving."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.faulty_sbatch import sbatch_that
from helpers.waiting import PATIENCE, wait_until
from helpers.workplace import Workplace

from hpc.sandbox.cluster import Sandbox
from hpc.submission import cancels

ROOT = Path(__file__).parents[2]
SLOW_TO_SAVE = """
import time
from pathlib import Path
from training.contract import Checkpoint
FACTORS = {"width": {"kind": "integer"}}
METRICS = {"error": {"kind": "positive", "better": "lower"}}
def train(cells, options, run):
    for cell in cells:
        saved = run.restore(cell)
        epoch = saved.step if saved else 0
        while not run.stop:
            epoch += 1
            run.epoch(cell, epoch, 10**6, {"error": 1.0})
            time.sleep(0.05)
        time.sleep(options["save"])
        while Path(options["while_there"]).exists():
            time.sleep(0.05)
        run.save({cell: Checkpoint(epoch)})
"""


def test_a_cancellation_wins_against_a_submission_that_waits(workplace: Workplace) -> None:
    config = workplace.foreign(widths=[1, 2, 3], epochs=40, held=True)
    waiting = workplace.start("submit", "--config", config, "--profile", "sandbox", "--wait")
    wait_until(lambda: workplace.store().exists() and min(workplace.epochs()) >= 3, "every cell in mid-training")
    workplace.holdfast("cancel", "out", "-y")
    said, _ = waiting.communicate(timeout=PATIENCE)
    assert waiting.returncode == 4
    assert "cancelled: 3, by `holdfast cancel`" in said
    assert len(list(workplace.store().paths.submissions_root.glob("*/intent.json"))) == 1
    assert "cancelled: 3" in workplace.holdfast("status", "out", expect=4).stdout
    workplace.release()
    workplace.submit(config)
    workplace.wait_until_ended()
    assert workplace.states() == {"COMPLETED": 3}


def test_a_waiting_submission_queues_again_what_was_not_cancelled(workplace: Workplace) -> None:
    config = workplace.foreign(widths=[1, 2], epochs=40, held=True)
    waiting = workplace.start("submit", "--config", config, "--profile", "sandbox", "--wait")
    wait_until(lambda: workplace.store().exists() and min(workplace.epochs()) >= 3, "every cell in mid-training")
    workplace.holdfast("cancel", "out", "--cell", "width_2_run_0", "-y")
    workplace.cluster.slurm.cancel(workplace.cluster.slurm.queue())  # by hand: not known to be meant
    wait_until(lambda: len(list(workplace.store().paths.submissions_root.glob("*/intent.json"))) == 2, "another round")
    workplace.release()
    said, _ = waiting.communicate(timeout=PATIENCE)
    assert waiting.returncode == 4
    assert "cancelled: 1" in said
    assert workplace.states() == {"COMPLETED": 1, "STARTED": 1}


def test_what_is_cancelled_while_it_is_queued_does_not_stay_in_the_queue(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = workplace.foreign(widths=[1, 2], epochs=40, held=True)
    at, go = workplace.directory / "at", workplace.directory / "go"
    with monkeypatch.context() as patch:
        sbatch_that(workplace.directory, patch, f"touch {at}; while [ ! -e {go} ]; do sleep 0.05; done")
        submitting = workplace.start("submit", "--config", config, "--profile", "sandbox")
        wait_until(at.exists, "a submission at its sbatch")
    workplace.holdfast("cancel", "out", "-y")
    go.touch()
    _, said = submitting.communicate(timeout=PATIENCE)
    assert "2 tasks taken out of the queue again" in said
    wait_until(lambda: not workplace.cluster.slurm.queue(), "an empty queue")
    assert workplace.attempts() <= {0, 1}


def test_a_second_submission_that_waits_waits_for_its_turn(workplace: Workplace) -> None:
    config = workplace.foreign(widths=[1, 2], epochs=2, seconds=0)
    workplace.submit(config, "--prepare")
    holding = (
        "import sys; from pathlib import Path; from hpc.storage.store import Store\n"
        "from hpc.submission.lock import lock\n"
        "with lock(Store(Path(sys.argv[1])), 'holdfast submit'):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", holding, str(workplace.store().root)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as first:
        assert first.stdout is not None
        first.stdout.readline()
        with workplace.start("submit", "out", "--profile", "sandbox", "--wait") as second:
            assert second.stderr is not None
            assert f"(process {first.pid}" in second.stderr.readline()
            first.communicate()
            second.communicate()
        assert second.returncode == 0
    assert workplace.states() == {"COMPLETED": 2}


def test_a_task_that_is_cancelled_while_it_saves_does_not_come_back(
    start_cluster: Callable[..., Sandbox], tmp_path: Path
) -> None:
    # A requeued task waits for longer than a scancel takes to come, on any machine.
    workplace = Workplace(tmp_path, start_cluster(nodes=2, kill_wait=60, requeue_delay=120))
    (workplace.directory / "slow.py").write_text(SLOW_TO_SAVE)
    sweep = {"name": "slow", "axes": {"width": list(range(1, 9))}, "runs_per_condition": 1}
    options = {"save": 1.5, "while_there": "nothing"}
    config = workplace.write("sweep.yaml", {"trainer": "slow.py:train", "trainer_options": options, "sweep": sweep})
    workplace.submit(config)
    wait_until(lambda: min(workplace.epochs()) >= 1, "every cell in training")
    environment = os.environ | {"SLURM_CONF": str(workplace.cluster.conf)}

    def strike(task: str, delay: float) -> None:
        subprocess.run(["scancel", "--batch", "--signal=USR2", task], env=environment, check=True)
        time.sleep(delay)  # the moment of the fault: from at once until after the requeue
        subprocess.run(["scancel", task], env=environment, check=True)

    tasks = [task.id for task in workplace.cluster.slurm.queue()]
    threads = [threading.Thread(target=strike, args=(task, 0.3 * i)) for i, task in enumerate(tasks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: not workplace.cluster.slurm.queue(), "an empty queue")
    assert {task.state for task in workplace.cluster.slurm.queue(_tokens(workplace), finished=True)} == {"CANCELLED"}
    assert workplace.attempts() == {1}


def test_a_submission_right_after_a_cancellation_says_that_the_tasks_have_not_ended_yet(workplace: Workplace) -> None:
    (workplace.directory / "slow.py").write_text(SLOW_TO_SAVE)
    sweep = {"name": "slow", "axes": {"width": [1, 2]}, "runs_per_condition": 1}
    saving = workplace.directory / "saving"
    saving.touch()
    options = {"save": 0, "while_there": str(saving)}
    config = workplace.write("sweep.yaml", {"trainer": "slow.py:train", "trainer_options": options, "sweep": sweep})
    workplace.submit(config)
    wait_until(lambda: min(workplace.epochs()) >= 1, "every cell in training")
    workplace.holdfast("cancel", "out", "-y")
    told = "2 cells: 0 done, 2 still being cancelled (submit again in a moment), nothing to run"
    assert told in workplace.holdfast("submit", "out", "--profile", "sandbox").stderr
    assert told in workplace.holdfast("plan", "out").stdout
    saving.unlink()
    wait_until(lambda: not workplace.cluster.slurm.queue(), "an empty queue")
    assert "2 to run as" in workplace.holdfast("plan", "out").stdout


def test_what_a_wait_and_a_cancellation_leave_is_said_before_and_after(workplace: Workplace) -> None:
    config = workplace.foreign(widths=[1, 2, 3, 4], epochs=40, held=True)
    waiting = workplace.start("submit", "--config", config, "--profile", "sandbox", "--pack", "2", "--wait")
    assert waiting.stderr is not None
    assert any(line.startswith("foreign: 4 cells: ") for line in waiting.stderr)  # from its first look on, it waits
    wait_until(lambda: workplace.store().exists() and min(workplace.epochs()[::2]) >= 1, "cells in training")
    waiting.send_signal(signal.SIGINT)
    _, said = waiting.communicate(timeout=PATIENCE)
    assert waiting.returncode == 130
    assert "stopped waiting; the tasks stay queued: the same command waits again" in said
    asked = workplace.holdfast("cancel", "out", "--cell", "width_1_run_0", expect=2).stderr
    assert "cancel 1 task with 2 cells (1 of them does not match, and shares a task with one that does)?" in asked
    more = workplace.holdfast("submit", "out", "--profile", "sandbox", "--runs-per-condition", "2").stderr
    assert more.index("no claim counts as fixed before the first job") < more.index(": job ")
    workplace.holdfast("cancel", "out", "-y")
    workplace.release()


def test_a_cancelled_task_that_is_requeued_all_the_same_ends_at_its_start(workplace: Workplace) -> None:
    config = workplace.foreign(widths=[1], epochs=40, held=True)
    workplace.submit(config)
    wait_until(lambda: min(workplace.epochs()) >= 3, "mid-training")
    cancels.cancel(workplace.store(), [cell.name for cell in workplace.store().sweep().grid])
    wait_until(lambda: not workplace.cluster.slurm.queue(), "an empty queue")
    (task,) = workplace.cluster.slurm.queue(_tokens(workplace), finished=True)
    workplace.cluster.slurm.requeue(task)
    wait_until(lambda: "it was cancelled by `holdfast cancel`" in _log(workplace), "the task's word")
    wait_until(lambda: not workplace.cluster.slurm.queue(), "its end")
    assert workplace.attempts() == {1}


def test_a_local_run_that_is_asked_to_end_saves_and_releases_the_lock(workplace: Workplace) -> None:
    config = workplace.foreign(widths=[1, 2], epochs=40, held=True)
    running = workplace.start("run", "--config", config, "--parallel-jobs", "2")
    wait_until(lambda: workplace.store().exists() and min(workplace.epochs()) >= 3, "every cell in mid-training")
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=PATIENCE)
    assert running.returncode == 130
    store = workplace.store()
    assert not store.paths.lock_directory.exists()
    assert all("saved at step" in store.paths.log_file(cell).read_text() for cell in store.sweep().grid)


def _tokens(workplace: Workplace) -> set[str]:
    from hpc.submission.intents import intents

    return {token for intent in intents(workplace.store()) for token in intent.tokens}


def _log(workplace: Workplace) -> str:
    path = workplace.store().paths.task_log(1, 0, 0)
    return path.read_text() if path.exists() else ""


def test_a_directory_that_names_other_jobs_of_ones_own_as_its_tasks_cancels_none_of_them(workplace: Workplace) -> None:
    slurm = workplace.cluster.slurm
    script = workplace.directory / "mine.sh"
    script.write_text("#!/bin/bash\nsleep 600\n")
    elsewhere = [f"--chdir={workplace.directory}", "--array=0-1", "--partition=low", "--output=/dev/null"]
    mine = slurm.sbatch(script, ["--job-name=mine", *elsewhere])
    other = slurm.sbatch(script, ["--job-name=other", *elsewhere])
    workplace.submit(workplace.foreign(widths=[1, 2], epochs=40, held=True))
    wait_until(lambda: min(workplace.epochs()) >= 3, "every cell in mid-training")
    paths = workplace.store().paths
    intent = json.loads(paths.intent_file(1).read_text())
    own = [task.id for task in slurm.queue(intent["tokens"])]

    # As whoever made the directory might have it: by a job's name, and by a job's number under a name that is gone.
    for token, job in (("mine", mine), ("gone", other)):
        paths.intent_file(1).write_text(json.dumps(intent | {"tokens": [token]}))
        paths.receipt_file(1).write_text(json.dumps({"arrays": [{"token": token, "job_id": job}]}))
        assert "no queued task of this sweep matches" in workplace.holdfast("cancel", "out", "-y").stderr
        assert {task.job_id for task in slurm.queue() if not task.ended} >= {mine, other}
        # A name is enough to count as queued: that delays a cell, while the opposite would train it twice.
        queued = token == "mine"
        assert ("2 RUNNING" in workplace.holdfast("status", "out", expect=0 if queued else 4).stdout) == queued

    paths.intent_file(1).write_text(json.dumps(intent))
    paths.receipt_file(1).unlink()
    assert "cancelled 2 tasks" in workplace.holdfast("cancel", "out", "-y").stderr
    wait_until(lambda: not slurm.queue(intent["tokens"]), "the end of its own tasks")
    assert len(own) == 2
    assert {task.job_id for task in slurm.queue() if not task.ended} == {mine, other}
    slurm.cancel(slurm.queue(["mine", "other"]))
