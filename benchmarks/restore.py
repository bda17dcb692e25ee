"""How the time to restore a fused pack grows with its cells: python -m benchmarks.restore [--megabytes M] [--json F].

Packs of several sizes are saved once and restored in turn through the real run object, so that a busy machine slows all
alike. The last column is the time per cell: it stays the same where restoring is linear.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.machine import machine
from hpc.config.load import CommandLine, load
from hpc.node.attempt import PackAttempt
from hpc.node.training_run import TrainingRun
from hpc.storage.revisions import write_sweep
from hpc.storage.store import Store
from training.contract import Checkpoint

CELLS = (2, 8, 32, 128, 512)
ROUNDS = 5
TRAINER = (
    "FACTORS = {'width': {'kind': 'integer'}}\n"
    "METRICS = {'error': {'kind': 'positive', 'better': 'lower'}}\n"
    "PACK_MODE = 'fused'\n"
    "def train(cells, options, run):\n    pass\n"
)


def saved_pack(directory: Path, cells: int, megabytes: float) -> Store:
    """A sweep in a new directory whose cells have all been saved at step 1, in one generation."""
    directory.mkdir()
    (directory / "width.py").write_text(TRAINER)
    (directory / "sweep.yaml").write_text(
        f"trainer: {directory}/width.py:train\nsweep: {{axes: {{width: [1]}}, runs_per_condition: {cells}}}\n"
    )
    loaded = load(CommandLine(config=directory / "sweep.yaml", output_dir=str(directory / "out"), no_wandb=True))
    store = Store(loaded.output_dir)
    write_sweep(store, loaded.sweep, {})
    run = begin(store)
    state = np.zeros(int(megabytes * 1e6 / 4), np.float32)
    states = {}
    for cell in run.unfinished():
        run.restore(cell)
        states[cell] = Checkpoint(1, {"state": state})
    run.save(states)
    run.check_storage()
    return store


def begin(store: Store) -> TrainingRun:
    attempt = PackAttempt.begin(store, store.sweep(), list(store.sweep().grid), 1, {})
    return TrainingRun(attempt, stop_requested=lambda: False, device="cpu", threads=1, provenance={})


def restore(store: Store) -> float:
    """Seconds to restore all cells of a new attempt."""
    run = begin(store)
    started = time.perf_counter()
    steps = [run.restore(cell).step for cell in run.unfinished()]  # type: ignore[union-attr]
    seconds = time.perf_counter() - started
    assert set(steps) == {1}
    return seconds


def measure(directory: Path, megabytes: float) -> dict[str, float]:
    """Seconds to restore a pack, by its number of cells: the median of several rounds over all sizes."""
    stores = {cells: saved_pack(directory / str(cells), cells, megabytes) for cells in CELLS}
    found: dict[int, list[float]] = {cells: [] for cells in CELLS}
    for _ in range(ROUNDS):
        for cells, store in stores.items():
            found[cells].append(restore(store))
    return {str(cells): statistics.median(seconds) for cells, seconds in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=3.4, help="state of a cell (the built-in trainer's: 3.4)")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    print(about := machine())
    with tempfile.TemporaryDirectory() as name:
        found = measure(Path(name), arguments.megabytes)
    print(f"{'cells':>8}{'s':>10}{'ms per cell':>14}")
    for cells, seconds in found.items():
        print(f"{cells:>8}{seconds:10.3f}{1e3 * seconds / int(cells):14.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": about, **found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
