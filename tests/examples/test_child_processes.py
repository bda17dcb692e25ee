"""Functions of a trainer's file in processes that the trainer starts, and what becomes of these when it is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers.command_line import Holdfast, environment
from helpers.waiting import wait_until

TRAINER = """
import multiprocessing, os, time
from concurrent.futures import ProcessPoolExecutor

FACTORS = {"width": {"kind": "integer", "minimum": 1}}
METRICS = {"error": {"kind": "positive", "better": "lower"}}

def fold(k):
    return k / 2

def hang(place):
    open(place + "/" + str(os.getpid()), "w").close()
    time.sleep(10_000)

def train(cells, options, run):
    context = multiprocessing.get_context(options["method"])
    for cell in cells:
        run.restore(cell)
        with ProcessPoolExecutor(2, context) as pool:
            if options.get("place"):
                list(pool.map(hang, [options["place"]] * 2))
            error = sum(pool.map(fold, range(3)))
        run.epoch(cell, 1, 1, {"error": error})
        run.finish(cell, {"error": error})
"""


def configure(root: Path, name: str = "mine.py", **options: str) -> None:
    (root / name).write_text(TRAINER)
    sweep = {"name": "small", "axes": {"width": [1]}, "runs_per_condition": 1}
    (root / "sweep.yaml").write_text(
        yaml.safe_dump({"trainer": f"{name}:train", "trainer_options": options, "sweep": sweep})
    )


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
@pytest.mark.parametrize("debug", [False, True], ids=["task", "debug"])
def test_a_trainers_functions_are_found_in_its_processes(
    holdfast: Holdfast, tmp_path: Path, method: str, debug: bool
) -> None:
    configure(tmp_path, "my-trainer.py", method=method)
    words = ("--cell", "width_1_run_0", "--debug") if debug else ("--parallel-jobs", "1")
    holdfast("run", "--config", "sweep.yaml", *words)


@pytest.mark.parametrize("name", ["training.py", "hpc.py"])
def test_they_are_found_in_a_file_that_is_named_like_a_module_of_ours(
    holdfast: Holdfast, tmp_path: Path, name: str
) -> None:
    configure(tmp_path, name, method="spawn")
    holdfast("run", "--config", "sweep.yaml", "--parallel-jobs", "1")


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_trainers_processes_end_with_a_debug_run_that_is_killed(tmp_path: Path, method: str) -> None:
    (tmp_path / "pids").mkdir()
    configure(tmp_path, method=method, place=str(tmp_path / "pids"))
    words = ["run", "--config", "sweep.yaml", "--cell", "width_1_run_0", "--debug"]
    command = subprocess.Popen([sys.executable, "-m", "hpc", *words], cwd=tmp_path, env=environment())
    wait_until(lambda: len(os.listdir(tmp_path / "pids")) == 2, "two processes of the trainer")
    command.send_signal(signal.SIGKILL)
    command.wait()
    pids = [int(name) for name in os.listdir(tmp_path / "pids")]
    wait_until(lambda: not any(_runs(pid) for pid in pids), "their end")


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
