"""One attempt at one pack: claims, private checkpoints, results published exactly once.

Nothing here excludes another live copy of the same cells, and nothing depends on that: attempts write to directories
of their own, the first result wins, and training is deterministic. Looking for newer claims only bounds waste.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpc.errors import SweepError
from hpc.processes import host
from hpc.provenance import node
from hpc.storage import files, opening, published
from hpc.storage.checkpoint import CorruptCheckpointError, SavedCell, decode, encode
from hpc.storage.claims import new_attempt, new_pack
from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep
from hpc.sweep.outcome import Outcome

# Two: while the third is written, and where the newest is damaged, there is a whole one. More would only cost quota.
KEPT_GENERATIONS = 2
# A result that is damaged again and again right after it was set aside is no accident.
_MOST_DAMAGED = 3


class PackAttempt:
    """A pack attempt that this process has begun; the only writer of its directory.

    only_repeats: whether it has saved states, and none of them is further than the one it restored.
    """

    def __init__(self, store: Store, sweep: Sweep, number: int, claims: Mapping[Cell, int], submission: int) -> None:
        self.store = store
        self.sweep = sweep
        self.number = number
        self.claims = dict(claims)
        self.submission = submission
        self._generation = 0
        self._saved_in: dict[int, set[str]] = {}
        self._earlier_dropped = False
        self._read: dict[Path, dict[tuple[str, str], SavedCell]] = {}
        self.only_repeats = False

    @classmethod
    def begin(
        cls, store: Store, sweep: Sweep, cells: Sequence[Cell], submission: int, about: Mapping[str, Any]
    ) -> PackAttempt:
        """Claim the next attempt of every cell. Raises OSError naming the path.

        about: where this attempt runs (job, node, pid); a label for people, never an identity.
        """
        # The record first, then the claims: whoever follows a claim finds out whose it is, and a process that dies in
        # between leaves a pack that nothing points at.
        number = new_pack(store)
        record = {"cells": [cell.name for cell in cells], "submission": submission, "host": host(), **about}
        files.publish(store.paths.pack_file(number), json.dumps(record, indent=1).encode())
        claims = {}
        for cell in cells:
            claims[cell] = new_attempt(store, cell)
            pointer = json.dumps({"pack": number}).encode()
            files.publish(store.paths.pointer_file(cell, claims[cell]), pointer)
            published.write_config(store.paths, cell, _config(sweep, cell))
        return cls(store, sweep, number, claims, submission)

    # --- checkpoints ----------------------------------------------------------------------------------------------

    def save(self, rows: Sequence[SavedCell]) -> None:
        """Publish one generation and drop the one before the last. Raises OSError; older generations stay whole."""
        self._generation += 1
        self._read.clear()  # training has begun: what it resumed from need not stay in memory
        files.publish(self.store.paths.generation_file(self.number, self._generation), encode(rows))
        self._saved_in[self._generation] = {row.cell for row in rows}
        # Only now, with the new generation's directory on disk: a power cut must not take both.
        self._drop_own_checkpoints()
        # With our second generation, earlier attempts' are the third; with one alone they are the other.
        # While this attempt only repeats what it restored, those show that training did get somewhere (giving_up.py).
        if self._generation >= KEPT_GENERATIONS and not self.only_repeats and not self._earlier_dropped:
            self._drop_earlier_checkpoints({row.cell for row in rows})
            self._earlier_dropped = True

    def restore(self, cell: Cell) -> SavedCell | None:
        """The cell's newest valid row over all its attempts. Damaged files are set aside and the next one is used.

        The arrays are the caller's own, to work on in place.
        """
        attempts = reversed(self.store.counting_attempts(cell))
        row = next((row for number in attempts if (row := self._newest_row(cell, number))), None)
        return row and replace(row, arrays={name: array.copy() for name, array in row.arrays.items()})

    def superseded(self, cells: Sequence[Cell]) -> frozenset[Cell]:
        """Cells that have a result or were redone, or of which a newer attempt has saved a state.

        A newer claim alone is no reason to drop a cell: its process may have ended right after it, and then nobody
        would train the cell, and what is not saved here would be lost.
        """
        return frozenset(
            cell
            for cell in cells
            if self.store.has_result(cell.name) or self._precedes_redo(cell) or self._saved_by_newer(cell)
        )

    def report_progress(self, progress: Mapping[str, tuple[int, int]], ended: str = "") -> None:
        """Say how far each cell handed to the trainer is: {name: (epoch, of)}, and if so, why the attempt ended early.

        Advisory: failing to write it harms nothing.
        """
        record = {"cells": progress, "at": time.time(), **({"ended": ended} if ended else {})}
        record |= {"repeats": True} if self.only_repeats else {}
        with contextlib.suppress(OSError):
            files.publish(self.store.paths.progress_file(self.number), json.dumps(record).encode(), durable=bool(ended))

    def retract_progress(self) -> None:
        """Take the report back: where files cannot be written, nothing counts against a cell. A full disk can do it."""
        with contextlib.suppress(OSError):
            files.remove(self.store.paths.progress_file(self.number))

    # --- ends -----------------------------------------------------------------------------------------------------

    def publish(self, cell: Cell, outcome: Outcome, provenance: Mapping[str, Any]) -> bool:
        """Publish a cell's outcome unless it has one; the first wins. Returns whether ours is the result.

        A different outcome of another attempt is kept beside it as a conflict, never overwritten or dropped.
        """
        if self._precedes_redo(cell):
            self.log(cell, "its result was set aside for a redo since this attempt was queued: the outcome is dropped")
            return False
        # The files first and the result last: where there is a result, all it names is on disk under our own names.
        paths = self.store.paths
        beside = {published.HISTORY: published.described(outcome.history_csv)}
        files.publish(paths.private_history(self.number, cell), outcome.history_csv)
        if outcome.weights is not None and self.sweep.keep["weights"] != "none":
            files.publish(paths.private_weights(self.number, cell), outcome.weights)
            beside[published.WEIGHTS] = published.described(outcome.weights)
        # Before the result, which names it: the cell's last attempt may have been one of another configuration.
        config = published.write_config(paths, cell, _config(self.sweep, cell))
        beside[published.CONFIG] = published.described(config)
        full = {"attempts": self.claims[cell], "pack": self.number, "submission": self.submission, "files": beside}
        full |= {**_redone(self.store, cell), **provenance}
        record = {**_factor_fields(self.sweep, cell), **outcome.to_json(cell, self.sweep.config_digest)}
        result = record | {"provenance": full}
        data = json.dumps(result, indent=1, allow_nan=False).encode()
        winner = None
        for _ in range(_MOST_DAMAGED):
            if files.publish_once(paths.result_file(cell), data):
                published.link_outcome(paths, cell, result)
                return True
            if (winner := self._winner(cell)) is not None:
                break
        self._compare(cell, record, winner or {})
        return False

    def fail(self, cell: Cell, cause: str, traceback: str, at_start: bool = False) -> None:
        """Record that this attempt at a cell ended with an error.

        at_start: before anything was trained; where that happens on one node only, the node is to blame.
        """
        record = {"cause": cause, "traceback": traceback, "submission": self.submission, "host": host()}
        record |= {"node": node(), "at_start": at_start}
        path = self.store.paths.failure_file(cell, self.claims[cell])
        files.publish(path, json.dumps(record, indent=1).encode())

    def end(self) -> None:
        """Remove the checkpoints that nothing can need any more: of packs all of whose cells have results."""
        if self.sweep.keep["checkpoints"]:
            return
        for pack in {self.number} | self._earlier_packs(self.claims):
            if self._needless(pack, set()):
                for path in self.store.paths.generations(pack):
                    files.remove(path)
                files.remove(self.store.paths.progress_file(pack))

    def log(self, cell: Cell, text: str) -> None:
        """A line for people in the cell's own log. It must never stop training."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        with contextlib.suppress(OSError):
            files.append(self.store.paths.log_file(cell), f"{stamp} attempt {self.claims[cell]}: {text}\n")

    # --- inside ---------------------------------------------------------------------------------------------------

    def _newest_row(self, cell: Cell, attempt: int) -> SavedCell | None:
        """The newest valid row of a cell in one attempt's checkpoints; damaged ones are set aside."""
        wanted = self.sweep.cell_digest(cell)
        pack = self.store.pack_of(cell, attempt)
        for path in self.store.paths.generations(pack) if pack is not None else ():
            try:
                rows = self._rows(path)
            except FileNotFoundError:
                continue  # its owner has just rotated it away
            except CorruptCheckpointError as error:
                with contextlib.suppress(FileNotFoundError):  # another task has just done so
                    aside = files.quarantine(path)
                    self.log(cell, f"{path.name} of pack {pack} is damaged ({error}); set aside as {aside.name}")
                continue
            if (row := rows.get((cell.name, wanted))) is not None:
                return row
        return None

    def _rows(self, path: Path) -> dict[tuple[str, str], SavedCell]:
        """Our cells' rows of a generation, which never changes: read once for all, and kept until the next save."""
        if (rows := self._read.get(path)) is None:
            ours = {cell.name for cell in self.claims}
            whole = decode(files.read(path, opening.ANY))
            self._read[path] = rows = {(row.cell, row.cell_digest): row for row in whole if row.cell in ours}
        return rows

    def _saved_by_newer(self, cell: Cell) -> bool:
        newer = [attempt for attempt in self.store.attempts(cell) if attempt > self.claims[cell]]
        return any(self._newest_row(cell, attempt) is not None for attempt in newer)

    def _precedes_redo(self, cell: Cell) -> bool:
        """Whether the cell was set aside for a redo after this attempt was queued: what it has counts for nothing."""
        return max(self.store.redos(cell.name), default=-1) >= self.submission

    def _winner(self, cell: Cell) -> dict[str, Any] | None:
        """The result that has a cell's place. None: it was no whole one and is set aside, so the place is free."""
        if damage := published.set_damaged_aside(self.store.paths, cell):
            self.log(cell, damage)
            return None
        try:
            return self.store.result(cell)
        except SweepError:
            return None  # damaged this moment

    def _compare(self, cell: Cell, record: Mapping[str, Any], winner: Mapping[str, Any]) -> None:
        if winner.get("config_digest") == record["config_digest"] and (
            winner.get("outcome_digest") == record["outcome_digest"]
        ):
            self.log(cell, "another attempt had published the same outcome")
            return
        conflict = {"pack": self.number, "outcome": dict(record), "published": winner.get("outcome_digest")}
        published.keep_conflict(self.store.paths, cell, conflict)
        self.log(cell, "another attempt had published a different outcome: kept both, see conflict.json")

    def _drop_own_checkpoints(self) -> None:
        """Remove our generations but the last two, unless one has the only state of a cell.

        A newer attempt that claimed the cell takes it out of ours, and may have been killed before it restored it.
        """
        kept = set[str]()
        for number in sorted(self._saved_in, reverse=True):
            cells = self._saved_in[number]
            if self._generation - number >= KEPT_GENERATIONS and all(
                cell in kept or self.store.has_result(cell) for cell in cells
            ):
                files.remove(self.store.paths.generation_file(self.number, number))
                del self._saved_in[number]
            kept |= cells

    def _drop_earlier_checkpoints(self, saved: set[str]) -> None:
        """Earlier attempts' generations count as ours: two newer ones exist, so a third is not needed."""
        for pack in self._earlier_packs(self.claims):
            if self._needless(pack, saved):
                for path in self.store.paths.generations(pack):
                    files.remove(path)

    def _earlier_packs(self, cells: Mapping[Cell, int]) -> set[int]:
        found = set()
        for cell, own in cells.items():
            earlier = (self.store.pack_of(cell, attempt) for attempt in self.store.attempts(cell) if attempt < own)
            found |= {pack for pack in earlier if pack is not None}
        return found - {self.number}

    def _needless(self, pack: int, saved: set[str]) -> bool:
        """Whether every cell of a pack has a result or is among those saved elsewhere. Unknown cells: no."""
        names = self.store.cells_of(pack)
        return names is not None and all(name in saved or self.store.has_result(name) for name in names)


def _config(sweep: Sweep, cell: Cell) -> dict[str, Any]:
    """What a cell's config.json says: all that decides its numbers."""
    description = {**_factor_fields(sweep, cell), "seed": cell.seed, "run_id": cell.run_id}
    return {"cell": cell.name, **description, "config_digest": sweep.config_digest, **sweep.identity()}


def _redone(store: Store, cell: Cell) -> dict[str, Any]:
    """What a result says of those before it that were set aside; nothing where there was none."""
    kept = ("status", "outcome_digest")
    found = [{"redo": redo, **{key: result[key] for key in kept}} for redo, result in store.redone_results(cell)]
    return {"redone": found} if found else {}


def _factor_fields(sweep: Sweep, cell: Cell) -> dict[str, Any]:
    return {sweep.trainer.field_of(name): value for name, value in cell.point}
