"""A sweep directory as it was read: the plan, every planned cell, every history."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aggregate.reading.histories import Histories, read_histories
from aggregate.reading.records import Gathered, Record, names_of, read_records
from hpc.storage.results import paused_collector
from hpc.storage.store import Store
from hpc.sweep.definition import Sweep


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
    """Read the results and histories of every cell.

    Raises hpc.errors.SweepError if the directory holds no sweep, OSError naming the path if it cannot be read.
    """
    manifest = store.manifest()
    sweep = store.sweep(manifest)
    names, records = names_of(sweep), list[Record]()
    with paused_collector():
        histories = read_histories(store, _ended(read_records(store, sweep, list(sweep.grid), names), names, records))
    strays = sorted(store.present() - set(names))
    return Reading(store, manifest, Gathered(sweep, names, records, strays), histories, store.certificates())


def _ended(records: Iterable[Record], names: Sequence[str], kept: list[Record]) -> Iterator[tuple[int, str]]:
    """Position and name of every cell with a result, as its record comes in; all records go to ``kept``."""
    for position, record in enumerate(records):
        kept.append(record)
        if record.result is not None:
            yield position, names[position]
