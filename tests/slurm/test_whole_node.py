"""A task of several processes on a real node: one worker a GPU, or one a cell; stopped and resumed together."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from helpers.waiting import wait_until
from helpers.workplace import Workplace

# A trainer that says which GPUs it sees and how many threads it may use; one width may break it.
TRAINER = """
import os, signal, time
from training.contract import Checkpoint

FACTORS = {"width": {"kind": "integer"}}
METRICS = {"gpu": {"kind": "real", "better": "lower"}, "threads": {"kind": "real", "better": "lower"}}

def train(cells, options, run):
    for cell in cells:
        if cell.factors["width"] == options["deadly"]:
            os._exit(9)
        if cell.factors["width"] == options["killed"] and not os.path.exists(options["mark"]):
            open(options["mark"], "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        saved = run.restore(cell)
        epoch = saved.step if saved else 0
        while epoch < options["epochs"] and not run.stop:
            epoch += 1
            run.epoch(cell, epoch, options["epochs"], {})
            time.sleep(0.1)
            while epoch == options["epochs"] // 2 and os.path.exists(options["hold"]) and not run.stop:
                time.sleep(0.05)
        if run.stop and epoch < options["epochs"]:
            run.save({cell: Checkpoint(epoch)})
            return
        run.finish(cell, {"gpu": float(os.environ["CUDA_VISIBLE_DEVICES"]), "threads": run.threads})
"""
PROFILE = {"partition": "low", "timeout_min": 10, "gpus_per_node": 2, "device": "cpu", "cpus_per_task": 4, "mem_gb": 1}


@pytest.fixture
def node(workplace: Workplace) -> Iterator[Workplace]:
    """A workplace with the trainer, whose cluster is this machine's own."""
    (workplace.directory / "trainer.py").write_text(TRAINER)
    with workplace.on_cluster():
        yield workplace


def submit(node: Workplace, *, cells: int, epochs: int = 1, deadly: int = 0, killed: int = 0, **changes: Any) -> None:
    """All cells as one task. deadly: a width that breaks its process; killed: one that does so the first time."""
    node.write("node.yaml", PROFILE | changes)
    sweep = {"name": "node", "axes": {"width": list(range(1, cells + 1))}, "runs_per_condition": 1}
    options = {"epochs": epochs, "deadly": deadly, "killed": killed, "mark": str(node.directory / "killed")}
    options |= node.hold() if epochs > 1 else {"hold": ""}
    config = node.write("sweep.yaml", {"trainer": "trainer.py:train", "trainer_options": options, "sweep": sweep})
    node.submit(config, "--pack", str(cells), profile="node.yaml")


def wait_for_end(node: Workplace) -> None:
    wait_until(lambda: not node.cluster.slurm.queue(), "the task's end")


def test_the_cells_of_a_task_are_dealt_to_one_worker_per_gpu(node: Workplace) -> None:
    submit(node, cells=5)
    wait_for_end(node)
    metrics = {name: result["metrics"] for name, result in node.results().items()}
    assert [metrics[f"width_{width}_run_0"]["gpu"] for width in range(1, 6)] == [0, 1, 0, 1, 0]
    assert {entry["threads"] for entry in metrics.values()} == {2}  # the four CPUs of the task are shared
    packs = [json.loads(path.read_text())["cells"] for path in node.directory.glob("out/packs/*/pack.json")]
    assert sorted(map(len, packs)) == [2, 3]


def test_all_workers_of_a_preempted_task_save_and_come_back(node: Workplace) -> None:
    submit(node, cells=2, epochs=40)
    wait_until(lambda: node.store().exists() and min(node.epochs()) >= 5, "both cells in mid-training")
    assert len(node.cluster.preempt(hold_seconds=1)) == 1
    node.release()
    wait_for_end(node)
    provenance = [result["provenance"] for result in node.results().values()]
    assert [entry["attempts"] for entry in provenance] == [2, 2]
    assert all(entry["restored_at_step"] >= 5 for entry in provenance)


def test_a_worker_that_dies_does_not_take_the_others_with_it(node: Workplace) -> None:
    submit(node, cells=2, deadly=2)
    wait_for_end(node)
    assert {name for name, result in node.results().items() if result} == {"width_1_run_0"}
    assert "FAILED" in {task.state for task in node.cluster.slurm.queue(finished=True)}


@pytest.fixture
def side_by_side(node: Workplace) -> Workplace:
    """The same trainer, whose cells want a process each."""
    (node.directory / "trainer.py").write_text(TRAINER + 'PACK_MODE = "concurrent"\n')
    return node


def test_cells_side_by_side_are_dealt_over_the_gpus_saved_and_resumed(side_by_side: Workplace) -> None:
    submit(side_by_side, cells=4, epochs=40)
    wait_until(lambda: side_by_side.store().exists() and min(side_by_side.epochs()) >= 5, "all cells in mid-training")
    assert len(side_by_side.cluster.preempt(hold_seconds=1)) == 1
    side_by_side.release()
    wait_for_end(side_by_side)
    results = [side_by_side.results()[f"width_{width}_run_0"] for width in range(1, 5)]
    assert [result["metrics"] for result in results] == [{"gpu": gpu, "threads": 1} for gpu in (0, 1, 0, 1)]
    assert [result["provenance"]["attempts"] for result in results] == [2] * 4
    assert all(result["provenance"]["restored_at_step"] >= 5 for result in results)


def test_a_killed_cell_leaves_its_neighbours_alone_and_is_taken_by_the_next_submission(
    side_by_side: Workplace,
) -> None:
    submit(side_by_side, cells=3, killed=2, gpus_per_node=1)
    wait_for_end(side_by_side)
    assert {name for name, result in side_by_side.results().items() if not result} == {"width_2_run_0"}
    assert "FAILED" in {task.state for task in side_by_side.cluster.slurm.queue(finished=True)}
    submit(side_by_side, cells=3, killed=2, gpus_per_node=1)
    wait_for_end(side_by_side)
    assert all(side_by_side.results().values())


def test_fewer_gpus_than_the_profile_says_is_one_line_with_the_fix(node: Workplace) -> None:
    submit(node, cells=2, setup=["export CUDA_VISIBLE_DEVICES=0"])
    wait_for_end(node)
    said = node.store().paths.task_log(1, 0, 0).read_text()
    assert "asks for 2 GPUs a node, but this job got 1 (CUDA_VISIBLE_DEVICES=0); see gpus_per_node" in said
