"""What crash safety costs a training run: saving a pack and resuming after a stop, through the real run object."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpc.config.load import CommandLine, load
from hpc.node.pack import PackTask
from hpc.node.training_run import TrainingRun
from hpc.node.trial import Surroundings
from hpc.storage.revisions import write_sweep
from hpc.storage.store import Store
from hpc.sweep.definition import Sweep
from training.loop.pack import Pack

# A full pack on a CPU (training.loop.loop.CPU_PACK).
CELLS = 5
# Calls of Pack.train before a task is stopped: enough to reach its first step.
PARTS = 10


def measure(data: Path, directory: Path) -> dict[str, float]:
    """Milliseconds of a checkpoint, a start and a resume.

    save_ms: one checkpoint of a pack of five cells. start_ms, resume_ms: from the beginning of a task to its first
    training step, with new and with restored cells, including the check of the data's digest.
    """
    store, sweep = recorded(data, directory, CELLS)
    saves: list[float] = []
    original = TrainingRun.save

    def timed(run: TrainingRun, checkpoints: Mapping[Any, Any]) -> frozenset[Any]:
        started = time.perf_counter()
        dropped = original(run, checkpoints)
        saves.append(time.perf_counter() - started)
        return dropped

    TrainingRun.save = timed  # type: ignore[method-assign]
    try:
        # The first task begins the cells, the other five resume them.
        start, *resumes = (_until_first_step(store, sweep) for _ in range(6))
    finally:
        TrainingRun.save = original  # type: ignore[method-assign]
    return {
        "save_ms": 1e3 * statistics.median(saves),
        "start_ms": 1e3 * start,
        "resume_ms": 1e3 * statistics.median(resumes),
    }


def recorded(data: Path, directory: Path, cells: int, epochs: int = 50) -> tuple[Store, Sweep]:
    """A sweep of one condition and as many seeds as cells, written as `holdfast run` would."""
    grid = {"dims": "16", "scales": "1.0", "runs_per_condition": cells}
    overrides = [f"data.dir={data}", f"training.epochs={epochs}"]
    loaded = load(CommandLine(output_dir=str(directory), overrides=overrides, no_wandb=True, **grid))
    store = Store(loaded.output_dir)
    write_sweep(store, loaded.sweep, {})
    return store, loaded.sweep


def _until_first_step(store: Store, sweep: Sweep) -> float:
    """Seconds from the beginning of a task to its first step. It then trains a little, saves and stops."""
    steps: list[float] = []
    original = Pack.train

    def timed(pack: Pack, indices: Any) -> None:
        steps.append(time.perf_counter())
        original(pack, indices)

    Pack.train = timed  # type: ignore[method-assign]
    try:
        began = time.perf_counter()
        PackTask(store, sweep, list(sweep.grid), Surroundings(0, lambda: len(steps) >= PARTS, own_log=False)).run()
    finally:
        Pack.train = original  # type: ignore[method-assign]
    return steps[0] - began
