"""Running one task's cells: what is still to do, the trainer's call, and what its end means for each cell."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpc import protocol, provenance
from hpc.errors import SweepError
from hpc.node import workers
from hpc.node.attempt import PackAttempt
from hpc.node.giving_up import Futile, futile
from hpc.node.output import drop_empty, redirect_output
from hpc.node.saving import StorageTroubleError
from hpc.node.training_run import TrainingRun
from hpc.processes import start_time
from hpc.protocol import TaskExit
from hpc.storage.permissions import check_private
from hpc.storage.published import set_damaged_aside
from hpc.storage.store import Store
from hpc.storage.task_list import read_task
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep
from hpc.trainers import data
from hpc.trainers.loading import load_function
from hpc.trainers.snapshot import user_code

# Errors of a file system, whoever meets them: a trainer whose output goes to a full disk has done nothing wrong.
_STORAGE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ESTALE}


@dataclass
class PackTask:
    """One task: the cells of one line of a submission's task list.

    own_log: send this process's output to the pack's log file (a worker), or leave it where it is (a person watches).
    beside: how many processes train cells of the task side by side, this one included.
    place: number of the array and index in it, where the task has them; leads from an attempt to its task's log.
    """

    store: Store
    sweep: Sweep
    cells: Sequence[Cell]
    submission: int
    stop: Callable[[], bool]
    device: str = "cpu"
    threads: int = 1
    own_log: bool = True
    place: tuple[int, int] | None = None
    beside: int = 1

    @classmethod
    def from_list(cls, store: Store, submission: int, array: int, index: int, stop: Callable[[], bool]) -> PackTask:
        """The task that line ``index`` of a submission's list describes. Raises SweepError, OSError."""
        check_private(store.root)
        cells = read_task(store.paths.tasks_file(submission, array), index)
        device = os.environ.get(protocol.DEVICE, "cpu")
        threads = int(os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get(protocol.THREADS) or 1)
        place, beside = (array, index), workers.beside()
        return cls(store, store.sweep(), cells, submission, stop, device, threads, place=place, beside=beside)

    def run(self) -> int:
        """Train what is still to do. Returns TaskExit.DONE, FAILED (a cell failed) or STOPPED (saved, run it again)."""
        cells = [cell for cell in self.cells if self._to_do(cell)]
        if not cells:
            return TaskExit.DONE
        self._check_data()
        train = self._load()
        if train is None:
            return self._fail_all(cells)
        shared = self.sweep.trainer.pack_mode != "sequential"
        past = {cell: futile(self.store, cell, shared) for cell in cells}
        left = self._give_up_hopeless(past)
        alone = [[cell] for cell in left if past[cell].split]
        with self._mirror(left):
            ended = self._run_packs(train, [[cell for cell in left if [cell] not in alone], *alone])
        if TaskExit.STOPPED in ended:
            return TaskExit.STOPPED
        return TaskExit.FAILED if TaskExit.FAILED in ended or len(left) < len(cells) else TaskExit.DONE

    def _mirror(self, cells: list[Cell]) -> contextlib.AbstractContextManager[None]:
        """W&B beside the training, in a process of its own, if the configuration asks for it."""
        if not self.sweep.wandb.get("log_to_wandb"):
            return contextlib.nullcontext()
        from hpc.wandb.mirror import mirrored

        return mirrored(self.store, self.sweep, cells, self.stop)

    def _give_up_hopeless(self, past: Mapping[Cell, Futile]) -> list[Cell]:
        """Record as failed the cells that were killed again and again without progress. Returns the others."""
        hopeless = [cell for cell in past if past[cell].hopeless]
        if hopeless:
            _, run = self._begin(hopeless)
            for cell in hopeless:
                run.give_up(cell, past[cell].cause, "")
        return [cell for cell in past if cell not in hopeless]

    def _run_packs(self, train: Callable[..., None], packs: Sequence[list[Cell]]) -> list[int]:
        """One pack after another, as long as nobody asks to stop. Returns how each ended."""
        ended: list[int] = []
        for pack in packs:
            cells = [cell for cell in pack if self._to_do(cell)]
            if cells and self.stop():
                return [*ended, TaskExit.STOPPED]  # without claims that would come to nothing
            if cells and self.sweep.trainer.pack_mode == "fused":
                ended.append(self._run_fused(train, cells))
            elif cells:
                ended.append(self._run_attempt(train, cells, lambda run: [[cell] for cell in run.unfinished()]))
        return ended

    def _run_fused(self, train: Callable[..., None], cells: list[Cell]) -> int:
        """All cells in one call; where that fails, in two halves, and so on, so that only the guilty ones fail.

        A pack that needs too much memory thus ends up as wide as fits.
        """
        if len(cells) == 1:
            return self._run_attempt(train, cells, lambda run: [run.unfinished()])
        try:
            return self._run_attempt(train, cells, lambda run: [run.unfinished()], blame=False)
        except StorageTroubleError:
            raise
        except (Exception, SystemExit):
            traceback.print_exc()
        gc.collect()  # the failed attempt's arrays must not take the room of the next one
        left = [cell for cell in cells if self._to_do(cell)]
        halves = [half for half in (left[: len(left) // 2], left[len(left) // 2 :]) if half]
        print(f"the pack of {len(cells)} failed; trained next in {list(map(len, halves))}", file=sys.stderr, flush=True)
        if TaskExit.STOPPED in self._run_packs(train, halves):
            return TaskExit.STOPPED
        return TaskExit.FAILED if any(self._failed_here(cell) for cell in cells) else TaskExit.DONE

    def _run_attempt(
        self,
        train: Callable[..., None],
        cells: list[Cell],
        calls: Callable[[TrainingRun], list[list[Cell]]],
        blame: bool = True,
    ) -> int:
        """One pack attempt. calls: the groups of cells handed to the trainer, one call each.

        blame: record an exception as the cells' failure; otherwise let it out.
        """
        attempt, run = self._begin(cells)
        try:
            failed = self._hand_over(train, calls(run), run, blame)
        except StorageTroubleError:
            attempt.retract_progress()
            raise
        attempt.end()
        if run.unfinished():
            run.note_stop()
            return TaskExit.STOPPED
        if self.own_log:
            drop_empty(self.store.paths.pack_log(attempt.number))
        return TaskExit.FAILED if failed or any(self._failed_here(cell) for cell in cells) else TaskExit.DONE

    def _hand_over(
        self, train: Callable[..., None], groups: Sequence[list[Cell]], run: TrainingRun, blame: bool
    ) -> bool:
        """Call the trainer for each group until asked to stop. Returns whether a cell failed."""
        failed = False
        for group in groups:
            if run.stop:
                break
            run.hand_over(group)
            try:
                train(group, self.sweep.options, run)
                run.check_storage()
            except StorageTroubleError:
                raise
            except (Exception, SystemExit) as error:  # a trainer that calls sys.exit has not finished its cells
                run.check_storage()
                self._check_disk(error)
                if self.stop():  # what a stop signal did to the trainer's helpers is no fault of the cell
                    traceback.print_exc()
                    break
                if not blame:
                    raise
                traceback.print_exc()
                self._blame(run, group, error)
                failed = True
            else:
                failed |= self._expect_ended(run, group)
        return failed

    def _check_disk(self, error: BaseException) -> None:
        if isinstance(error, OSError) and error.errno in _STORAGE_ERRORS:
            where = error.filename or self.store.root
            raise StorageTroubleError(f"{where}: {error.strerror}") from error

    def _begin(self, cells: list[Cell]) -> tuple[PackAttempt, TrainingRun]:
        pid = os.getpid()
        about: dict[str, Any] = {
            "pid": pid,
            "began": start_time(pid),
            "node": provenance.node(),
            "job": provenance.job(),
        }
        about["task"] = list(self.place) if self.place else None
        if self.beside > 1:
            about["side_by_side"] = self.beside
        attempt = PackAttempt.begin(self.store, self.sweep, cells, self.submission, about)
        if self.own_log:
            redirect_output(self.store.paths.pack_log(attempt.number))
        facts = {
            "node": provenance.node(),
            "device": self.device,
            "threads": self.threads,
            "versions": provenance.versions(),
            "code_digest": os.environ.get(protocol.CODE_DIGEST),
            "git": self.store.commits(),
            "job": provenance.job(),
        }
        run = TrainingRun(attempt, stop_requested=self.stop, device=self.device, threads=self.threads, provenance=facts)
        return attempt, run

    def _check_data(self) -> None:
        """Raise SweepError unless the data is what the sweep was planned with."""
        if found := data.fault(self.sweep):
            raise SweepError(found)

    def _to_do(self, cell: Cell) -> bool:
        """Whether a cell still needs training: it has no result, and did not fail in this very submission.

        Raises SweepError for a result of another configuration: training could never take its place.
        """
        if damage := set_damaged_aside(self.store.paths, cell):
            print(damage, file=sys.stderr)
            return True
        result = self.store.result(cell)
        if result is None:
            return not self._failed_here(cell)
        if result["config_digest"] == self.sweep.config_digest:
            return False
        path = self.store.paths.result_file(cell)
        raise SweepError(f"{path}: a result of another configuration; move it away if this sweep is to make its own")

    def _failed_here(self, cell: Cell) -> bool:
        attempts = self.store.attempts(cell)
        failure = self.store.failure(cell, attempts[-1]) if attempts else None
        return failure is not None and failure.get("submission") == self.submission

    def _load(self) -> Callable[..., None] | None:
        """The trainer's function, from the submission's snapshot if it has one; None if it cannot be imported."""
        try:
            return load_function(user_code(self.sweep.trainer))
        except (Exception, SystemExit):
            self._load_error = traceback.format_exc()
            return None

    def _fail_all(self, cells: list[Cell]) -> int:
        _, run = self._begin(cells)
        last_line = self._load_error.strip().splitlines()[-1]
        print(self._load_error, file=sys.stderr)
        for cell in cells:
            run.give_up(
                cell, f"the trainer {self.sweep.trainer.target} cannot be loaded: {last_line}", self._load_error
            )
        return TaskExit.FAILED

    def _blame(self, run: TrainingRun, group: list[Cell], error: BaseException) -> None:
        text = "".join(traceback.format_exception(error))
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        for cell in group:
            if cell in run.unfinished():
                run.give_up(cell, cause, text)

    def _expect_ended(self, run: TrainingRun, group: list[Cell]) -> bool:
        """A trainer that returns without being asked to stop must have ended its cells. Returns whether one failed."""
        left = [cell for cell in group if cell in run.unfinished()]
        if run.stop or not left:
            return False
        for cell in left:
            run.give_up(cell, "the trainer returned without finishing this cell; call run.finish or run.fail", "")
        return True
