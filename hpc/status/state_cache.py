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

from hpc.files import atomic, directories
from hpc.storage import documents
from hpc.storage.results import paused_collector
from hpc.storage.store import Store
from hpc.sweep.cell import Cell, digest
from hpc.sweep.definition import Sweep
from hpc.sweep.states import FINAL, MISSING, CellStatus

# Below this number of cells reading them all takes less than a quarter of a second.
_WORTH_IT = 2_000
_FORMAT = 3
_MOST_BYTES = 400  # per cell: its name and its entry

Entry = tuple[int, str, int, int, bool]  # stamp, state, attempts, epochs, stopped early
_NEVER: Entry = (-1, "", 0, 0, False)


def statuses(store: Store, cells: Sequence[Cell], sweep: Sweep) -> Iterator[CellStatus]:
    """State of every cell, as Store.statuses gives it, with finished cells from the cache where they are unchanged."""
    if len(cells) < _WORTH_IT:
        yield from store.statuses(cells, sweep)
        return
    # With what each level stands for, which may be corrected.
    identity = digest([sweep.config_digest, sweep.bundles]) if sweep.bundles else sweep.config_digest
    known = _load(store, identity, len(cells))
    stamps = store.stamps()
    # Stamps are taken before files are read: what comes in between changes the stamp and is read again next time.
    settled = directories.settled_before(store.root)
    changed = [c for c in cells if (name := c.name) in stamps and known.get(name, _NEVER)[0] != stamps[name]]
    with paused_collector():
        read = dict(zip((c.name for c in changed), store.statuses(changed, sweep), strict=True))
    for cell in cells:
        name = cell.name
        if name in read:
            yield read[name]
        elif name in stamps:
            _, state, attempts, epochs, early = known[name]
            yield CellStatus(cell, state, attempts, epochs, epochs, stopped_early=early)
        else:
            yield CellStatus(cell, MISSING)
    fresh = {
        name: (stamps[name], status.state, status.attempts, status.epochs, status.stopped_early)
        for name, status in read.items()
        if status.state in FINAL and stamps[name] < settled
    }
    if len(fresh) > len(cells) // 100:
        _write(store, identity, {**known, **fresh})


def _load(store: Store, identity: str, cells: int) -> dict[str, Entry]:
    try:
        data = documents.known(store.paths.state_cache_file, documents.StatesDocument, cells * _MOST_BYTES)
    except OSError:  # a convenience
        return {}
    ours = (data.get("format"), data.get("config_digest")) == (_FORMAT, identity)
    return dict(data["cells"]) if ours else {}


def _write(store: Store, identity: str, cells: dict[str, Entry]) -> None:
    content = {"format": _FORMAT, "config_digest": identity, "cells": cells}
    with contextlib.suppress(OSError):
        atomic.publish(store.paths.state_cache_file, json.dumps(content, separators=(",", ":")).encode(), durable=False)
