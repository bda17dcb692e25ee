"""A task that gets several GPUs: one worker a GPU, one GPU a worker, stopped and resumed together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from hpc.sandbox import Sandbox
from hpc.store import Store

# A trainer that says which GPUs it sees and how many threads it may use.
TRAINER = """
import os, time
from training.contract import Checkpoint

FACTORS = {"width": {"kind": "integer"}}
METRICS = {"gpu": {"kind": "real", "better": "lower"}, "threads": {"kind": "real", "better": "lower"}}

def train(cells, options, run):
    for cell in cells:
        saved = run.restore(cell)
        epoch = saved.step if saved else 0
        while epoch < options["epochs"] and not run.stop:
            epoch += 1
            run.epoch(cell, epoch, options["epochs"], {})
            time.sleep(options["seconds"])
        if run.stop and epoch < options["epochs"]:
            run.save({cell: Checkpoint(epoch)})
            return
        run.finish(cell, {"gpu": float(os.environ["CUDA_VISIBLE_DEVICES"]), "threads": run.threads})
"""
PROFILE = {"partition": "low", "timeout_min": 10, "gpus_per_node": 2, "device": "cpu", "cpus_per_task": 4, "mem_gb": 1}


class Place:
    """A directory with the trainer, a whole-node profile and the command."""

    def __init__(self, directory: Path, cluster: Sandbox) -> None:
        self.directory, self.cluster = directory, cluster
        (directory / "trainer.py").write_text(TRAINER)
        self.write_profile()

    def write_profile(self, **changes: Any) -> None:
        (self.directory / "node.yaml").write_text(yaml.safe_dump(PROFILE | changes))

    def submit(self, cells: int, pack: int, epochs: int, seconds: float) -> None:
        options = {"epochs": epochs, "seconds": seconds}
        sweep = {"name": "node", "axes": {"width": list(range(1, cells + 1))}, "runs_per_condition": 1}
        config = {"trainer": "trainer.py:train", "trainer_options": options, "sweep": sweep}
        (self.directory / "sweep.yaml").write_text(yaml.safe_dump(config))
        self.holdfast("submit", "--config", "sweep.yaml", "--profile", "node.yaml", "--pack", str(pack))

    def holdfast(self, *words: str) -> str:
        environment = os.environ | {
            "SLURM_CONF": str(self.cluster.conf),
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "HOLDFAST_SANDBOX": str(self.cluster.directory),
        }
        command = [sys.executable, "-m", "hpc", *words]
        done = subprocess.run(command, cwd=self.directory, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @property
    def store(self) -> Store:
        return Store(self.directory / "out")

    def results(self) -> dict[str, dict[str, Any]]:
        return {cell.name: self.store.result(cell) or {} for cell in self.store.sweep().grid}

    def epochs(self) -> list[int]:
        sweep = self.store.sweep()
        return [status.epoch for status in self.store.statuses(sweep.grid, sweep.config_digest)]

    def wait(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, f"{what}\n{self.logs()}"
            time.sleep(0.1)

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in self.directory.glob("out/submissions/*/logs/*.log"))

    def ended(self) -> bool:
        return not self.cluster.slurm.queue()


@pytest.fixture
def place(tmp_path: Path, idle_cluster: Sandbox) -> Place:
    return Place(tmp_path, idle_cluster)


def test_the_cells_of_a_task_are_dealt_to_one_worker_per_gpu(place: Place) -> None:
    place.submit(cells=5, pack=5, epochs=1, seconds=0)
    place.wait(place.ended, "the task's end")
    metrics = {name: result["metrics"] for name, result in place.results().items()}
    assert [metrics[f"width_{width}_run_0"]["gpu"] for width in range(1, 6)] == [0, 1, 0, 1, 0]
    assert {entry["threads"] for entry in metrics.values()} == {2}  # the four CPUs of the task are shared
    packs = [json.loads(path.read_text())["cells"] for path in place.directory.glob("out/packs/*/pack.json")]
    assert sorted(map(len, packs)) == [2, 3]


def test_all_workers_of_a_preempted_task_save_and_come_back(place: Place) -> None:
    place.submit(cells=2, pack=2, epochs=60, seconds=0.1)
    place.wait(lambda: place.store.exists() and min(place.epochs()) >= 5, "both cells in mid-training")
    assert len(place.cluster.preempt(hold_seconds=1)) == 1
    place.wait(place.ended, "the task's end")
    provenance = [result["provenance"] for result in place.results().values()]
    assert [entry["attempts"] for entry in provenance] == [2, 2]
    assert all(entry["restored_at_step"] >= 5 for entry in provenance)


def test_a_worker_that_fails_does_not_take_the_others_with_it(place: Place) -> None:
    (place.directory / "trainer.py").write_text(
        TRAINER.replace(
            "    for cell in cells:",
            "    if cells[0].factors['width'] == 2:\n        os._exit(9)\n    for cell in cells:",
        )
    )
    place.submit(cells=2, pack=2, epochs=1, seconds=0)
    place.wait(place.ended, "the task's end")
    assert {name for name, result in place.results().items() if result} == {"width_1_run_0"}
    assert {task.state for task in place.cluster.slurm.queue(finished=True)} >= {"FAILED"}


def test_fewer_gpus_than_the_profile_says_is_one_line_with_the_fix(place: Place) -> None:
    place.write_profile(setup=["export CUDA_VISIBLE_DEVICES=0"])
    place.submit(cells=2, pack=2, epochs=1, seconds=0)
    place.wait(place.ended, "the task's end")
    assert "asks for 2 GPUs a node, but this job got 1" in place.logs()
