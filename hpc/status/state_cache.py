"""States of a large sweep, remembered between looks.

A result is written once, and anything new in a cell's directory changes that directory's time stamp, so a finished
cell whose stamp is as it was need not be read again. The stamps are only compared with the file system's own, never
with this machine's clock. A file system may count whole seconds: what changed just before it was read may change again
under the same stamp, so it is not remembered yet.
The cache is a convenience: without it, or where it cannot be written, everything is read.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence

from hpc.storage import documents, files
from hpc.storage.results import paused_collector
from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from hpc.sweep.states import FINAL, MISSING, CellStatus

# Below this number of cells reading them all takes less than a quarter of a second.
_WORTH_IT = 2_000
_FORMAT = 2
_MOST_BYTES = 400  # per cell: its name and its entry
# The coarsest time stamps in use, of FAT; NFS servers and older disks count whole seconds.
_COARSEST_NS = 2_000_000_000

Entry = tuple[int, str, int, int]  # stamp, state, attempts, epochs
_NEVER: Entry = (-1, "", 0, 0)


def statuses(store: Store, cells: Sequence[Cell], config_digest: str) -> Iterator[CellStatus]:
    """State of every cell, as Store.statuses gives it, with finished cells from the cache where they are unchanged."""
    if len(cells) < _WORTH_IT:
        yield from store.statuses(cells, config_digest)
        return
    known = _load(store, config_digest, len(cells))
    stamps = store.stamps()
    # Stamps are taken before files are read: what comes in between changes the stamp and is read again next time.
    settled = _settled_before(store)
    changed = [c for c in cells if (name := c.name) in stamps and known.get(name, _NEVER)[0] != stamps[name]]
    with paused_collector():
        read = dict(zip((c.name for c in changed), store.statuses(changed, config_digest), strict=True))
    for cell in cells:
        name = cell.name
        if name in read:
            yield read[name]
        elif name in stamps:
            _, state, attempts, epochs = known[name]
            yield CellStatus(cell, state, attempts, epochs, epochs)
        else:
            yield CellStatus(cell, MISSING)
    fresh = {
        name: (stamps[name], status.state, status.attempts, status.epochs)
        for name, status in read.items()
        if status.state in FINAL and stamps[name] < settled
    }
    if len(fresh) > len(cells) // 100:
        _write(store, config_digest, {**known, **fresh})


def _settled_before(store: Store) -> int:
    """Time stamps below this one cannot be given to anything any more, ns; 0 if that cannot be found out."""
    try:
        return files.stamp_of_now(store.root) - _COARSEST_NS
    except OSError:  # somebody else's sweep may be read-only for us
        return 0


def _load(store: Store, config_digest: str, cells: int) -> dict[str, Entry]:
    data = documents.known(store.paths.state_cache_file, documents.StatesDocument, cells * _MOST_BYTES)
    ours = (data.get("format"), data.get("config_digest")) == (_FORMAT, config_digest)
    return dict(data["cells"]) if ours else {}


def _write(store: Store, config_digest: str, cells: dict[str, Entry]) -> None:
    content = {"format": _FORMAT, "config_digest": config_digest, "cells": cells}
    with contextlib.suppress(OSError):
        files.publish(store.paths.state_cache_file, json.dumps(content, separators=(",", ":")).encode(), durable=False)
