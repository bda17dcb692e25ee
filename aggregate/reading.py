"""A sweep directory read as far as it has changed since it was read last."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregate.cache import Cache, cell_stamps, intact, load, save
from aggregate.gather import Gathered, Record, names_of, read_records
from aggregate.histories import NOTHING_READ, Histories, Read, joined, read_histories
from aggregate.recall import recall_histories, recall_records, unchanged
from aggregate.statistics import Integers
from hpc.storage.results import paused_collector
from hpc.storage.store import Store
from hpc.sweep.cell import digest
from hpc.sweep.definition import Sweep
from hpc.sweep.states import FINAL


@dataclass(frozen=True)
class Reading:
    """names: of all cells that are planned. kept: which are as they were, shape (cells,). fresh: the records of all
    others, by position. stamps: of all cells, taken before anything was read. strays: directories of no cell.
    curves: the histories of fresh cells."""

    store: Store
    sweep: Sweep
    names: list[str]
    stamps: Integers
    cache: Cache | None
    kept: NDArray[np.bool_]
    fresh: Mapping[int, Record]
    strays: list[str]
    curves: Read = NOTHING_READ

    def manifest(self) -> Mapping[str, Any]:
        """The content of sweep.json."""
        return self.store.manifest()

    def remarks(self) -> list[str]:
        """What a reader must know of where the numbers come from."""
        return []

    def told_before(self, **options: Any) -> Mapping[str, Any] | None:
        """What was said of the last aggregation with these options, if doing it again would change no byte."""
        cache = self.cache
        if cache is None or cache.told.get("same") != self._same(options) or not self.kept[cache.whole].all():
            return None
        return cache.told if intact(self.store, cache) else None

    def gathered(self) -> Gathered:
        """Every cell, those that are kept from the table."""
        known: dict[int, Record] = dict(self.fresh)
        if self.cache is not None and self.kept.any():
            known |= recall_records(self.store, self.sweep, list(self.sweep.grid), self.cache.metrics, self.kept)
        return Gathered(self.sweep, self.names, [known[i] for i in range(len(self.names))], self.strays)

    def histories(self) -> Histories:
        """Every history, those that are kept from the table of curves."""
        known = recall_histories(self.store, self.sweep, self.names, self.kept) if self.kept.any() else []
        return joined([*known, *self.curves.blocks], self.curves.faults)

    def remember(
        self, gathered: Gathered, histories: Histories, metrics: list[str], written: list[Path], told: Any
    ) -> None:
        """Write the cache. told: what told_before gives back, with the options under ``options``."""
        damaged = {name for name, _ in histories.faults}
        ended = [r.state in FINAL and n not in damaged for r, n in zip(gathered.records, gathered.names, strict=True)]
        whole = np.array(ended, dtype=bool) & (self.stamps > 0).all(axis=1)
        left = {i: gathered.records[i] for i in np.flatnonzero(~whole).tolist()}
        said = told | {"same": _digest(left, self.strays, told["options"])}
        save(self.store, self.stamps, whole, written, said, metrics)

    def _same(self, options: Mapping[str, Any]) -> str:
        return _digest(self.fresh, self.strays, options)


def read(store: Store, *, afresh: bool = False) -> Reading:
    """Look at every cell and read those that changed. afresh: read all, whatever is remembered.

    Raises hpc.errors.SweepError if the directory holds no sweep, OSError naming the path if it cannot be read.
    """
    sweep = store.sweep()
    names = names_of(sweep)
    stamps = cell_stamps(store, names)
    cache = None if afresh else load(store)
    kept = unchanged(store, cache, stamps)
    others = np.flatnonzero(~kept).tolist()
    cells = list(sweep.grid) if others else []
    fresh: dict[int, Record] = {}
    with paused_collector():
        records = read_records(store, sweep, [cells[i] for i in others], [names[i] for i in others])
        curves = read_histories(store, _ended(zip(others, records, strict=True), names, fresh))
    strays = sorted(store.present() - set(names))
    return Reading(store, sweep, names, stamps, cache, kept, fresh, strays, curves)


def _ended(
    records: Iterable[tuple[int, Record]], names: Sequence[str], fresh: dict[int, Record]
) -> Iterator[tuple[int, str]]:
    """Position and name of every cell with a result, as its record comes in; all records go to ``fresh``."""
    for position, record in records:
        fresh[position] = record
        if record.result is not None:
            yield position, names[position]


def _digest(records: Mapping[int, Record], strays: list[str], options: Mapping[str, Any]) -> str:
    """Of all that could change the outcome besides the cells that are kept."""
    known = [
        [i, r.state, r.status.attempts, r.status.cause, r.result and {**r.result, "provenance": None}]
        for i, r in sorted(records.items())
    ]
    return digest([known, strays, dict(options)])
