"""Sites with accounting: limits of users that nobody told us of, and what sacct remembers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.accounting import accounting, limit, missing
from helpers.here import lacking
from helpers.waiting import PATIENCE, wait_until
from helpers.workplace import Workplace

from hpc.sandbox.cluster import Sandbox

if REASON := missing():
    lacking(REASON)


@pytest.fixture(scope="module")
def accounted(start_cluster: Callable[..., Sandbox], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with start_cluster(nodes=2) as cluster, accounting(cluster, tmp_path_factory.mktemp("accounting")):
        yield cluster


@pytest.fixture
def lab(accounted: Sandbox, tmp_path: Path) -> Workplace:
    return Workplace(tmp_path, accounted)


def test_a_submit_limit_below_the_sweeps_size_is_found_and_the_rest_goes_in_waves(lab: Workplace) -> None:
    limit(lab.cluster, MaxSubmitJobs=5)
    config = lab.foreign(widths=list(range(1, 13)), epochs=1, seconds=0)
    said = lab.submit(config, "--wait")
    assert "AssocMaxSubmitJobLimit" in said
    assert "tried again with 3 tasks" in said
    assert lab.states() == {"COMPLETED": 12}
    limit(lab.cluster, MaxSubmitJobs=-1)


def test_waiting_submission_waits_for_room_that_other_jobs_take(lab: Workplace) -> None:
    limit(lab.cluster, MaxSubmitJobs=2)
    config = lab.foreign(widths=[1, 2, 3, 4], held=True)
    command = [sys.executable, "-m", "hpc", "submit", "--config", config, "--profile", "sandbox", "--wait"]
    with (lab.directory / "said").open("w") as said:
        waiting = subprocess.Popen(command, cwd=lab.directory, env=lab.environment(), stderr=said, stdout=said)
    wait_until(lambda: len(lab.cluster.slurm.queue()) == 2, "the first wave")
    limit(lab.cluster, MaxSubmitJobs=0)
    lab.release()
    wait_until(lambda: "tried again in 60 s" in (lab.directory / "said").read_text(), "a refusal")
    limit(lab.cluster, MaxSubmitJobs=-1)
    assert waiting.wait(PATIENCE) == 0, (lab.directory / "said").read_text()
    assert lab.states() == {"COMPLETED": 4}


def test_where_not_a_single_task_is_allowed_it_is_an_error_with_slurms_words(lab: Workplace) -> None:
    limit(lab.cluster, MaxSubmitJobs=0)
    config = lab.foreign(widths=[1, 2], epochs=1, seconds=0)
    said = lab.submit(config, expect=3)
    assert "AssocMaxSubmitJobLimit" in said.splitlines()[-1]
    limit(lab.cluster, MaxSubmitJobs=-1)
    lab.submit(config)
    lab.wait_until_ended()
    assert lab.states() == {"COMPLETED": 2}


def test_check_cluster_says_that_sacct_answers(lab: Workplace) -> None:
    assert "sacct answers" in lab.holdfast("check", "cluster", "--profile", "sandbox").stdout


def test_show_tells_how_slurm_says_a_task_ended(lab: Workplace) -> None:
    config = lab.foreign(widths=[1], held=True)
    lab.submit(config)
    wait_until(lambda: (lab.directory / "out" / "packs").exists() and min(lab.epochs()) >= 2, "mid-training")
    (task,) = lab.cluster.slurm.queue()
    environment = os.environ | {"SLURM_CONF": str(lab.cluster.conf)}
    subprocess.run(["scancel", task.id], env=environment, check=True)
    wait_until(lambda: not lab.cluster.slurm.queue(), "the end of the task")
    shown = lambda: lab.holdfast("show", "out", "width_1_run_0").stdout  # noqa: E731
    wait_until(lambda: f"Slurm: task {task.id} CANCELLED on {task.node}" in shown(), "sacct's word")
