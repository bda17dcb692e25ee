"""The files of one attempt at one pack: claims, private checkpoints, results published exactly once.

Nothing here excludes another live copy of the same cells, and nothing depends on that: attempts write to directories
of their own, the first result wins, and training is deterministic. Looking for newer claims only bounds waste.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from hpc.errors import OutdatedError, SweepError
from hpc.files import atomic, logs
from hpc.node.generations import Generations
from hpc.processes import host
from hpc.provenance import node
from hpc.storage import published
from hpc.storage.checkpoint import SavedCell
from hpc.storage.claims import new_attempt, new_pack
from hpc.storage.named_files import CONFIG, HISTORY, WEIGHTS, described
from hpc.storage.results import CELL_DIGEST
from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep
from hpc.sweep.outcome import Outcome

# A result that is damaged again and again right after it was set aside is no accident.
_MOST_DAMAGED = 3


class PackAttempt:
    """A pack attempt that this process has begun; the only writer of its directory.

    only_repeats: whether it has saved states, and none of them is further than the one it restored.
    """

    def __init__(
        self, store: Store, sweep: Sweep, number: int, claims: Mapping[Cell, int], record: Mapping[str, Any]
    ) -> None:
        self.store = store
        self.sweep = sweep
        self.number = number
        self.claims = dict(claims)
        self.submission: int = record["submission"]
        self._record = dict(record)
        self._generations = Generations(store, sweep, number, self.claims, self.log)
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
        record["nonce"] = atomic.new_token()
        atomic.publish(store.paths.pack_file(number), json.dumps(record, indent=1).encode())
        claims = {}
        for cell in cells:
            claims[cell] = new_attempt(store, cell)
            pointer = json.dumps({"pack": number}).encode()
            atomic.publish(store.paths.pointer_file(cell, claims[cell]), pointer)
            published.write_config(store.paths, cell, _config(sweep, cell))
        return cls(store, sweep, number, claims, record)

    # --- checkpoints ----------------------------------------------------------------------------------------------

    def save(self, rows: Sequence[SavedCell]) -> None:
        """Publish one generation and drop those of which each cell has two newer ones. Raises OSError; older ones stay.

        Raises OutdatedError as _check_ours() does.
        """
        self._check_ours()
        self._generations.write(rows)
        # With a cell's second state here, earlier attempts' are the third; with one alone they are the other.
        # While this attempt only repeats what it restored, those show that training did get somewhere (giving_up.py).
        if not self.only_repeats:
            self._generations.drop_earlier()

    def restore(self, cell: Cell, code: str | None = None) -> SavedCell | None:
        """See Generations.restore()."""
        return self._generations.restore(cell, code)

    def superseded(self, cells: Sequence[Cell]) -> frozenset[Cell]:
        """Cells that have a result or were redone, or of which a newer attempt has saved a state.

        A newer claim alone is no reason to drop a cell: its process may have ended right after it, and then nobody
        would train the cell, and what is not saved here would be lost.
        """
        return frozenset(
            cell
            for cell in cells
            if self.store.has_result(cell.name) or self._precedes_redo(cell) or self._generations.saved_by_newer(cell)
        )

    def report_progress(
        self, progress: Mapping[str, tuple[int, int]], ended: str = "", curves: Mapping[str, Any] | None = None
    ) -> None:
        """Say how far each cell handed to the trainer is: {name: (epoch, of)}, and if so, why the attempt ended early.

        curves: ``metric`` and the ``curves`` of cells by name, for whoever watches.
        Advisory: failing to write it harms nothing. But giving_up.py counts by it, so an attempt whose directory was
        made anew leaves the other one's report alone: each report, about one a second at most, costs a small read.
        """
        record = {"cells": progress, "at": time.time(), **({"ended": ended} if ended else {})}
        record |= {"repeats": True} if self.only_repeats else {}
        record |= curves or {}
        with contextlib.suppress(OSError):
            if not self._is_ours():
                return
            atomic.publish(
                self.store.paths.progress_file(self.number), json.dumps(record).encode(), durable=bool(ended)
            )
            self._keep_facts(handed_over=list(progress), repeats=self.only_repeats)

    def retract_progress(self) -> None:
        """Take the report back: where files cannot be written, nothing counts against a cell. A full disk can do it."""
        with contextlib.suppress(OSError):
            if self._is_ours():
                atomic.remove(self.store.paths.progress_file(self.number))

    # --- ends -----------------------------------------------------------------------------------------------------

    def publish(self, cell: Cell, outcome: Outcome, provenance: Mapping[str, Any]) -> bool:
        """Publish a cell's outcome unless it has one; the first wins. Returns whether ours is the result.

        A different outcome of another attempt is kept beside it as a conflict, never overwritten or dropped, also where
        there is no room for its files.
        Raises OSError; OutdatedError as _check_ours() does.
        """
        self._check_ours()
        if self._precedes_redo(cell):
            self.log(cell, "its result was set aside for a redo since this attempt was queued: the outcome is dropped")
            return False
        record = {**_factor_fields(self.sweep, cell), **outcome.to_json(cell, self.sweep.config_digest)}
        record[CELL_DIGEST] = self.sweep.cell_digest(cell)
        try:
            winner = self._publish(cell, outcome, record, provenance)
        except OSError:
            self._keep_if_other(cell, record)
            raise
        if winner is None:
            return True
        self._compare(cell, record, winner)
        return False

    def _publish(
        self, cell: Cell, outcome: Outcome, record: Mapping[str, Any], provenance: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """Give the result its name, after its files. Returns the one that has it already, empty if that is damaged."""
        # The files first and the result last: where there is a result, all it names is on disk under our own names.
        paths = self.store.paths
        beside = {HISTORY: described(HISTORY, outcome.history_csv)}
        atomic.publish(paths.private_history(self.number, cell), outcome.history_csv)
        if outcome.weights is not None and self.sweep.keep["weights"] != "none":
            atomic.publish(paths.private_weights(self.number, cell), outcome.weights)
            beside[WEIGHTS] = described(WEIGHTS, outcome.weights)
        # Before the result, which names it: the cell's last attempt may have been one of another configuration.
        config = published.write_config(paths, cell, _config(self.sweep, cell))
        beside[CONFIG] = described(CONFIG, config)
        full = {"attempts": self.claims[cell], "pack": self.number, "submission": self.submission, "files": beside}
        full |= {**_redone(self.store, cell), **provenance}
        result = {**record, "provenance": full}
        data = json.dumps(result, indent=1, allow_nan=False).encode()
        winner = None
        for _ in range(_MOST_DAMAGED):
            self._check_ours()  # again: weights may take minutes to be written
            if atomic.publish_once(paths.result_file(cell), data):
                published.link_outcome(paths, cell, result)
                return None
            if (winner := self._winner(cell)) is not None:
                break
        return winner or {}

    def fail(self, cell: Cell, cause: str, traceback: str, at_start: bool = False, given_up: bool = False) -> None:
        """Record that this attempt at a cell ended with an error; or, given_up, that those before it came to nothing.

        at_start: before anything was trained; where that happens on one node only, the node is to blame.
        Raises OSError; OutdatedError as _check_ours() does.
        """
        self._check_ours()
        record = {"cause": cause, "traceback": traceback, "submission": self.submission, "host": host()}
        record |= {"node": node(), "at_start": at_start, **({"given_up": True} if given_up else {})}
        path = self.store.paths.failure_file(cell, self.claims[cell])
        atomic.publish(path, json.dumps(record, indent=1).encode())

    def end(self) -> None:
        """Remove the checkpoints that nothing can need any more: of packs all of whose cells have results."""
        if not self.sweep.keep.get("checkpoints"):
            self._generations.remove_needless()

    def log(self, cell: Cell, text: str) -> None:
        """A line for people in the cell's own log. It must never stop training."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        with contextlib.suppress(OSError):
            logs.append(self.store.paths.log_file(cell), f"{stamp} attempt {self.claims[cell]}: {text}\n")

    # --- inside ---------------------------------------------------------------------------------------------------

    def _check_ours(self) -> None:
        """Raise OutdatedError unless this attempt's directory is the one that it made. Raises OSError.

        Where a sweep directory is removed and made anew while a task trains, numbers begin again: ours may then be that
        of an attempt by other code, which would resume our states or find our outcome in the place of its own.
        """
        if not self._is_ours():
            path = self.store.paths.pack_file(self.number)
            raise OutdatedError(f"{path}: was removed, or made anew, while its task trained; submit again")

    def _is_ours(self) -> bool:
        """By the word in pack.json: the file system gives inodes, and we give numbers, out again."""
        return self.store.pack_record(self.number).get("nonce") == self._record.get("nonce")

    def _keep_facts(self, **facts: Any) -> None:
        """Have on disk in pack.json, where it is new, what giving_up.py needs of a report.

        Reports themselves are too many to be synced, and a node that a trainer takes down may leave the last one empty.
        After the report: with the synced directory, its name is on disk, too.
        """
        if not facts.items() <= self._record.items():
            record = self._record | facts
            atomic.publish(self.store.paths.pack_file(self.number), json.dumps(record, indent=1).encode())
            self._record = record

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
        if _is_same(record, winner):
            self.log(cell, "another attempt had published the same outcome")
        else:
            self._keep_beside(cell, record, winner)

    def _keep_beside(self, cell: Cell, record: Mapping[str, Any], winner: Mapping[str, Any]) -> None:
        """Keep an outcome that is not the published one. Raises OSError, which then says what is lost."""
        paths = self.store.paths
        beside = (paths.private_weights(self.number, cell), paths.private_history(self.number, cell))
        conflict = {"pack": self.number, "outcome": dict(record), "published": winner.get("outcome_digest")}
        try:
            published.keep_conflict(paths, cell, conflict, needless=beside)
        except OSError as error:
            lost = f"{cell.name} ended otherwise than published, which cannot be kept: {json.dumps(record['metrics'])}"
            raise OSError(error.errno, f"{error.strerror}; {lost}", error.filename) from None
        self.log(cell, "another attempt had published a different outcome: kept both, see conflict.json")

    def _keep_if_other(self, cell: Cell, record: Mapping[str, Any]) -> None:
        """Keep an outcome whose files could not be written, if the cell has another one: nobody would train it again.

        Raises OSError as _keep_beside() does.
        """
        try:
            self._check_ours()
            winner = self._winner(cell)
        except (OSError, OutdatedError):
            return
        if winner is not None and not _is_same(record, winner):
            self._keep_beside(cell, record, winner)


