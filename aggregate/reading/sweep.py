"""A sweep directory as it was read: the plan, every planned cell, every history."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aggregate.reading.histories import Ended, Histories, ReplacedError, read_histories
from aggregate.reading.records import Gathered, Record, names_of, read_records
from hpc.errors import SweepError
from hpc.files.limits import MOST_METRICS, MOST_VALUES, too_many
from hpc.storage.results import paused_collector
from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep

_TRIES = 5


@dataclass(frozen=True)
class Reading:
    """A sweep at one moment, each file read once.

    store: where the files that are made of it go. manifest: the content of sweep.json. certificates: of resuming.
    remarks: what a reader must know about where the numbers come from, one line each.
    """

    store: Store
    manifest: Mapping[str, Any]
    gathered: Gathered
    histories: Histories
    certificates: Sequence[Mapping[str, Any]] = ()
    remarks: tuple[str, ...] = ()

    @property
    def sweep(self) -> Sweep:
        return self.gathered.sweep


def read(store: Store) -> Reading:
    """Read the results and histories of every cell, again if one is trained anew meanwhile.

    Raises hpc.errors.SweepError if the directory holds no sweep, OSError naming the path if it cannot be read.
    """
    for _ in range(_TRIES - 1):
        with contextlib.suppress(ReplacedError):
            return _read(store)
    return _read(store)


def _read(store: Store) -> Reading:
    manifest = store.manifest()
    sweep = store.sweep(manifest)
    names = names_of(sweep)
    with paused_collector():
        records, histories = read_cells(store, sweep, list(sweep.grid), names, range(len(names)))
    check_size(store.root, sweep, histories, records)
    strays = sorted(store.present() - set(names))
    return Reading(store, manifest, Gathered(sweep, names, records, strays), histories, store.certificates())


def read_cells(
    store: Store, sweep: Sweep, cells: Sequence[Cell], names: Sequence[str], positions: Sequence[int]
) -> tuple[list[Record], Histories]:
    """Read the results and histories of the cells at some positions in the grid, which has these cells and names.

    Raises OSError naming the path, ReplacedError.
    """
    kept: list[Record] = []
    own, contents = [names[i] for i in positions], dict[str, bytes]()
    found = read_records(store, sweep, [cells[i] for i in positions], own, contents)
    return kept, read_histories(store, _ended(found, positions, own, kept, contents), len(own))


def check_size(root: Path, sweep: Sweep, histories: Histories, records: Iterable[Record]) -> None:
    """Raise SweepError if there are more metrics, or numbers in tables of them, than are gone through."""
    found = {name for record in records if record.result is not None for name in record.result["metrics"]}
    count = len(found | set(histories.columns))
    fault = too_many(count, MOST_METRICS, "metrics")
    if fault := fault or too_many(count * sweep.grid.size, MOST_VALUES, "values of metrics, one per metric and cell"):
        raise SweepError(f"{root}: its results and histories have {fault}")


def _ended(
    records: Iterable[Record],
    positions: Iterable[int],
    names: Iterable[str],
    kept: list[Record],
    contents: dict[str, bytes],
) -> Iterator[Ended]:
    """Every cell with a result, as its record comes in; all records go to ``kept``."""
    for record, position, name in zip(records, positions, names, strict=True):
        kept.append(record)
        content = contents.pop(name, None)
        if record.result is not None:
            yield Ended(position, name, record.result, content)
