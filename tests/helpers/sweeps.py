"""Sweep directories made by hand, with known numbers, as a node would have left them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hpc.files import atomic, directories
from hpc.storage.claims import new_attempt
from hpc.storage.named_files import HISTORY, described
from hpc.storage.revisions import write_sweep
from hpc.storage.store import Store
from hpc.sweep.cell import Cell, digest
from hpc.sweep.definition import DeclaredTrainer, Sweep
from hpc.sweep.grid import Axis, Grid

ACCURACY, LOSS = "predictability/synergy_acc", "best_val_loss"

FACTORS: dict[str, Any] = {
    "dim": {
        "kind": "integer",
        "minimum": 1,
        "field": "workspace_dim",
        "label": "workspace dimension",
        "slug": "dimensions",
        "log": True,
    },
    "scale": {
        "kind": "real",
        "minimum": 0,
        "field": "synergy_scale",
        "label": "synergy loss scale",
        "slug": "synergy_scale",
        "log": True,
    },
}
METRICS: dict[str, Any] = {
    ACCURACY: {"kind": "bounded", "better": "higher", "chance": 0.125, "label": "synergy accuracy"},
    LOSS: {"kind": "positive", "better": "lower", "label": "best validation loss"},
    "predictability/unique_r2": {"kind": "real", "better": "higher", "chance": 0.0, "label": "unique features, R2"},
    "val_loss": {"kind": "positive", "better": "lower", "label": "validation loss"},
    "train_loss": {"kind": "positive", "better": "lower", "label": "training loss"},
}
BUILT_IN_LIKE = DeclaredTrainer("training.workspace:train", "", FACTORS, METRICS, "fused")


def make_sweep(
    axes: Mapping[str, Sequence[int | float | str]],
    seeds: int = 3,
    trainer: DeclaredTrainer = BUILT_IN_LIKE,
    primary: Sequence[str] = (ACCURACY, LOSS),
    alpha: float = 0.05,
) -> Sweep:
    grid = Grid(tuple(Axis(name, tuple(values)) for name, values in axes.items()), tuple(range(42, 42 + seeds)))
    analysis = {"primary_metrics": list(primary), "reference": None, "alpha": alpha}
    return Sweep("synergy", grid, trainer, {}, {"training": {"epochs": 3}}, "", analysis, 60.0, {"weights": "final"})


class Directory:
    """A sweep directory and the means to fill it."""

    def __init__(self, root: Path, sweep: Sweep) -> None:
        self.store, self.sweep = Store(root), sweep
        write_sweep(self.store, sweep, {"git": "0123abc", "versions": {"holdfast": "0.1.0"}})

    def result(self, cell: Cell, metrics: Mapping[str, float | None], **changes: Any) -> dict[str, Any]:
        """A cell's results.json as it should be, but for the changes."""
        fields = {self.sweep.trainer.field_of(name): value for name, value in cell.point}
        return {
            **fields,
            "run_id": cell.run_id,
            "seed": cell.seed,
            "condition_id": cell.condition,
            "cell": cell.name,
            "status": "COMPLETED",
            "metrics": dict(metrics),
            "best_epoch": 2,
            "epochs": 3,
            "config_digest": self.sweep.config_digest,
            "outcome_digest": digest([cell.name, sorted(metrics)]),
            "provenance": {"attempts": 1, "seconds": 1.5, "node": "n1", "pack": 1},
        } | changes

    def finish(self, cell: Cell, metrics: Mapping[str, float | None], **changes: Any) -> None:
        self.write(cell, json.dumps(self.result(cell, metrics, **changes)).encode())

    def write(self, cell: Cell, data: bytes) -> None:
        """Publish these bytes as the cell's results.json."""
        directories.make_directory(self.store.paths.cell_directory(cell))
        atomic.publish(self.store.paths.result_file(cell), data)

    def history(self, cell: Cell, rows: Mapping[str, Sequence[float | None]]) -> None:
        directories.make_directory(self.store.paths.cell_directory(cell))
        atomic.publish(self.store.paths.history_file(cell), history_bytes(rows))

    def train(self, name: str, loss: float, **files: Any) -> None:
        """Finish the cell of this name with a history whose end its result names. files: what else it names."""
        cell, rows = self.cell(name), {"val_loss": [1.0, loss]}
        named = {HISTORY: described(HISTORY, history_bytes(rows)), **files}
        self.history(cell, rows)
        self.finish(cell, {LOSS: loss}, provenance={"attempts": 1, "seconds": 1.0, "pack": 1, "files": named})

    def fail(self, cell: Cell, cause: str) -> None:
        attempt = new_attempt(self.store, cell)
        atomic.publish(self.store.paths.failure_file(cell, attempt), json.dumps({"cause": cause}).encode())

    def conflict(self, cell: Cell) -> None:
        directories.make_directory(self.store.paths.cell_directory(cell))
        atomic.publish(self.store.paths.conflict_file(cell), b"{}")

    def fill(self, metrics: Callable[[Cell], Mapping[str, float | None]]) -> None:
        """Finish every cell."""
        for cell in self.sweep.grid:
            self.finish(cell, metrics(cell))

    def cell(self, name: str) -> Cell:
        return next(cell for cell in self.sweep.grid if cell.name == name)


def history_bytes(rows: Mapping[str, Sequence[float | None]]) -> bytes:
    lines = [",".join(["epoch", *rows])]
    for epoch, values in enumerate(zip(*rows.values(), strict=True), start=1):
        lines.append(",".join([str(epoch), *("" if value is None else repr(value) for value in values)]))
    return ("\n".join(lines) + "\n").encode()