def _is_same(record: Mapping[str, Any], winner: Mapping[str, Any]) -> bool:
    """Whether a cell's published result says what this outcome does."""
    own = record[CELL_DIGEST]  # which results of earlier versions do not say
    same = all(winner.get(key) == record[key] for key in ("config_digest", "outcome_digest"))
    return same and bool(winner.get(CELL_DIGEST, own) == own)


def _config(sweep: Sweep, cell: Cell) -> dict[str, Any]:
    """What a cell's config.json says: all that decides its numbers."""
    description = {**_factor_fields(sweep, cell), "seed": cell.seed, "run_id": cell.run_id}
    digests = {"config_digest": sweep.config_digest, CELL_DIGEST: sweep.cell_digest(cell)}
    settings = {"levels": found} if (found := sweep.settings_of(cell)) else {}
    return {"cell": cell.name, **description, **digests, **settings, **sweep.identity()}


def _redone(store: Store, cell: Cell) -> dict[str, Any]:
    """What a result says of those before it that were set aside; nothing where there was none."""
    kept = ("status", "outcome_digest")
    found = [{"redo": redo, **{key: result[key] for key in kept}} for redo, result in store.redone_results(cell)]
    return {"redone": found} if found else {}


def _factor_fields(sweep: Sweep, cell: Cell) -> dict[str, Any]:
    return {sweep.trainer.field_of(name): value for name, value in cell.point}
