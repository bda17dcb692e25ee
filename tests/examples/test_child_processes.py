"""Functions of a trainer's file in processes that the trainer starts, and what becomes of these when it is killed."""

from __future__ import annotations

import json
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


# What a trainer hands to processes: an object of its own class, a queue of a manager, a process that starts others.
HANDED = """
import multiprocessing
from dataclasses import dataclass

FACTORS = {"width": {"kind": "integer", "minimum": 1}}
METRICS = {"error": {"kind": "positive", "better": "lower"}}

@dataclass
class Fold:
    k: int

    def __call__(self, results):
        results.put(Fold(self.k + 1))

def outer(fold, results):
    inner = multiprocessing.get_context("spawn").Process(target=fold, args=(results,))
    inner.start()
    inner.join()

def train(cells, options, run):
    context = multiprocessing.get_context("spawn")
    for cell in cells:
        run.restore(cell)
        with context.Manager() as manager:
            results = manager.Queue()
            process = context.Process(target=outer, args=(Fold(1), results))
            process.start()
            process.join()
            run.finish(cell, {"error": results.get(timeout=60).k})
"""


def test_objects_managers_and_processes_of_processes_find_the_trainer_too(holdfast: Holdfast, tmp_path: Path) -> None:
    configure(tmp_path, "my-trainer.py")
    (tmp_path / "my-trainer.py").write_text(HANDED)
    holdfast("run", "--config", "sweep.yaml", "--parallel-jobs", "1")
    found = json.loads((tmp_path / "out" / "individual_results" / "width_1_run_0" / "results.json").read_text())
    assert found["metrics"] == {"error": 2.0}


# In a folder of their own: Python would run an `hpc.py` of the working directory as `python -m hpc`.
@pytest.mark.parametrize("name", ["training.py", "hpc.py", "aggregate.py"])
@pytest.mark.parametrize("debug", [False, True], ids=["task", "debug"])
def test_they_are_found_in_a_file_that_is_named_like_another_module(
    holdfast: Holdfast, tmp_path: Path, name: str, debug: bool
) -> None:
    (tmp_path / "lab").mkdir()
    configure(tmp_path / "lab", name, method="spawn")
    words = ("--cell", "width_1_run_0", "--debug") if debug else ("--parallel-jobs", "1")
    holdfast("run", "--config", "lab/sweep.yaml", *words)
    assert (tmp_path / "out" / "individual_results" / "width_1_run_0" / "results.json").exists()


@pytest.mark.parametrize(("method", "name"), [("spawn", "mine.py"), ("spawn", "hpc.py"), ("fork", "mine.py")])
def test_a_trainers_processes_end_with_a_debug_run_that_is_killed_and_nothing_of_it_stays(
    tmp_path: Path, method: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("pids", "lab", "tmp"):
        (tmp_path / folder).mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    configure(tmp_path / "lab", name, method=method, place=str(tmp_path / "pids"))
    words = ["run", "--config", "lab/sweep.yaml", "--cell", "width_1_run_0", "--debug"]
    command = subprocess.Popen([sys.executable, "-m", "hpc", *words], cwd=tmp_path, env=environment())
    wait_until(lambda: len(os.listdir(tmp_path / "pids")) == 2, "two processes of the trainer")
    command.send_signal(signal.SIGKILL)
    command.wait()
    pids = [int(name) for name in os.listdir(tmp_path / "pids")]
    wait_until(lambda: not any(_runs(pid) for pid in pids), "their end")
    assert list((tmp_path / "tmp").glob("holdfast*")) == []


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
