"""Cells of one task side by side (PACK_MODE = "concurrent"): real processes, one a cell."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from helpers.small_sweeps import ROOT, TRAINER, make_grid, make_store, make_sweep, run_task, submit, write_trainer
from helpers.waiting import PATIENCE, wait_until

from hpc.node.giving_up import futile
from hpc.storage.store import Store
from hpc.sweep.cell import Cell

# Says where it is, and goes on only when as many cells as MEET says are in training at the same time.
MEETING = """
import os, signal, time
from pathlib import Path

def train(cells, options, run):
    here = Path(options["here"])
    for cell in cells:
        width = cell.factors["width"]
        run.restore(cell)
        (here / f"{width}.pid").write_text(f"{os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES')} {run.threads}")
        while len(list(here.glob("*.pid"))) < int(os.environ["MEET"]) and not run.stop:
            time.sleep(0.01)
        if str(width) == os.environ.get("DEADLY"):
            os.kill(os.getpid(), signal.SIGKILL)
        while "WAIT" in os.environ and not run.stop:
            time.sleep(0.01)
        if run.stop:
            run.save({cell: Checkpoint(step=1)})
            return
        run.finish(cell, {"loss": float(width), "accuracy": 0.5})
"""


class Task:
    """A submission of one task, and what its processes said where they were."""

    def __init__(self, directory: Path, widths: int) -> None:
        self.here = directory / "here"
        self.here.mkdir()
        path = write_trainer(directory / "trainer", MEETING)
        grid = make_grid(range(1, widths + 1), [42])
        sweep = make_sweep(grid, path=path, pack_mode="concurrent", options={"here": str(self.here)})
        self.cells = list(sweep.grid)
        self.store = make_store(directory / "out", sweep)

    def run(self, **environment: str) -> subprocess.CompletedProcess[str]:
        return run_task(self.store, self._submit(), **{"MEET": str(len(self.cells))} | environment)

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            "-P",
            "-m",
            "hpc.node.task",
            str(self.store.paths.root),
            str(self._submit()),
            "0",
            "0",
        ]
        common = {"PYTHONPATH": str(ROOT), "MEET": str(len(self.cells)), "WAIT": "until stopped"}
        return subprocess.Popen(command, env=os.environ | common | environment)

    def _submit(self) -> int:
        for path in self.here.glob("*.pid"):
            path.unlink()
        return submit(self.store, [cell for cell in self.cells if not self.store.has_result(cell.name)])

    def said(self) -> list[list[str]]:
        """Process, GPUs and threads of each cell that was in training, in the order of the cells."""
        return [path.read_text().split() for path in sorted(self.here.glob("*.pid"))]

    def finished(self) -> list[bool]:
        return [self.store.has_result(cell.name) for cell in self.cells]


def test_two_cells_of_a_task_train_at_the_same_time_in_processes_of_their_own(tmp_path: Path) -> None:
    task = Task(tmp_path, 2)  # each waits for the other: one after another they would wait for ever
    assert task.run(SLURM_CPUS_PER_TASK="6").returncode == 0
    assert task.finished() == [True, True]
    (first, _, threads), (second, _, _) = task.said()
    assert first != second
    assert threads == "3"


def test_threads_are_shared_and_nobody_gets_less_than_one(tmp_path: Path) -> None:
    task = Task(tmp_path, 3)
    assert task.run(SLURM_CPUS_PER_TASK="", HOLDFAST_THREADS="2").returncode == 0
    assert [threads for _, _, threads in task.said()] == ["1", "1", "1"]


def test_a_single_cell_trains_in_the_tasks_own_process(tmp_path: Path) -> None:
    task = Task(tmp_path, 1)
    running = task.start()
    wait_until(lambda: bool(task.said()) and len(task.said()[0]) == 3, "a cell in training")
    running.send_signal(signal.SIGTERM)
    assert running.wait(PATIENCE) == 85
    assert task.said()[0][0] == str(running.pid)


def test_a_stop_signal_saves_every_cell(tmp_path: Path) -> None:
    task = Task(tmp_path, 2)
    running = task.start()
    wait_until(lambda: len(task.said()) == 2, "two cells in training")
    running.send_signal(signal.SIGTERM)
    assert running.wait(PATIENCE) == 85
    assert all("saved at step 1" in task.store.paths.log_file(cell).read_text() for cell in task.cells)


def test_a_killed_cell_takes_no_neighbour_with_it_and_the_next_start_completes(tmp_path: Path) -> None:
    task = Task(tmp_path, 3)
    done = task.run(DEADLY="2")
    assert done.returncode == 128 + signal.SIGKILL
    assert "ended by SIGKILL" in done.stderr
    assert task.finished() == [True, False, True]
    assert task.run(MEET="1").returncode == 0
    assert task.finished() == [True, True, True]


def test_killed_twice_beside_others_a_cell_trains_alone_and_fails_only_then(tmp_path: Path) -> None:
    task = Task(tmp_path, 2)
    for attempts in (1, 2):
        running = task.start(DEADLY="2")
        dead = lambda n=attempts: futile(task.store, task.cells[1], True).attempts == n  # noqa: E731
        wait_until(dead, "the death of one of them")
        running.send_signal(signal.SIGTERM)
        assert running.wait(PATIENCE) == 85
    assert futile(task.store, task.cells[1], True).split
    # With the other one in the same task, but after it: waiting for each other they would never end.
    assert task.run(DEADLY="2", MEET="1").returncode == 128 + signal.SIGKILL
    assert task.finished() == [True, False]
    pack = task.store.pack_of(task.cells[1], 3)
    assert pack is not None
    assert "side_by_side" not in json.loads(task.store.paths.pack_file(pack).read_bytes())
    assert task.run(MEET="1").returncode == 1
    failure = task.store.failure(task.cells[1], 4)
    assert failure is not None
    assert failure["cause"].startswith("ended 3 times without progress")


@pytest.mark.parametrize("cells", [2, 4])
def test_on_a_whole_node_the_cells_are_dealt_over_the_gpus(tmp_path: Path, cells: int) -> None:
    task = Task(tmp_path, cells)
    environment = {"HOLDFAST_WORKERS": "2", "CUDA_VISIBLE_DEVICES": "4,7", "SLURM_CPUS_PER_TASK": "8"}
    assert task.run(**environment).returncode == 0
    said = task.said()
    assert len({process for process, _, _ in said}) == cells
    assert [gpu for _, gpu, _ in said] == ["4", "7"] * (cells // 2)
    assert {threads for _, _, threads in said} == {str(8 // cells)}


def test_side_by_side_and_one_after_another_give_the_same_results_in_every_bit(tmp_path: Path) -> None:
    outcomes = {}
    for mode in ("sequential", "concurrent"):
        path = write_trainer(tmp_path / mode, TRAINER)
        store = make_store(tmp_path / mode / "out", make_sweep(path=path, pack_mode=mode))
        cells = list(store.sweep().grid)
        assert run_task(store, submit(store, cells)).returncode == 0
        outcomes[mode] = {cell.name: without_provenance(store, cell) for cell in cells}
    assert outcomes["concurrent"] == outcomes["sequential"]


def without_provenance(store: Store, cell: Cell) -> tuple[Mapping[str, Any], bytes]:
    found = store.result(cell)
    assert found is not None
    return {key: value for key, value in found.items() if key != "provenance"}, store.paths.history_file(
        cell
    ).read_bytes()


# Each command ends only when it has seen the other.
COMMAND = """
width=$(sed 's/.*"width": \\([0-9]*\\).*/\\1/' "$HOLDFAST_CELL")
touch HERE/$width
until [ -e HERE/1 ] && [ -e HERE/2 ]; do sleep 0.05; done
echo '{"metrics": {"error": 0.5}}' > "$HOLDFAST_RESULT"
"""


def test_a_local_run_of_commands_trains_a_packs_cells_side_by_side(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "fit.sh").write_text(COMMAND.replace("HERE", str(tmp_path / "here")))
    trainer = {
        "command": f"exec bash {tmp_path / 'fit.sh'}",
        "pack_mode": "concurrent",
        "factors": {"width": {"kind": "integer"}},
        "metrics": {"error": {"kind": "positive", "better": "lower"}},
    }
    sweep = {"axes": {"width": [1, 2]}, "runs_per_condition": 1}
    (tmp_path / "sweep.json").write_text(json.dumps({"trainer": trainer, "sweep": sweep}))
    words = ["run", "--config", "sweep.json", "--pack", "2", "--parallel-jobs", "1", "--output-dir", "out"]
    done = subprocess.run(
        [sys.executable, "-m", "hpc", *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    store = Store(tmp_path / "out")
    assert all(store.has_result(cell.name) for cell in store.sweep().grid)
