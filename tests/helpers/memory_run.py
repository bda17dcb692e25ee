"""A run that keeps everything in memory: the contract without files, for tests of the trainer alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from helpers.sections import whole
from hpc.sweep.stopping import Stopping, StopRule
from training.contract import Cell, Checkpoint


@dataclass(frozen=True)
class MemoryCell:
    name: str
    values: tuple[tuple[str, float], ...]
    seed: int

    @property
    def factors(self) -> dict[str, float]:
        return dict(self.values)

    @property
    def run_id(self) -> int:
        return self.seed - 42


def cell(dim: int = 8, scale: float = 1.0, seed: int = 42) -> MemoryCell:
    return MemoryCell(f"dim_{dim}_scale_{scale}_run_{seed - 42}", (("dim", dim), ("scale", scale)), seed)


@dataclass
class Outcome:
    metrics: dict[str, float | None]
    best_epoch: int | None
    weights: dict[str, Any]
    diverged: bool


@dataclass
class MemoryRun:
    """Checkpoints are copied as a file would: arrays by value, values through JSON.

    config: sections of the built-in trainer; what they leave out is filled in as planning does.
    stop_at: number of looks at `stop` after which it is true. due_every: looks at checkpoint_due between saves.
    on_look: called at every look at `stop`, with its number.
    """

    config: Mapping[str, Any]
    device: str = "cpu"
    threads: int = 1
    stop_at: int | None = None
    due_every: int | None = None
    on_look: Callable[[int], None] | None = None
    taken: set[str] = field(default_factory=set)
    saved: dict[str, Checkpoint] = field(default_factory=dict)
    finished: dict[str, Outcome] = field(default_factory=dict)
    history: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    facts: dict[str, str | int] = field(default_factory=dict)
    stop_rule: StopRule | None = None
    looks: int = 0
    asked_due: int = 0
    saves: int = 0

    def __post_init__(self) -> None:
        self.config = whole(self.config)

    @property
    def stop(self) -> bool:
        self.looks += 1
        if self.on_look is not None:
            self.on_look(self.looks)
        return self.stop_at is not None and self.looks > self.stop_at

    def numerics(self, **facts: str | int) -> None:
        self.facts = facts

    def stopped_early(self, cell: Cell) -> bool:
        return self.stop_rule is not None and Stopping(self.stop_rule).follow(self.history[cell.name])

    def restore(self, cell: Cell) -> Checkpoint | None:
        assert self.facts, "numerics must be stated before restore"
        saved = self.saved.get(cell.name)
        return saved and Checkpoint(saved.step, arrived(saved), saved.values)

    def checkpoint_due(self) -> bool:
        self.asked_due += 1
        return self.due_every is not None and self.asked_due % self.due_every == 0

    def save(self, checkpoints: Mapping[Cell, Checkpoint]) -> frozenset[Cell]:
        self.saves += 1
        for cell, checkpoint in checkpoints.items():
            values = json.loads(json.dumps(dict(checkpoint.values), allow_nan=False))
            # Given as functions, they are called when they are restored: training has gone on meanwhile.
            arrays = {n: a if callable(a) else np.array(a, copy=True) for n, a in checkpoint.arrays.items()}
            self.saved[cell.name] = Checkpoint(checkpoint.step, arrays, values)
        return frozenset(cell for cell in checkpoints if cell.name in self.taken)

    def epoch(self, cell: Cell, epoch: int, of: int, metrics: Mapping[str, float]) -> None:
        rows = self.history.setdefault(cell.name, [])
        assert epoch == len(rows) + 1
        assert not of or epoch <= of  # 0: not known
        rows.append(dict(metrics))

    def finish(
        self,
        cell: Cell,
        metrics: Mapping[str, float | None],
        *,
        best_epoch: int | None = None,
        weights: Mapping[str, Any] | None = None,
        diverged: bool = False,
    ) -> None:
        assert cell.name not in self.finished
        self.finished[cell.name] = Outcome(dict(metrics), best_epoch, dict(weights or {}), diverged)

    def fail(self, cell: Cell, cause: str) -> None:
        raise AssertionError(f"{cell.name}: {cause}")


def arrived(checkpoint: Checkpoint) -> dict[str, Any]:
    """The arrays of a checkpoint, where some were given as functions."""
    return {name: array() if callable(array) else array for name, array in checkpoint.arrays.items()}
