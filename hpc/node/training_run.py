"""The run object a trainer gets: the contract of training/contract.py over one pack attempt."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from hpc import processes
from hpc.node.attempt import PackAttempt
from hpc.node.books import Book, mixture
from hpc.node.saving import BACKGROUND_BYTES, Saving
from hpc.storage.checkpoint import SavedCell
from hpc.sweep.cell import Cell
from training.contract import Checkpoint, ContractError
from training.contract import UnfitNodeError as UnfitNodeError  # the one that trainers import: failures.py asks for it

# For people who watch; a file a second is nothing to a file server, and epochs may take milliseconds.
_PROGRESS_SECONDS = 1.0


class TrainingRun:
    """Implements training.contract.Run for the cells of one pack attempt: checks what a trainer says, and acts on it.

    What is known of each cell is in its book (hpc.node.books), how checkpoints are written in hpc.node.saving.

    >>> run = TrainingRun(attempt, stop_requested=stop, device="cpu", threads=1, provenance={})
    >>> run.hand_over(cells)                      # from here on the attempt counts
    >>> train(cells, sweep.options, run)          # restore, epoch, save, finish, as the trainer likes
    >>> run.check_storage()                       # nothing is under way any more, and nothing has failed
    >>> run.unfinished()                          # what is left was saved: a later attempt resumes it
    """

    def __init__(
        self,
        attempt: PackAttempt,
        *,
        stop_requested: Callable[[], bool],
        device: str,
        threads: int,
        provenance: Mapping[str, Any],
    ) -> None:
        self._attempt = attempt
        self._sweep = attempt.sweep
        self._stop_requested = stop_requested
        self._device = device
        self._threads = threads
        self._provenance = dict(provenance)
        self._live = set(attempt.claims)
        self._books = {cell: Book(cell, self._sweep) for cell in attempt.claims}
        self._named = {cell.name: cell for cell in attempt.claims}
        self._numerics: dict[str, str | int] = {}
        self._handed_over: set[Cell] = set()
        self._saving = Saving(self._sweep.checkpoint_seconds)
        self._last_progress = 0.0
        self._got_on = False  # whether anything was saved, or a cell ended, beyond what training resumed from

    # --- what a trainer asks --------------------------------------------------------------------------------------

    @property
    def stop(self) -> bool:
        return self._stop_requested() or not self._live or self._saving.in_trouble

    @property
    def config(self) -> Mapping[str, Any]:
        return self._sweep.sections

    @property
    def device(self) -> str:
        return self._device

    @property
    def threads(self) -> int:
        return self._threads

    def numerics(self, **facts: str | int) -> None:
        self._numerics = dict(facts)

    def checkpoint_due(self) -> bool:
        return self._saving.due()

    def stopped_early(self, cell: Any) -> bool:
        self._check_live(cell)
        return self._books[cell].stops

    def restore(self, cell: Any) -> Checkpoint | None:
        self._check_live(cell)
        book = self._books[cell]
        book.asked = True
        row = self._saved(cell)
        if row is None:
            self._attempt.log(cell, "started from the beginning")
            return None
        book.resume(row)
        self._handed_over.add(cell)
        self._attempt.log(cell, f"restored at step {row.step}, epoch {len(row.history)}")
        return Checkpoint(step=row.step, arrays=row.arrays, values=row.values)

    # --- what a trainer tells -------------------------------------------------------------------------------------

    def save(self, checkpoints: Mapping[Any, Checkpoint]) -> frozenset[Any]:
        """See training.contract.Run. Raises ContractError, TroubleError."""
        for cell in checkpoints:
            self._check_live(cell)
            self._check_asked(cell)
        dropped: frozenset[Any] = self._saving.guard(lambda: self._attempt.superseded(list(checkpoints)))
        self._drop(dropped)
        rows = [self._row(cell, checkpoint) for cell, checkpoint in checkpoints.items() if cell not in dropped]
        beside = self._worth_a_thread(rows)
        if beside:
            rows = [row.copied() for row in rows]
        if rows:
            self._note_whether_it_gets_on(rows)
            self._saving.write(lambda: self._write(rows), beside)
        self._saving.restart_interval()
        self._report_progress(now=True)
        return dropped

    def epoch(self, cell: Any, epoch: int, of: int, metrics: Mapping[str, float]) -> None:
        """See training.contract.Run. Raises ContractError."""
        self._check_live(cell)
        self._check_asked(cell)
        self._books[cell].add_epoch(epoch, int(of), metrics)
        self._handed_over.add(cell)
        self._report_progress()

    def finish(
        self,
        cell: Any,
        metrics: Mapping[str, float | None],
        *,
        best_epoch: int | None = None,
        weights: Mapping[str, Any] | None = None,
        diverged: bool = False,
    ) -> None:
        """See training.contract.Run. Raises ContractError, TroubleError."""
        self._check_live(cell)
        outcome, absent = self._books[cell].outcome(metrics, best_epoch, weights, diverged)
        won = self._saving.guard(lambda: self._attempt.publish(cell, outcome, self._provenance_of(cell)))
        self._live.discard(cell)
        self._got_on, self._attempt.only_repeats = True, False
        if won:
            why = f", {absent} is not finite" if absent else ""
            why += f", stopped early: {self._sweep.stop_rule}" if outcome.stopped_early else ""
            self._attempt.log(cell, f"published: {outcome.status} after {outcome.epochs} epochs{why}")

    def fail(self, cell: Any, cause: str) -> None:
        self.give_up(cell, cause, "")

    # --- what the task asks ---------------------------------------------------------------------------------------

    def hand_over(self, cells: Sequence[Cell]) -> None:
        """Note that the trainer gets these cells now: from here on an attempt can come to nothing (giving_up.py)."""
        for cell in cells:  # one after another, if the trainer takes them so: those before it took no time of its own
            self._books[cell].began = time.monotonic()
        self._handed_over.update(cells)
        self._report_progress(now=True)

    def note_stop(self) -> None:
        """Note that this attempt ended early because it was asked to."""
        self._attempt.report_progress(self._progress(), ended="stopped")

    def give_up(self, cell: Cell, cause: str, traceback: str, for_good: bool = False) -> None:
        """Record a failed attempt at a cell, with the traceback if there is one.

        for_good: it is not this attempt that failed, but those before it came to nothing (giving_up.py).
        """
        self._check_live(cell)
        at_start = not self._books[cell].history
        self._saving.guard(lambda: self._attempt.fail(cell, cause, traceback, at_start, for_good))
        self._live.discard(cell)
        self._attempt.log(cell, f"failed: {cause}")

    def unfinished(self) -> list[Cell]:
        """Cells that have neither ended nor been dropped, in the pack's order."""
        return [cell for cell in self._attempt.claims if cell in self._live]

    def check_storage(self) -> None:
        """Raise TroubleError if a file operation failed or was refused, even if the trainer swallowed that.

        Waits for a checkpoint that is still being written.
        """
        self._saving.check()

    # --- inside ---------------------------------------------------------------------------------------------------

    def _progress(self) -> dict[str, tuple[int, int]]:
        return {cell.name: self._books[cell].progress for cell in self._books if cell in self._handed_over}

    def _curves(self) -> dict[str, Any]:
        """One metric of every cell in training, for whoever watches: a primary one if epochs report it."""
        books = {cell.name: self._books[cell] for cell in self._live if self._books[cell].history}
        wanted = [*self._sweep.analysis.get("primary_metrics", ()), *self._sweep.trainer.metrics]
        known = {name for book in books.values() for name in book.history[-1]}
        metric = next((name for name in wanted if name in known), "")
        return {"metric": metric, "curves": {name: b.curve(metric) for name, b in books.items()}} if metric else {}

    def _check_live(self, cell: Cell) -> None:
        if cell not in self._live:
            name = getattr(cell, "name", repr(cell))
            raise ContractError(f"{name}: this cell has ended or is not of this task; use the cells given to train()")

    def _check_asked(self, cell: Cell) -> None:
        """Training that begins again over a saved state was not meant: it would lose what was done, unnoticed."""
        book = self._books[cell]
        if book.asked:
            return
        book.asked = True
        row = self._saved(cell)
        if row is not None:
            raise ContractError(
                f"{cell.name}: its state at step {row.step} was not restored; call run.restore(cell) first"
            )

    def _row(self, cell: Cell, checkpoint: Checkpoint) -> SavedCell:
        return self._books[cell].row(checkpoint, self._code, self._numerics)

    @property
    def _code(self) -> str | None:
        return self._provenance.get("trainer_digest")

    def _saved(self, cell: Cell) -> SavedCell | None:
        """The state to go on from, if there is one."""
        found: SavedCell | None = self._saving.guard(lambda: self._attempt.restore(cell, self._code))
        return found

    def _worth_a_thread(self, rows: Sequence[SavedCell]) -> bool:
        """Whether training should go on meanwhile: not for small states, and not if there is no training to go on."""
        arrays = [array for row in rows for array in row.arrays.values()]
        under_way = any(callable(array) for array in arrays)
        size = sum(np.asarray(array).nbytes for array in arrays if not callable(array))
        worth = under_way or size >= BACKGROUND_BYTES
        return worth and not self.stop and not self._saving.every_state

    def _note_whether_it_gets_on(self, rows: Sequence[SavedCell]) -> None:
        """Before rows are saved: an attempt that saves only what it began with makes no progress (giving_up.py)."""
        before = self._attempt.only_repeats
        self._got_on |= not all(self._books[self._named[row.cell]].repeats(row.step) for row in rows)
        self._attempt.only_repeats = not self._got_on
        if before and self._got_on:  # killed right after the checkpoint, it must not count as one that did not
            self._report_progress(now=True)

    def _write(self, rows: Sequence[SavedCell]) -> None:
        self._attempt.save([row.arrived() for row in rows])
        for row in rows:
            self._attempt.log(self._named[row.cell], f"saved at step {row.step}, epoch {len(row.history)}")

    def _drop(self, cells: frozenset[Cell]) -> None:
        for cell in cells:
            self._live.discard(cell)
            self._attempt.log(cell, "dropped: a newer attempt has claimed it, or it has a result")

    def _report_progress(self, now: bool = False) -> None:
        if now or time.monotonic() - self._last_progress >= _PROGRESS_SECONDS:
            self._attempt.report_progress(self._progress(), curves=self._curves())
            self._last_progress = time.monotonic()

    def _provenance_of(self, cell: Cell) -> dict[str, Any]:
        book = self._books[cell]
        return {
            **self._provenance,
            "seconds": round(book.seconds, 3),
            "pack_size": len(self._attempt.claims),
            "peak_memory": processes.peak_memory(),
            "numerics": self._numerics,
            **({"restored_at_step": book.restored.step} if book.restored else {}),
            **mixture(book.lineage(self._code, self._numerics)),
        }
