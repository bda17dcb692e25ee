from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.held import has_all_the_time_to_save
from helpers.small_sweeps import ROOT, make_grid, make_store, make_sweep, run_task, submit, write_trainer
from helpers.waiting import wait_until

from hpc.node.giving_up import MOST_INTERRUPTED
from hpc.node.workers import chosen, combined, deal, wanted

# Writes a line when it trains, and trains until it is asked to stop.
TRAINER = """
import os, time

def train(cells, options, run):
    with open(options["places"], "a") as places:
        places.write(f"{os.getpid()} {os.environ['CUDA_VISIBLE_DEVICES']} {len(cells)}\\n")
    while not run.stop:
        time.sleep(0.02)
    run.save({cell: Checkpoint(step=1) for cell in cells})
"""


def test_cells_are_dealt_in_turn_and_no_worker_goes_without() -> None:
    assert deal([0, 1, 2, 3, 4], 2) == [[0, 2, 4], [1, 3]]
    assert deal([7], 4) == [[7]]
    assert deal([], 4) == []


def test_a_process_knows_whether_it_deals_or_is_dealt_to() -> None:
    assert wanted(3, False, {}) == wanted(3, False, {"HOLDFAST_WORKERS": "many"}) == 0
    assert wanted(1, True, {}) == wanted(1, True, {"HOLDFAST_WORKERS": "1"}) == 0
    assert wanted(3, True, {}) == 3
    assert wanted(1, False, {"HOLDFAST_WORKERS": "4"}) == wanted(9, False, {"HOLDFAST_WORKERS": "4"}) == 4
    assert wanted(9, True, {"HOLDFAST_WORKERS": "4"}) == 9
    assert wanted(9, True, {"HOLDFAST_WORKERS": "4", "HOLDFAST_CELLS": "0"}) == 0
    assert chosen(3, {}) == [0, 1, 2]
    assert chosen(9, {"HOLDFAST_CELLS": "1,5"}) == [1, 5]


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [([], 0), ([0, 0], 0), ([0, 1], 1), ([3, 1], 3), ([0, 85], 85), ([3, 85], 85), ([0, -9], 137), ([1, -15], 143)],
)
def test_several_ends_are_one_status(statuses: list[int], expected: int) -> None:
    assert combined(statuses) == expected


@pytest.mark.parametrize("training", [False, True])
def test_a_signal_at_any_moment_stops_every_worker_with_its_state_saved(tmp_path: Path, training: bool) -> None:
    path = write_trainer(tmp_path / "trainer", TRAINER)
    places = tmp_path / "places"
    options = {"places": str(places)}
    sweep = make_sweep(make_grid([1, 2, 3], [42]), path=path, pack_mode="fused", options=options)
    store = make_store(tmp_path / "out", sweep)
    number = submit(store, list(sweep.grid))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HOLDFAST_WORKERS": "2", "CUDA_VISIBLE_DEVICES": "4,7"}
    command = [sys.executable, "-P", "-m", "hpc.node.task", str(store.paths.root), str(number), "0", "0"]
    task = subprocess.Popen(command, env=environment, preexec_fn=_ignore_signals)
    try:
        if training:
            wait_until(lambda: len(lines(places)) == 2, "both workers in training")

        def ended() -> bool:  # again and again: the first may be ignored, and the last meet a task that ends
            task.send_signal(signal.SIGUSR2)
            return task.poll() is not None

        wait_until(ended, "the task's end")
    finally:
        task.kill()
    assert task.returncode == 85
    if training:
        assert sorted((gpu, cells) for _, gpu, cells in lines(places)) == [("4", "2"), ("7", "1")]
        for cell in sweep.grid:
            assert "saved at step 1" in store.paths.log_file(cell).read_text()


@pytest.mark.parametrize(
    ("pack_mode", "environment"),
    [("fused", {"HOLDFAST_WORKERS": "2", "CUDA_VISIBLE_DEVICES": "4,7"}), ("concurrent", {})],
)
def test_a_task_that_is_stopped_again_and_again_before_its_first_worker_begins_is_given_up(
    tmp_path: Path, pack_mode: str, environment: dict[str, str]
) -> None:
    path = write_trainer(tmp_path / "trainer", TRAINER)
    sweep = make_sweep(make_grid([1, 2, 3], [42]), path=path, pack_mode=pack_mode, options={"places": "unused"})
    store = make_store(tmp_path / "out", sweep)
    number = submit(store, list(sweep.grid))
    # As task.sh tells a task that was signalled while Python started: a limit that leaves no room, at every requeue.
    early = environment | {"HOLDFAST_STOP": "SIGUSR2"}
    again = [run_task(store, number, **early).returncode for _ in range(MOST_INTERRUPTED + 1)]
    assert again == [85] * MOST_INTERRUPTED + [1]
    for status in store.statuses(sweep.grid, sweep):
        assert status.cause.startswith(f"was stopped {MOST_INTERRUPTED} times in a row before it had saved anything; ")
    assert run_task(store, number, **early).returncode == 0, "all has been said of these cells"


def test_workers_stop_when_the_one_that_started_them_is_killed(tmp_path: Path) -> None:
    path = write_trainer(tmp_path / "trainer", TRAINER)
    has_all_the_time_to_save(path)
    places = tmp_path / "places"
    sweep = make_sweep(make_grid([1, 2], [42]), path=path, pack_mode="fused", options={"places": str(places)})
    store = make_store(tmp_path / "out", sweep)
    number = submit(store, list(sweep.grid))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HOLDFAST_WORKERS": "2", "CUDA_VISIBLE_DEVICES": "0,1"}
    command = [sys.executable, "-P", "-m", "hpc.node.task", str(store.paths.root), str(number), "0", "0"]
    task = subprocess.Popen(command, env=environment)
    wait_until(lambda: len(lines(places)) == 2, "both workers in training")
    task.kill()
    task.wait()
    pids = [int(pid) for pid, _, _ in lines(places)]
    wait_until(lambda: not any(map(_alive, pids)), "the workers' end")
    assert all("saved at step 1" in store.paths.log_file(cell).read_text() for cell in sweep.grid)


def lines(places: Path) -> list[list[str]]:
    """What each worker wrote when it began to train: process, GPU, cells."""
    return [line.split() for line in places.read_text().splitlines()] if places.exists() else []


def _ignore_signals() -> None:
    """As task.sh does it, until Python has handlers of its own."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
