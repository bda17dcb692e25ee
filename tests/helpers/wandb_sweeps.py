"""Small sweeps with results, and runs of the real client, for the tests of this folder."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aggregate.pipeline import aggregate
from helpers.held import held_trainer
from helpers.waiting import PATIENCE
from helpers.wandb_server import WandbServer
from hpc.node.pack import PackTask
from hpc.node.trial import Surroundings
from hpc.storage.revisions import write_sweep
from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep
from hpc.sweep.grid import Axis, Grid
from hpc.trainers.declaration import read_declaration

TRAINERS = Path(__file__).parents[1] / "trainers"
KEY = "c0ffee" * 6 + "beef"  # 40 digits, as W&B's keys are
PROJECT, GROUP = "mirror-tests", "widths"
OFF: dict[str, Any] = {"wandb_project": PROJECT, "wandb_entity": None, "log_to_wandb": False}


def wandb_settings(mode: str, **more: Any) -> dict[str, Any]:
    return OFF | {"log_to_wandb": {"mode": mode, "group": GROUP, "job_type": None, "tags": [], **more}}


def width_sweep(
    root: Path,
    *,
    widths: Sequence[int] = (2, 1),
    runs: int = 2,
    epochs: int = 5,
    hold: Mapping[str, str] | None = None,
    mode: str = "off",
    checkpoint_seconds: float = 60.0,
) -> tuple[Store, Sweep]:
    """A sweep of the 25-line trainer, recorded and not yet run.

    hold: of held.hold, the trainer then waits half-way as long as its file is there.
    """
    trainer = held_trainer(root.parent) if hold else "width.py"
    sweep = Sweep(
        name="widths",
        grid=Grid((Axis("width", tuple(widths)),), tuple(range(42, 42 + runs))),
        trainer=read_declaration(f"{trainer}:train", [TRAINERS]),
        options={"epochs": epochs, "seconds": 0.0} | dict(hold or {}),
        sections={},
        data_digest="",
        analysis={"primary_metrics": ["error"], "reference": None, "alpha": 0.05},
        checkpoint_seconds=checkpoint_seconds,
        keep={"weights": "final", "checkpoints": False},
        wandb=wandb_settings(mode, tags=["test"]),
    )
    store = Store(root)
    write_sweep(store, sweep, {"versions": {}, "git": None})
    return store, sweep


def train(
    store: Store, sweep: Sweep, cells: Sequence[Cell] | None = None, stop: Callable[[], bool] = lambda: False
) -> int:
    """Run cells as one task, in this process."""
    wanted = list(sweep.grid) if cells is None else list(cells)
    return PackTask(store, sweep, wanted, Surroundings(1, stop, own_log=False)).run()


def tables(root: Path) -> dict[str, bytes]:
    """Everything that aggregation computes."""
    store = Store(root)
    aggregate(root, figures=False)
    paths = (store.paths.aggregated_file, store.paths.statistics_file, store.paths.table_file, store.paths.curves_file)
    return {path.name: path.read_bytes() for path in paths}


def client(script: str, *arguments: str) -> str:
    """Run a script that uses wandb as a user would; returns what it printed."""
    return subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(script), *arguments],
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    ).stdout


def assert_complete(server: WandbServer, store: Store, sweep: Sweep) -> None:
    """Exactly one run a cell, and each says what results.json and history.csv say; read by other code than ours."""
    cells = [cell for cell in sweep.grid if store.result(cell) is not None]
    runs = {run.fields["displayName"]: run for run in server.all()}
    assert len(server.all()) == len(runs) == len(cells)
    for cell in cells:
        run, result = runs[cell.name], json.loads(store.paths.result_file(cell).read_text())
        assert (run.project, run.state) == (PROJECT, "finished")
        assert (run.fields["groupName"], run.fields["jobType"]) == (GROUP, "cell")
        lines = store.paths.history_file(cell).read_text().splitlines()[1:]
        newest = {row["_step"]: row for row in run.history}
        assert [(row["epoch"], row["error"]) for _, row in sorted(newest.items())] == [
            (int(epoch), float(error)) for epoch, error in (line.split(",") for line in lines)
        ]
        assert {name: run.summary[name] for name in result["metrics"]} == result["metrics"]
        assert run.summary["holdfast"]["outcome_digest"] == result["outcome_digest"]
        assert run.settings["seed"] == result["seed"]
        assert run.settings["width"] == result["width"]
