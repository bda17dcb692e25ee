"""Sweeps small enough to reason about: a trainer of a few lines without numpy, and directories made from it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from helpers.waiting import PATIENCE
from hpc.node.pack import PackTask
from hpc.node.trial import Surroundings
from hpc.storage.revisions import write_sweep
from hpc.storage.store import Store
from hpc.submission import intents
from hpc.sweep.cell import Cell
from hpc.sweep.definition import DeclaredTrainer, Sweep
from hpc.sweep.grid import Axis, Grid

ROOT = Path(__file__).resolve().parents[2]

FACTORS: dict[str, Any] = {"width": {"kind": "integer", "minimum": 1}}
METRICS: dict[str, Any] = {
    "loss": {"kind": "positive", "better": "lower"},
    "accuracy": {"kind": "bounded", "better": "higher", "chance": 0.5, "optional": True},
}

# A chaotic map driven by random numbers: one wrong bit after a resume and the end is another.
TRAINER = """
import os, random, signal
from training.contract import Checkpoint

FACTORS = {"width": {"kind": "integer", "minimum": 1}}
METRICS = {"loss": {"kind": "positive", "better": "lower"},
           "accuracy": {"kind": "bounded", "better": "higher", "chance": 0.5, "optional": True}}

def train(cells, options, run):
    for cell in cells:
        saved = run.restore(cell)
        rng, x, epoch = random.Random(cell.seed), 0.1 + 0.5 / dict(cell.point)["width"], 0
        if saved is not None:
            epoch, x, state = saved.step, saved.values["x"], saved.values["rng"]
            rng.setstate((state[0], tuple(state[1]), state[2]))
        while epoch < 8:
            if run.stop or run.checkpoint_due() or options.get("save_always"):
                state = Checkpoint(step=epoch, values={"x": x, "rng": rng.getstate()})
                if cell in run.save({cell: state}) or run.stop:
                    return
            x = 3.99 * x * (1 - x) * (0.9 + 0.1 * rng.random())
            epoch += 1
            run.epoch(cell, epoch, 8, {"loss": x})
            if saved is None and epoch == 5 and options.get("signal"):
                os.kill(os.getpid(), getattr(signal, options["signal"]))
        run.finish(cell, {"loss": x, "accuracy": rng.random()}, best_epoch=3, weights=None)
"""


def make_grid(widths: Sequence[int] = (1, 2), seeds: Sequence[int] = (42, 43)) -> Grid:
    return Grid((Axis("width", tuple(widths)),), tuple(seeds))


def make_sweep(
    grid: Grid | None = None,
    *,
    path: Path | str = "",
    pack_mode: str = "sequential",
    options: Mapping[str, Any] | None = None,
    checkpoint_seconds: float = 1e-9,
    **changes: Any,
) -> Sweep:
    target = f"{Path(path).name}:train" if path else "toy.py:train"
    values: dict[str, Any] = {
        "name": "small",
        "grid": grid or make_grid(),
        "trainer": DeclaredTrainer(target, str(path), FACTORS, METRICS, pack_mode),
        "options": dict(options or {}),
        "sections": {},
        "data_digest": "",
        "analysis": {"primary_metrics": ["loss"], "reference": None, "alpha": 0.05},
        "checkpoint_seconds": checkpoint_seconds,
        "keep": {"weights": "final", "checkpoints": False},
        "wandb": {},
    }
    return Sweep(**values | changes)


def write_trainer(directory: Path, body: str = TRAINER, name: str = "toy.py") -> Path:
    """A trainer's file; a body without declarations gets the usual ones."""
    directory.mkdir(parents=True, exist_ok=True)
    if "FACTORS" not in body:
        body = TRAINER.partition("def train")[0] + body
    path = directory / name
    path.write_text(body)
    return path


def make_store(root: Path, sweep: Sweep) -> Store:
    store = Store(root)
    write_sweep(store, sweep, {})
    return store


def submit(store: Store, cells: Sequence[Cell]) -> int:
    """A submission of one task with these cells; its number."""
    return intents.begin(store, [[cells]], kind=intents.LOCAL, profile="local", name="small", code="").number


def run_here(store: Store, cells: Sequence[Cell], number: int | None = None) -> int:
    """Run a task in this process; its exit code."""
    number = submit(store, cells) if number is None else number
    return PackTask(store, store.sweep(), list(cells), Surroundings(number, lambda: False, own_log=False)).run()


def run_task(store: Store, number: int, *prefix: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a submission's task as a node would, in a process of its own."""
    return subprocess.run(
        [*prefix, sys.executable, "-P", "-m", "hpc.node.task", str(store.paths.root), str(number), "0", "0"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | environment,  # as start.sh has it
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
