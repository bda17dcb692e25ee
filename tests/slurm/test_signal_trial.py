"""`check cluster` proves on a node that a signal reaches a task that trains, or says that it does not."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.waiting import wait_until

from hpc.preflight import signal_trial
from hpc.preflight.finding import NOTE, OK, PROBLEM
from hpc.sandbox.cluster import Sandbox
from hpc.slurm.profile_file import load_profile
from hpc.storage.store import Store
from hpc.submission.live import LiveTask, live_tasks


def queue_is_empty(cluster: Sandbox) -> bool:
    return not [task for task in cluster.slurm.queue(["check"]) if not task.ended]


def test_a_task_that_gets_the_signal_saves_and_is_requeued_and_nothing_stays(
    idle_cluster: Sandbox, tmp_path: Path
) -> None:
    found = signal_trial.try_signal(tmp_path, load_profile("sandbox"), idle_cluster.conf, 120, quick=True)
    assert (found.level, found.subject) == (OK, "signal")
    assert found.text.endswith("and was requeued")
    wait_until(lambda: queue_is_empty(idle_cluster), "an empty queue")


def test_a_python_that_hides_the_signal_is_a_problem(
    idle_cluster: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapper = tmp_path / "python"
    wrapper.write_text(f"#!/bin/bash\ntrap '' USR2\n{sys.executable} \"$@\"\n")
    wrapper.chmod(0o755)
    monkeypatch.setattr(signal_trial, "_PATIENCE_SECONDS", 6.0)
    profile = replace(load_profile("sandbox"), launcher=(str(wrapper),))
    found = signal_trial.try_signal(tmp_path, profile, idle_cluster.conf, 120, quick=True)
    assert found.level == PROBLEM
    assert "got USR2 and saved nothing within 6 s" in found.text


def test_a_task_that_is_cancelled_before_it_gets_the_signal_is_told(
    idle_cluster: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancelled_first(store: Store) -> list[LiveTask]:
        idle_cluster.slurm.cancel(task.queued for task in live_tasks(store))
        wait_until(lambda: not live_tasks(store), "the task's end")
        return []

    monkeypatch.setattr(signal_trial, "live_tasks", cancelled_first)
    found = signal_trial.try_signal(tmp_path, load_profile("sandbox"), idle_cluster.conf, 120, quick=True)
    assert (found.level, found.subject) == (NOTE, "signal")
    assert "ended before it could get a signal" in found.text


def test_a_task_that_does_not_begin_is_not_waited_for_for_ever(idle_cluster: Sandbox, tmp_path: Path) -> None:
    profile = load_profile("sandbox", ["cpus_per_task=4"])
    busy = tmp_path / "busy"
    busy.mkdir()
    script = busy / "hold.sbatch"
    script.write_text("#!/bin/bash\n#SBATCH --nodes=4 --exclusive\nsleep 600\n")
    idle_cluster.slurm.sbatch(script, ["--partition=low", "--output=/dev/null"])
    found = signal_trial.try_signal(tmp_path, profile, idle_cluster.conf, 3, quick=True)
    assert (found.level, found.subject) == (NOTE, "signal")
    assert "did not begin within 3 s" in found.text
