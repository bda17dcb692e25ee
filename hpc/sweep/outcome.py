"""The outcome of a cell: what decides whether two attempts ended alike."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import safetensors.numpy

from hpc.sweep.cell import Cell, digest


@dataclass(frozen=True)
class Outcome:
    """Status, metrics, history and weights of a finished cell; times, nodes and attempts are not part of it.

    metrics: name -> finite number, or None where it is not finite.
    history_csv: one row an epoch. weights: safetensors bytes, or None. stopped_early: which rule ended training before
    its last epoch, and when; empty if none did. It follows from the history and the configuration, so that the digest
    need not cover it.
    """

    status: str
    metrics: Mapping[str, float | None]
    best_epoch: int | None
    epochs: int
    history_csv: bytes
    weights: bytes | None
    stopped_early: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self, cell: Cell, config_digest: str) -> dict[str, Any]:
        """The outcome as results.json carries it, without provenance and factor columns."""
        return {
            "cell": cell.name,
            "condition_id": cell.condition,
            "run_id": cell.run_id,
            "seed": cell.seed,
            "status": self.status,
            "metrics": dict(self.metrics),
            "best_epoch": self.best_epoch,
            "epochs": self.epochs,
            **({"stopped_early": dict(self.stopped_early)} if self.stopped_early else {}),
            "config_digest": config_digest,
            "outcome_digest": self.digest(cell),
        }

    def digest(self, cell: Cell) -> str:
        """Digest over cell, status, metrics, epochs, history and final weights."""
        weights = hashlib.sha256(self.weights).hexdigest() if self.weights is not None else None
        history = hashlib.sha256(self.history_csv).hexdigest()
        values = [self.status, dict(self.metrics), self.best_epoch, self.epochs, history, weights]
        return digest([cell.to_json(), *values])


def plain_number(value: Any) -> float | None:
    """A metric as JSON holds it: a finite float, or None. Raises TypeError for what is no number."""
    if value is None:
        return None
    if isinstance(value, bool | str | bytes):
        raise TypeError(f"{value!r} is not a number")
    number = float(value)
    return number if math.isfinite(number) else None


def history_csv(history: Sequence[Mapping[str, Any]], order: Sequence[str]) -> bytes:
    """History as CSV: a column for every metric that occurs, in the order declared; numbers by repr, missing empty."""
    columns = ["epoch", *(name for name in order if any(name in row for row in history))]
    lines = [",".join(columns)]
    lines += [",".join("" if row.get(c) is None else repr(row[c]) for c in columns) for row in history]
    return ("\n".join(lines) + "\n").encode()


def weights_bytes(weights: Mapping[str, Any]) -> bytes:
    """Named arrays as safetensors; the same arrays give the same bytes."""
    return bytes(safetensors.numpy.save({name: np.asarray(a, order="C") for name, a in sorted(weights.items())}))
