"""Tasks that Slurm holds for good since their launch failed, as after a daemon died or a node's disk broke."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers.faulty_sbatch import sbatch_that
from helpers.waiting import PATIENCE, wait_until
from helpers.workplace import Workplace, outcomes

from hpc.sandbox.cluster import Sandbox

NODES = 2


@contextmanager
def broken_spool(cluster: Sandbox) -> Iterator[None]:
    """Nodes whose slurmd cannot make a job's directory; Slurm holds what it tries to launch there."""
    spools = [cluster.directory / "spool" / f"n{number}" for number in range(1, NODES + 1)]
    for spool in spools:
        spool.rename(spool.with_suffix(".away"))
        spool.touch()
    try:
        yield
    finally:
        for spool in spools:
            spool.unlink()
            spool.with_suffix(".away").rename(spool)


@pytest.fixture
def small(start_cluster: Callable[..., Sandbox], tmp_path: Path) -> Iterator[Workplace]:
    with start_cluster(nodes=NODES) as cluster:
        yield Workplace(tmp_path, cluster)


def all_held(workplace: Workplace) -> bool:
    queue = workplace.cluster.slurm.queue()
    return len(queue) == 2 and all(task.held for task in queue)


def test_held_tasks_are_told_and_the_next_submission_replaces_them(small: Workplace) -> None:
    config = small.foreign(widths=[1, 2], epochs=3, seconds=0)
    with broken_spool(small.cluster):
        small.submit(config)
        wait_until(lambda: all_held(small), "both tasks held")
    told = small.holdfast("status", "out", expect=4).stdout
    assert "held since their launch failed: 2; submit again and they start anew" in told
    assert "2 tasks that Slurm holds since a launch failed are cancelled" in small.submit(config)
    small.wait_until_ended()
    assert small.states() == {"COMPLETED": 2}
    small.holdfast("run", "--config", config, "--output-dir", "here")
    assert outcomes(small.results()) == outcomes(small.results("here"))


def test_waiting_submission_does_not_wait_for_held_tasks(small: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small.foreign(widths=[1, 2], epochs=3, seconds=0)
    command = [sys.executable, "-m", "hpc", "submit", "--config", config, "--profile", "sandbox", "--wait"]
    first, second, go = (small.directory / name for name in ("first", "second", "go"))
    with broken_spool(small.cluster):
        with monkeypatch.context() as patch:
            # The second submission is queued once the spool is whole again, or its tasks would be held, too.
            held_up = f"touch {second}; while [ ! -e {go} ]; do sleep 0.05; done"
            sbatch_that(small.directory, patch, f"if [ -e {first} ]; then {held_up}; fi; touch {first}")
            waiting = subprocess.Popen(command, cwd=small.directory, env=small.environment(), stderr=subprocess.PIPE)
        wait_until(second.exists, "a second submission, as both tasks are held")
    go.touch()
    _, said = waiting.communicate(timeout=PATIENCE)
    assert waiting.returncode == 0, said
    assert b"2 tasks that Slurm holds since a launch failed are cancelled" in said
