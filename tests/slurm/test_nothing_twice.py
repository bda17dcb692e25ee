"""Submissions that come late or twice, submitters that are stopped, two clusters: no cell is trained twice."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import slurm_daemons
from helpers.faulty_sbatch import sbatch_that
from helpers.waiting import PATIENCE, wait_until
from helpers.workplace import Workplace

from hpc.processes import state
from hpc.sandbox.cluster import Sandbox
from hpc.submission.live import live_tasks, queues

SITE = {"partition": "low", "timeout_min": 5, "mem_gb": 1}


def ended(workplace: Workplace, job_id: str) -> Counter[str]:
    """States of a job's tasks, once all have ended; an empty count before."""
    tasks = [task for task in workplace.cluster.slurm.queue(finished=True) if task.job_id == job_id]
    states = Counter(task.state for task in tasks)
    return Counter() if {"PENDING", "RUNNING", "COMPLETING"} & states.keys() else states


def live_per_cell(workplace: Workplace) -> set[int]:
    with workplace.on_cluster():
        counts = Counter(name for task in live_tasks(workplace.store()) for name in task.cells)
    return {counts[cell.name] for cell in workplace.store().sweep().grid}


def test_an_array_that_slurmctld_takes_up_late_ends_at_its_start(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = "echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2; exit 1"
    config = workplace.foreign(widths=[1, 2, 3], epochs=40, held=True)
    with monkeypatch.context() as patch:
        sbatch_that(workplace.directory, patch, failing)
        assert "did not queue array 0 of submission 1: Batch job submission" in workplace.submit(config, expect=3)
    workplace.submit(config)
    wait_until(lambda: min(workplace.epochs()) >= 3, "every cell in mid-training")
    late = workplace.cluster.slurm.sbatch(workplace.store().paths.array_script(1, 0))
    wait_until(lambda: bool(ended(workplace, late)), "the end of the late array")
    assert ended(workplace, late) == {"COMPLETED": 3}
    assert (
        "is not trained: submission 2 has queued its cells again"
        in workplace.store().paths.task_log(1, 0, 0).read_text()
    )
    assert live_per_cell(workplace) == {1}
    workplace.release()
    workplace.wait_until_ended()
    assert workplace.states() == {"COMPLETED": 3}
    assert workplace.attempts() == {1}


def test_tasks_of_a_directory_that_was_removed_train_nothing_in_the_one_made_anew(workplace: Workplace) -> None:
    config = workplace.foreign(widths=[1, 2, 3], epochs=2)
    workplace.submit(config, "--prepare")
    old = workplace.cluster.slurm.sbatch(workplace.store().paths.array_script(1, 0), ["--hold"])
    shutil.rmtree(workplace.store().root)
    workplace.submit(config)
    workplace.wait_until_ended()
    with workplace.on_cluster():
        subprocess.run(["scontrol", "release", old], check=True)
    wait_until(lambda: bool(ended(workplace, old)), "the end of the old array")
    assert ended(workplace, old) == {"FAILED": 3}
    assert "this task belongs to" in workplace.store().paths.task_log(1, 0, 0).read_text()
    assert workplace.states() == {"COMPLETED": 3}
    assert workplace.attempts() == {1}


def test_a_late_array_that_waits_is_taken_out_of_the_queue_by_the_next_submission(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = workplace.foreign(widths=[1, 2], epochs=40, held=True)
    with monkeypatch.context() as patch:
        sbatch_that(workplace.directory, patch, "exit 1")
        workplace.submit(config, expect=3)
    workplace.submit(config)
    workplace.cluster.slurm.sbatch(workplace.store().paths.array_script(1, 0), ["--hold"])
    assert live_per_cell(workplace) == {1}
    assert "2 tasks that were queued late" in workplace.submit(config)
    assert {task.submission for task in queues(workplace.store()).tasks} == {2}


def test_a_prepared_script_submitted_twice_trains_every_cell_once(workplace: Workplace) -> None:
    config = workplace.foreign(widths=[1, 2], epochs=40, held=True)
    workplace.submit(config, "--prepare")
    script = workplace.store().paths.array_script(1, 0)
    first, second = workplace.cluster.slurm.sbatch(script), workplace.cluster.slurm.sbatch(script)
    wait_until(lambda: min(workplace.epochs()) >= 3, "every cell in mid-training, so tasks of an array run together")
    assert {task.state for task in workplace.cluster.slurm.queue() if task.job_id == second} == {"PENDING"}
    workplace.release()
    wait_until(lambda: not workplace.cluster.slurm.queue(), "the end of both")
    assert ended(workplace, first) == ended(workplace, second) == {"COMPLETED": 2}
    assert workplace.attempts() == {1}


def test_a_prepared_script_is_good_until_its_cells_are_queued_otherwise(workplace: Workplace) -> None:
    config = workplace.foreign(widths=[1, 2], epochs=2, seconds=0)
    workplace.submit(config, "--prepare")
    workplace.submit(config, "--prepare")  # plans the same cells, so that the first scripts are void
    script = {number: workplace.store().paths.array_script(number, 0) for number in (1, 2)}
    late = workplace.cluster.slurm.sbatch(script[1])
    wait_until(lambda: bool(ended(workplace, late)), "the end of the first")
    assert not workplace.store().present()
    workplace.cluster.slurm.sbatch(script[2])
    workplace.wait_until_ended()
    assert workplace.states() == {"COMPLETED": 2}
    assert workplace.attempts() == {1}


def test_a_prepared_script_that_is_told_to_work_elsewhere_counts_as_queued(workplace: Workplace) -> None:
    config = workplace.foreign(widths=[1, 2], epochs=2, seconds=0)
    workplace.submit(config, "--prepare")
    script, elsewhere = workplace.store().paths.array_script(1, 0), workplace.directory
    job = workplace.cluster.slurm.sbatch(script, ["--hold", f"--chdir={elsewhere}"])
    assert "2 queued, nothing to run" in workplace.submit(config)
    said = workplace.holdfast("cancel", "out", "-y").stderr
    assert "left alone: 2 tasks under names of this sweep." in said
    assert said.count(f"(jobs {job})") == 1
    assert len(workplace.cluster.slurm.queue()) == 2


def test_a_submitter_that_is_stopped_and_continued_after_a_take_over_queues_nothing_twice(
    start_cluster: Callable[..., Sandbox], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with start_cluster(nodes=2, max_array_size=3) as cluster:
        workplace = Workplace(tmp_path, cluster)
        config = workplace.foreign(widths=[1, 2, 3, 4, 5], epochs=40, held=True)  # two arrays
        go = tmp_path / "go"
        with monkeypatch.context() as patch:
            sbatch_that(workplace.directory, patch, f"kill -STOP $PPID; while [ ! -e {go} ]; do sleep 0.05; done")
            stopped = workplace.start("submit", "--config", config, "--profile", "sandbox")
            wait_until(lambda: state(stopped.pid) == "T", "the submitter, stopped before sbatch")
        assert f"process {stopped.pid}" in workplace.submit(config, expect=3)
        workplace.submit(config, "--take-over")
        go.touch()
        stopped.send_signal(signal.SIGCONT)
        _, said = stopped.communicate(timeout=PATIENCE)
        assert stopped.returncode == 3
        assert "another command has taken over this sweep" in said
        wait_until(lambda: min(workplace.epochs()) >= 3, "every cell in mid-training")
        workplace.release()
        workplace.wait_until_ended()
        wait_until(lambda: not cluster.slurm.queue(), "an empty queue")
        assert workplace.states() == {"COMPLETED": 5}
        assert workplace.attempts() == {1}
        names = Counter(task.name.rpartition("-")[0] for task in cluster.slurm.queue(finished=True))
        assert names == {"foreign-1.0": 3, "foreign-2.0": 3, "foreign-2.1": 2}


def test_tasks_whose_job_was_renamed_are_still_queued(workplace: Workplace) -> None:
    config = workplace.foreign(widths=[1, 2], epochs=40, held=True)
    workplace.submit(config)
    wait_until(lambda: min(workplace.epochs()) >= 3, "every cell in mid-training")
    environment = os.environ | {"SLURM_CONF": str(workplace.cluster.conf)}
    for task in workplace.cluster.slurm.queue():
        subprocess.run(["scontrol", "update", f"jobid={task.id}", "jobname=mine"], env=environment, check=True)
    assert {task.name for task in workplace.cluster.slurm.queue()} == {"mine"}
    assert "2 queued, nothing to run" in workplace.submit(config)
    assert workplace.states() == {"RUNNING": 2}
    assert "cancelled 2 tasks" in workplace.holdfast("cancel", "out", "-y").stderr
    wait_until(lambda: not workplace.cluster.slurm.queue(), "an empty queue")


# --- two clusters, one file system ----------------------------------------------------------------------------------


@pytest.fixture
def two(start_cluster: Callable[..., Sandbox], tmp_path: Path) -> list[Workplace]:
    """The same directory, seen from machines of two clusters, whose controllers commands soon give up when they end."""
    return [Workplace(tmp_path, start_cluster(nodes=2, message_timeout=10)) for _ in range(2)]


def there(workplace: Workplace, *words: str, expect: int | None = 0) -> subprocess.CompletedProcess[str]:
    """A command on a machine of this cluster."""
    with workplace.on_cluster():
        return workplace.holdfast(*words, expect=expect)


def test_what_is_queued_on_one_cluster_is_seen_and_cancelled_from_another(two: list[Workplace]) -> None:
    a, b = two
    a.write("site.yaml", SITE)
    config = a.foreign(widths=[1, 2], epochs=40, held=True)
    there(a, "submit", "--config", config, "--profile", "site.yaml")
    wait_until(lambda: min(a.epochs()) >= 3, "every cell in mid-training")
    assert "2 queued, nothing to run" in there(b, "submit", "out", "--profile", "site.yaml").stderr
    assert "2 RUNNING" in there(b, "status", "out").stdout
    there(b, "cancel", "out", "-y")
    wait_until(lambda: not a.cluster.slurm.queue(), "an empty queue on the other cluster")
    a.release()
    there(b, "submit", "out", "--profile", "site.yaml")
    there(b, "status", "out", "--watch", expect=None)
    assert a.states() == {"COMPLETED": 2}


def test_a_cluster_that_does_not_answer_keeps_its_cells_until_it_is_given_up(two: list[Workplace]) -> None:
    a, b = two
    a.write("site.yaml", SITE | {"additional_parameters": {"hold": True}})
    config = a.foreign(widths=[1, 2], epochs=2, seconds=0)
    there(a, "submit", "--config", config, "--profile", "site.yaml")
    slurm_daemons.stop(a.cluster, "slurmctld")
    a.write("site.yaml", SITE)
    said = there(b, "submit", "out", "--profile", "site.yaml").stderr
    assert "2 queued, nothing to run" in said
    assert "2 cells may be queued on cluster sandbox" in said
    assert "--take-over" in said
    assert "may be queued on cluster sandbox" in there(b, "status", "out", expect=None).stdout
    assert "2 to run" in there(b, "submit", "out", "--profile", "site.yaml", "--take-over").stderr
    wait_until(lambda: not b.cluster.slurm.queue(), "the end of the tasks on the second cluster")
    assert {len(b.store().attempts(cell)) for cell in b.store().sweep().grid} == {1}

    # Its cells are done: whether it answers makes no difference any more.
    said = there(b, "submit", "out", "--profile", "site.yaml").stderr
    assert "2 cells: 2 done, nothing to run" in said.splitlines()
    assert "may be queued" not in said
    slurm_daemons.start(a.cluster, "slurmctld")
    environment = os.environ | {"SLURM_CONF": str(a.cluster.conf)}
    for task in a.cluster.slurm.queue():
        subprocess.run(["scontrol", "release", task.id], env=environment, check=True)
    wait_until(lambda: not a.cluster.slurm.queue(), "the end of the tasks on the first cluster")
    assert "has given up cluster sandbox" in a.store().paths.task_log(1, 0, 0).read_text()
    assert a.attempts() == {1}


def test_a_cluster_that_is_gone_blocks_nobody_once_its_cells_are_done(two: list[Workplace]) -> None:
    a, b = two
    a.write("site.yaml", SITE)
    config = a.foreign(widths=[1, 2], epochs=2, seconds=0)
    there(a, "submit", "--config", config, "--profile", "site.yaml")
    wait_until(lambda: not a.cluster.slurm.queue(), "the end of all tasks")
    a.cluster.down()
    shutil.rmtree(a.cluster.directory)
    said = there(b, "submit", "--config", config, "--profile", "site.yaml", "--runs-per-condition", "2").stderr
    assert any(line.startswith("4 cells: 2 done, 2 to run") for line in said.splitlines())
    there(b, "status", "out", "--watch", expect=None)
    assert b.states() == {"COMPLETED": 4}
