"""Numbers that belong to one process alone: of submissions, pack attempts and a cell's attempts.

Each is a directory made by mkdir, which is atomic on every file system. A number is an epoch: what carries a larger one
began later, whatever the clocks and job ids say. A claim never expires and excludes nobody.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping

from hpc.errors import SweepError
from hpc.files import directories
from hpc.storage.layout import ATTEMPT_DIGITS, PACK_DIGITS, SUBMISSION_DIGITS, redos_in
from hpc.storage.results import provenance_of
from hpc.storage.store import Store
from hpc.sweep.cell import Cell


def new_submission(store: Store, cells: Iterable[Cell] = ()) -> int:
    """cells: that it concerns. What their files name began before it, also where submissions/ was cleaned up since."""
    directories.make_directory(store.paths.submissions_root)
    present = store.present()
    named = _named(store, {name: cell for cell in cells if (name := cell.name) in present})
    return directories.claim(store.paths.submissions_root, SUBMISSION_DIGITS, max(named, default=0))[0]


def new_pack(store: Store) -> int:
    directories.make_directory(store.paths.packs_root)
    return directories.claim(store.paths.packs_root, PACK_DIGITS)[0]


def new_attempt(store: Store, cell: Cell) -> int:
    directories.make_directory(store.paths.attempts_directory(cell))
    return directories.claim(store.paths.attempts_directory(cell), ATTEMPT_DIGITS)[0]


def _named(store: Store, cells: Mapping[str, Cell]) -> Iterator[int]:
    """Numbers of submissions and redos that the files of cells, by name, and of their attempts name.

    Each pack attempt's record is read once for all its cells, which it lists: others wait for the lock meanwhile.
    """
    for pack in directories.numbers(store.paths.packs_root) if cells else ():
        record = store.pack_record(pack)
        if not cells.keys().isdisjoint(record.get("cells", ())):
            yield int(record.get("submission", 0))
    for name, cell in cells.items():
        found = directories.entries(store.paths.results_root / name)
        yield from redos_in(found)
        if "results.json" in found:
            with contextlib.suppress(SweepError):  # a result that cannot be read names nothing
                yield int(provenance_of(store.result(cell)).get("submission", 0))
