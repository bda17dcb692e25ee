"""Every planned cell accounted for: its state, and its result if it has one that is whole and its own.

Asks the files of a sweep directory, never Slurm. A result that is truncated, of another cell or configuration, or holds
something that is no number is named with its cause and never counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from aggregate.arrays import Integers
from hpc.storage.results import provenance_of
from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep
from hpc.sweep.states import CONFLICT, FINAL, STATES, CellStatus

_OWN = ("seed", "run_id", "condition_id")


@dataclass(frozen=True)
class Record:
    """One planned cell. result: the content of results.json; present exactly if the state is COMPLETED or DIVERGED."""

    status: CellStatus
    result: Mapping[str, Any] | None

    @property
    def cell(self) -> Cell:
        return self.status.cell

    @property
    def state(self) -> str:
        return self.status.state

    @property
    def stopped_early(self) -> bool:
        """Whether stop_when ended the cell before its last epoch."""
        return bool((self.result or {}).get("stopped_early"))

    @property
    def trained_by(self) -> Sequence[Mapping[str, Any]]:
        """Every code and numerics that trained the cell, in order; empty if it was one of each throughout."""
        parts = provenance_of(self.result).get("trained_by")
        return parts if isinstance(parts, list) else ()

    @property
    def code(self) -> str | None:
        """Digest of the trainer's code with which the cell ended; None where that is not known."""
        found = provenance_of(self.result).get("trainer_digest")
        return found if isinstance(found, str) else None

    @property
    def redone(self) -> Sequence[Mapping[str, Any]]:
        """Earlier results of the cell that `holdfast redo` has set aside: redo, status, outcome_digest of each."""
        found = provenance_of(self.result).get("redone")
        return found if isinstance(found, list) else ()


@dataclass(frozen=True)
class Gathered:
    """All planned cells, with their names, in the order of the grid, and directories that belong to none of them
    (strays, by name)."""

    sweep: Sweep
    names: list[str]
    records: list[Record]
    strays: list[str]

    @property
    def counts(self) -> dict[str, int]:
        """Number of cells in every state."""
        found = Counter(record.state for record in self.records)
        return {state: found[state] for state in STATES}

    @cached_property
    def best_epochs(self) -> Integers:
        """What every result says of the epoch it is of, shape (cells,); 0 where nothing does."""
        found = [record.result.get("best_epoch") if record.result else None for record in self.records]
        return np.array([epoch or 0 for epoch in found], dtype=np.int64)

    @property
    def complete(self) -> bool:
        """Whether every planned cell ended, COMPLETED or DIVERGED."""
        return all(record.state in FINAL for record in self.records)


def read_records(
    store: Store, sweep: Sweep, cells: Sequence[Cell], names: Sequence[str], histories: dict[str, bytes]
) -> Iterator[Record]:
    """Read some cells of a sweep, given with their names. Raises OSError naming the path if that cannot be done.

    histories: gets what was read of them, see Store.outcomes.
    """
    keys = (*_OWN, *(sweep.trainer.field_of(axis.name) for axis in sweep.grid.axes))
    for name, (status, result) in zip(names, store.outcomes(cells, sweep, names, histories), strict=True):
        if status.state == CONFLICT:
            yield Record(replace(status, cause=status.cause.removeprefix(f"{store.paths.results_root}/")), None)
        elif result is None:
            yield Record(status, None)
        else:
            yield _record(status, name, result, keys)


def names_of(sweep: Sweep) -> list[str]:
    """Names of all cells in the order of the grid; asking every cell for its own takes ten times as long."""
    runs = [f"_run_{run_id}" for run_id in range(len(sweep.grid.seeds))]
    return [condition + run for condition, _ in sweep.grid.conditions() for run in runs]


def _record(status: CellStatus, name: str, result: Mapping[str, Any], keys: Sequence[str]) -> Record:
    fault = _fault(result, status.cell, name.rpartition("_run_")[0], keys)
    if not fault:
        return Record(status, result)
    cause = f"{name}/results.json: {fault}; set it aside and run the cell again"
    return Record(replace(status, state=CONFLICT, cause=cause), None)


def _fault(result: Mapping[str, Any], cell: Cell, condition: str, keys: Sequence[str]) -> str:
    """What keeps a whole result from counting for this cell; empty if nothing does. keys: of what names its cell."""
    expected = (cell.seed, cell.run_id, condition, *[value for _, value in cell.point])
    if tuple(map(result.get, keys)) != expected:
        for key, value in zip(keys, expected, strict=True):
            if result.get(key) != value:
                return f"it is of another cell: {key} is {result.get(key)!r}, not {value!r}"
    if not _is_count(result["epochs"]):
        return f"epochs is {result['epochs']!r}, not a number of epochs"
    if not (result.get("best_epoch") is None or _is_count(result["best_epoch"])):
        return f"best_epoch is {result['best_epoch']!r}, not an epoch"
    if not isinstance(result["outcome_digest"], str):
        return f"outcome_digest is {result['outcome_digest']!r}, not a digest"
    if not isinstance(result.get("provenance", {}), dict):
        return "provenance is no mapping"
    return ""


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53
