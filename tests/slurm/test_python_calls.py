"""submit, status and wait from Python on a real cluster: lost tasks, an interrupted wait, the whole notebook."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.notebook import check, executed
from helpers.waiting import PATIENCE, wait_until
from helpers.workplace import Workplace

from holdfast import status, submit, wait
from hpc.storage.store import Store


@pytest.fixture
def here(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """The calls are made in this very process."""
    monkeypatch.chdir(workplace.directory)
    monkeypatch.setenv("HOLDFAST_SANDBOX", str(workplace.cluster.directory))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("XDG_STATE_HOME", str(workplace.directory / "state"))
    return workplace


def test_the_notebook_runs_on_a_cluster(here: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(executed(tmp_path / "notebook", monkeypatch, profile="sandbox"))


def test_wait_queues_what_slurm_lost_again_if_it_was_given_the_submission(here: Workplace) -> None:
    sweep = submit(config=here.foreign(widths=[1, 2], held=True), profile="sandbox")
    assert len(sweep.jobs) == 1
    wait_until(lambda: status(sweep).states == {"RUNNING": 2}, "running cells")
    assert set(status(sweep).cells["node"]) != {""}
    here.cluster.slurm.cancel(here.cluster.slurm.queue())
    lost = wait(sweep.directory)  # a directory: this only watches
    assert (lost.finished, lost.done) == (True, False)
    here.release()
    assert wait(sweep).done


def test_a_time_out_leaves_the_tasks_and_the_sweep_alone(here: Workplace) -> None:
    sweep = submit(config=here.foreign(widths=[1], held=True), profile="sandbox")
    with pytest.raises(TimeoutError, match=r"foreign: 1 cells: 1 (PENDING|RUNNING) after 2 s; the tasks train on"):
        wait(sweep, timeout=2)
    assert not status(sweep).finished
    here.release()
    assert wait(sweep, timeout=PATIENCE).done


INTERRUPTED = """
import threading, time
from holdfast import status, submit, wait
sweep = submit(config="sweep.yaml", profile="sandbox")
try:
    print("waits", flush=True)
    wait(sweep)
except KeyboardInterrupt:
    pass
print("states", *status(sweep).states, flush=True)
open("hold").close(), __import__("os").remove("hold")
print("done", wait(sweep).done, flush=True)
"""


def test_an_interrupted_wait_can_be_waited_for_again_in_the_same_process(here: Workplace) -> None:
    here.foreign(widths=[1], held=True)
    command = [sys.executable, "-c", INTERRUPTED]
    with subprocess.Popen(
        command, cwd=here.directory, env=here.environment(), stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "waits\n"
        wait_until(lambda: here.states() == {"RUNNING": 1}, "a running cell")
        run.send_signal(signal.SIGINT)
        rest = run.stdout.read()
    assert rest.splitlines() == ["states RUNNING", "done True"]
    assert not list(Store(here.directory / "out").paths.lock_directory.parent.glob(".lock*"))
