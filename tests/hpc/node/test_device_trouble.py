"""A GPU that is lost, or a node that lacks what the trainer needs, ends the task: no cell is blamed, nothing halved."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.small_sweeps import make_grid, make_store, make_sweep, run_task, submit, write_trainer

from hpc.launch import bad_nodes
from hpc.node.giving_up import futile
from hpc.protocol import TaskExit
from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from hpc.sweep.states import COMPLETED, FAILED

TRAINER = """
def train(cells, options, run):
    with open(options["calls"], "a") as calls:
        calls.write(f"{len(cells)}\\n")
    states = {cell: run.restore(cell) for cell in cells}
    run.save({cell: Checkpoint(step=1 + (states[cell].step if states[cell] else 0), values={}) for cell in cells})
    if len(cells) > options["fits"]:
        try:
            raise RuntimeError(options["error"])
        except RuntimeError as error:
            if options["wrapped"]:
                raise ValueError("the step failed") from error
            raise
    for cell in cells:
        run.finish(cell, {"loss": 0})
"""
LOST = [
    "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be asynchronously reported",
    "CUDA error: uncorrectable ECC error encountered",
    "CUDA error: device-side assert triggered",
    "CUDA error: unspecified launch failure",
    "CUDA driver error: invalid device context",
    "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
    "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(...)`",
    "CUDA unknown error - this may be due to an incorrectly set up environment",
    "No CUDA GPUs are available",
    "Found no NVIDIA driver on your system.",
    "device 'cuda' was asked for and cannot be used: CUDA error: all CUDA-capable devices are busy or unavailable",
]
UNFIT = """
import os

from training.contract import UnfitNodeError

def train(cells, options, run):
    saved = {cell: run.restore(cell) for cell in cells}
    steps = {cell: state.step if state else 0 for cell, state in saved.items()}
    run.save({cell: Checkpoint(steps[cell] + 1, values={}) for cell in cells})
    if os.environ["SLURMD_NODENAME"] == "n7":
        raise UnfitNodeError("no\\nlicense here")
    for cell in cells:
        run.finish(cell, {"loss": steps[cell]})
"""
MEMORY = [
    "CUDA out of memory. Tried to allocate 20.00 MiB",
    "CUDA error: out of memory",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
]


def sweep_of(
    root: Path, error: str, cells: int = 8, fits: int = 0, wrapped: bool = False, source: str = TRAINER
) -> tuple[Store, list[Cell]]:
    path = write_trainer(root / "trainer", source)
    options = {"fits": fits, "calls": str(root / "calls"), "error": error, "wrapped": wrapped}
    sweep = make_sweep(make_grid(range(1, cells + 1), [42]), path=path, pack_mode="fused", options=options)
    return make_store(root / "out", sweep), list(sweep.grid)


def calls(root: Path) -> list[int]:
    return [int(line) for line in (root / "calls").read_text().split()]


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("error", LOST)
def test_a_lost_gpu_ends_the_task_at_once_and_no_cell_is_blamed(tmp_path: Path, error: str, wrapped: bool) -> None:
    store, every = sweep_of(tmp_path, error, wrapped=wrapped)
    number = submit(store, every)
    for _ in range(4):
        done = run_task(store, number, HOLDFAST_DEVICE="cuda")
        assert done.returncode == TaskExit.DEVICE, done.stderr
    assert calls(tmp_path) == [8, 8, 8, 8]
    assert FAILED not in {status.state for status in store.statuses(every, store.sweep())}
    assert not any(store.failure(cell, n) for cell in every for n in store.attempts(cell))
    assert {futile(store, cell, True).attempts for cell in every} == {0}
    assert {futile(store, cell, True).packed for cell in every} == {0}
    log = store.paths.pack_log(1).read_text()
    assert error.splitlines()[0] in log
    assert "Traceback" in log


@pytest.mark.parametrize("error", MEMORY)
def test_memory_that_a_gpu_has_not_is_still_an_occasion_for_smaller_packs(tmp_path: Path, error: str) -> None:
    store, every = sweep_of(tmp_path, error, fits=2)
    assert run_task(store, submit(store, every), HOLDFAST_DEVICE="cuda").returncode == TaskExit.DONE
    assert calls(tmp_path) == [8, 4, 2, 2, 4, 2, 2]
    assert {status.state for status in store.statuses(every, store.sweep())} == {COMPLETED}


def test_an_error_that_a_trainer_dealt_with_is_no_lost_gpu(tmp_path: Path) -> None:
    handled = TRAINER.replace(
        'raise ValueError("the step failed") from error', 'raise ValueError("no such width") from None'
    )
    assert handled != TRAINER
    store, every = sweep_of(tmp_path, "No CUDA GPUs are available", cells=1, wrapped=True, source=handled)
    assert run_task(store, submit(store, every), HOLDFAST_DEVICE="cuda").returncode == TaskExit.FAILED
    assert (store.failure(every[0], 1) or {})["cause"] == "ValueError: no such width"


def test_a_trainer_that_wants_a_gpu_where_none_was_asked_for_is_at_fault_itself(tmp_path: Path) -> None:
    store, every = sweep_of(tmp_path, "No CUDA GPUs are available", cells=1)
    assert run_task(store, submit(store, every), HOLDFAST_DEVICE="cpu").returncode == TaskExit.FAILED
    assert (store.failure(every[0], 1) or {})["cause"] == "RuntimeError: No CUDA GPUs are available"


def test_a_trainer_that_says_what_the_node_lacks_ends_the_task_and_another_node_resumes_it(tmp_path: Path) -> None:
    store, every = sweep_of(tmp_path, "", source=UNFIT)
    number = submit(store, every)
    for _ in range(4):
        done = run_task(store, number, SLURMD_NODENAME="n7")
        assert done.returncode == TaskExit.UNFIT, done.stderr
    assert not any(store.failure(cell, n) for cell in every for n in store.attempts(cell))
    assert {futile(store, cell, True).attempts for cell in every} == {0}
    assert {futile(store, cell, True).packed for cell in every} == {0}
    assert store.paths.pack_log(1).read_text().splitlines()[-1] == "n7: no license here"
    assert run_task(store, number, SLURMD_NODENAME="n8").returncode == TaskExit.DONE
    assert {(store.result(cell) or {})["metrics"]["loss"] for cell in every} == {4}


@pytest.mark.parametrize("status", [TaskExit.DEVICE, TaskExit.UNFIT])
def test_a_node_that_loses_gpus_or_lacks_something_is_left_out_unless_all_nodes_do(
    tmp_path: Path, status: TaskExit
) -> None:
    store, every = sweep_of(tmp_path, "", fits=8)
    number = submit(store, every)
    assert run_task(store, number, SLURMD_NODENAME="n1").returncode == TaskExit.DONE
    statuses = list(store.statuses(every, store.sweep()))

    def lose(node: str, task: int) -> None:
        logs = store.paths.logs_directory(number)
        logs.mkdir(exist_ok=True)
        (logs / f"0_{task}.start.{node}.failed").write_text(f"{int(status)}\n")

    lose("n2", 1)
    assert bad_nodes.find(store, statuses).nodes == {}
    lose("n2", 2)
    assert bad_nodes.find(store, statuses).nodes == {"n2": 2}
    # Also one that did well before, but not if nobody else is left.
    lose("n1", 3)
    lose("n1", 4)
    assert bad_nodes.find(store, statuses).nodes == {}
