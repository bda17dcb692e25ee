"""The states that are saved of a cell over all its attempts: which is restored, and which are still needed."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hpc.files import atomic, limits, reading
from hpc.storage.checkpoint import CorruptCheckpointError, SavedCell, decode, parts
from hpc.storage.revisions import may_resume
from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep

# Two: while the third is written, and where the newest is damaged, there is a whole one. More would only cost quota.
KEPT_GENERATIONS = 2


class Generations:
    """Checkpoints as a pack attempt sees them: its own, which it alone writes, and those of its cells' other attempts.

    claims: its cells, and which attempt at each it is. log: takes a cell and a line for people.
    """

    def __init__(
        self, store: Store, sweep: Sweep, number: int, claims: Mapping[Cell, int], log: Callable[[Cell, str], None]
    ) -> None:
        self.store, self.sweep, self.claims = store, sweep, claims
        self._number, self._log = number, log
        self._newest = 0
        self._saved_in: dict[int, set[str]] = {}
        self._kept_twice: set[str] = set()
        self._steps: dict[str, int] = {}
        self._read: dict[Path, dict[tuple[str, str], SavedCell]] = {}
        self._seen_in: set[tuple[Cell, int]] = set()

    def write(self, rows: Sequence[SavedCell]) -> None:
        """Publish one generation and drop our own of which each cell has two newer ones. Raises OSError; older stay.

        A trainer may save the cells of a pack in any groups: two states are kept of each cell, not two files.
        """
        self._newest += 1
        self._read.clear()  # training has begun: what it resumed from need not stay in memory
        atomic.publish(self.store.paths.generation_file(self._number, self._newest), parts(rows))
        self._saved_in[self._newest] = {row.cell for row in rows}
        self._steps |= {row.cell: row.step for row in rows}
        # Only now, with the new generation's directory on disk: a power cut must not take both.
        self._drop_own()

    def restore(self, cell: Cell, code: str | None = None) -> SavedCell | None:
        """The cell's newest valid row over all its attempts. Damaged files are set aside and the next one is used.

        code: digest of what trains it now; states of code that was changed since without consent are passed over.
        The arrays are the caller's own, to work on in place.
        """
        attempts = reversed(self.store.counting_attempts(cell))
        rows = (row for number in attempts if (row := self._newest_row(cell, number)))
        row = next((row for row in rows if self._may_resume(row, code)), None)
        return row and replace(row, arrays={name: array.copy() for name, array in row.arrays.items()})

    def saved_by_newer(self, cell: Cell) -> bool:
        """Whether a newer attempt than ours has a state of a cell."""
        # One that was queued before a redo drops the cell itself, and its states are nobody's.
        newer = [attempt for attempt in self.store.counting_attempts(cell) if attempt > self.claims[cell]]
        return any(self._newest_row(cell, attempt) is not None for attempt in newer)

    def drop_earlier(self) -> None:
        """Earlier attempts' generations count as ours: where two newer states exist, a third is not needed."""
        states = Counter(cell for cells in self._saved_in.values() for cell in cells)
        twice = {cell for cell, count in states.items() if count >= KEPT_GENERATIONS} - self._kept_twice
        self._kept_twice |= twice
        for pack in self._earlier_packs({cell: own for cell, own in self.claims.items() if cell.name in twice}):
            if self._needless(pack, self._kept_twice) and not self._is_further(pack):
                for path in self.store.paths.generations(pack):
                    atomic.remove(path)
        self._read.clear()

    def remove_needless(self) -> None:
        """Remove the checkpoints that nothing can need any more, with their reports: of packs that have all results."""
        for pack in {self._number} | self._earlier_packs(self.claims):
            if self._needless(pack, set()):
                for path in self.store.paths.generations(pack):
                    atomic.remove(path)
                atomic.remove(self.store.paths.progress_file(pack))

    # --- inside ---------------------------------------------------------------------------------------------------

    def _may_resume(self, row: SavedCell, code: str | None) -> bool:
        theirs = row.lineage[-1]["code"] if row.lineage else None
        return code in (None, theirs) or may_resume(self.store.manifest()["revisions"], code, theirs)

    def _newest_row(self, cell: Cell, attempt: int) -> SavedCell | None:
        """The newest valid row of a cell in one attempt's checkpoints; damaged ones are set aside."""
        pack = self.store.pack_of(cell, attempt)
        row = None if pack is None else self._newest_row_in(pack, cell)
        if row is not None and pack is not None:
            self._seen_in.add((cell, pack))
        return row

    def _newest_row_in(self, pack: int, cell: Cell) -> SavedCell | None:
        """The same of a pack attempt."""
        wanted = self.sweep.cell_digest(cell)
        for path in self.store.paths.generations(pack):
            try:
                rows = self._rows(path)
            except FileNotFoundError:
                continue  # its owner has just rotated it away
            except CorruptCheckpointError as error:
                with contextlib.suppress(FileNotFoundError):  # another task has just done so
                    aside = atomic.quarantine(path)
                    self._log(cell, f"{path.name} of pack {pack} is damaged ({error}); set aside as {aside.name}")
                continue
            if (row := rows.get((cell.name, wanted))) is not None:
                return row
        return None

    def _rows(self, path: Path) -> dict[tuple[str, str], SavedCell]:
        """Our cells' rows of a generation, which never changes: read once for all, and kept until the next save."""
        if (rows := self._read.get(path)) is None:
            ours = {cell.name for cell in self.claims}
            whole = decode(reading.read(path, limits.ANY))
            self._read[path] = rows = {(row.cell, row.cell_digest): row for row in whole if row.cell in ours}
        return rows

    def _drop_own(self) -> None:
        """Remove our generations, but none that is one of the last two of a cell without a result.

        A newer attempt that claimed the cell takes it out of ours, and may have been killed before it restored it.
        """
        newer = Counter[str]()
        for number in sorted(self._saved_in, reverse=True):
            cells = self._saved_in[number]
            if self._newest - number >= KEPT_GENERATIONS and all(
                newer[cell] >= KEPT_GENERATIONS or self.store.has_result(cell) for cell in cells
            ):
                atomic.remove(self.store.paths.generation_file(self._number, number))
                del self._saved_in[number]
            newer.update(cells)

    def _is_further(self, pack: int) -> bool:
        """Whether a pack attempt has a state of a cell of ours that is further than our own, and that we did not see
        when we looked for one to restore: a stale listing may have hidden it.
        """
        submission = int(self.store.pack_record(pack).get("submission", 0))
        ours = (cell for cell in self.claims if cell.name in self._kept_twice)
        unseen = [cell for cell in ours if (cell, pack) not in self._seen_in]
        redos = {cell: max(self.store.redos(cell.name), default=-1) for cell in unseen}
        rows = (self._newest_row_in(pack, cell) for cell in unseen if redos[cell] < submission)
        return any(row.step > self._steps[row.cell] for row in rows if row is not None)

    def _earlier_packs(self, cells: Mapping[Cell, int]) -> set[int]:
        found = set()
        for cell, own in cells.items():
            earlier = (self.store.pack_of(cell, attempt) for attempt in self.store.attempts(cell) if attempt < own)
            found |= {pack for pack in earlier if pack is not None}
        return found - {self._number}

    def _needless(self, pack: int, saved: set[str]) -> bool:
        """Whether every cell of a pack has a result or is among those saved elsewhere. Unknown cells: no."""
        names = self.store.cells_of(pack)
        return names is not None and all(name in saved or self.store.has_result(name) for name in names)
