"""Running one task's cells: which of them are still to do, in which packs, and what the ends of these come to."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from hpc import protocol
from hpc.errors import OutdatedError, SweepError
from hpc.node import failures, workers
from hpc.node.giving_up import Futile, futile
from hpc.node.saving import TroubleError
from hpc.node.stop import keep_children
from hpc.node.trial import Surroundings, Trial
from hpc.protocol import TaskExit
from hpc.storage.permissions import check_private
from hpc.storage.published import set_damaged_aside
from hpc.storage.results import foreign
from hpc.storage.revisions import codes_together
from hpc.storage.store import Store
from hpc.storage.task_list import ListedTask, read_task
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep
from hpc.trainers import data
from hpc.trainers.loading import load_function
from hpc.trainers.snapshot import trainer_digest, user_code


@dataclass
class PackTask:
    """One task: the cells of one line of a submission's task list, and where and for whom they are trained."""

    store: Store
    sweep: Sweep
    cells: Sequence[Cell]
    around: Surroundings

    def __post_init__(self) -> None:
        self._trial = Trial(self.store, self.sweep, self.around)

    @classmethod
    def from_list(cls, store: Store, submission: int, array: int, index: int, stop: Callable[[], bool]) -> PackTask:
        """The task that line ``index`` of a submission's list describes. Raises SweepError, OSError."""
        listed = read_task(store.paths.tasks_file(submission, array), index)
        check_private(store.root, [cell.name for cell in listed.cells])
        device = os.environ.get(protocol.DEVICE, "cpu")
        threads = int(os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get(protocol.THREADS) or 1)
        sweep = _queued_sweep(store, listed)
        around = Surroundings(
            submission,
            stop,
            device,
            threads,
            place=(array, index),
            array=os.environ.get(protocol.ARRAY, ""),
            beside=workers.beside(),
            code_digest=os.environ.get(protocol.CODE_DIGEST, ""),
        )
        return cls(store, sweep, listed.cells, around)

    def run(self) -> int:
        """Train what is still to do. Returns TaskExit.DONE, FAILED (a cell failed) or STOPPED (saved, run it again).

        Raises SweepError if all cells have results that are not theirs. One such does not keep the others waiting.
        """
        strangers = [reason for cell in self.cells if (reason := self._stranger(cell))]
        cells = [cell for cell in self.cells if self._to_do(cell)]
        if strangers and not cells:
            raise SweepError(strangers[-1])
        for reason in strangers:
            print(reason, file=sys.stderr)
        if not cells:
            return TaskExit.DONE
        try:
            self._check_data()
        except data.StoppedError:
            return self._stop_before_training(cells)
        train = self._load()
        if train is None:
            return self._fail_all(cells)
        past = self._past(cells)
        left = self._give_up_hopeless(past)
        alone = [[cell] for cell in left if past[cell].split]
        with self._mirror(left):
            ended = self._run_packs(train, [[cell for cell in left if [cell] not in alone], *alone])
        if TaskExit.STOPPED in ended:
            return TaskExit.STOPPED
        return TaskExit.FAILED if TaskExit.FAILED in ended or len(left) < len(cells) or strangers else TaskExit.DONE

    def _mirror(self, cells: list[Cell]) -> contextlib.AbstractContextManager[None]:
        """W&B beside the training, in a process of its own, if the configuration asks for it."""
        if not self.sweep.wandb.get("log_to_wandb"):
            return contextlib.nullcontext()
        from hpc.wandb.mirror import mirrored

        return mirrored(self.store, self.sweep, cells, self.around.stop)

    def _past(self, cells: list[Cell]) -> dict[Cell, Futile]:
        """What came to nothing lately, of each cell."""
        shared = self.sweep.trainer.pack_mode != "sequential"
        return {cell: futile(self.store, cell, shared) for cell in cells}

    def _stop_before_training(self, cells: list[Cell]) -> int:
        """End while the data is read: data that takes longer than a task has is given up for like a slow start."""
        left = self._give_up_hopeless(self._past(cells))
        if not left:
            return TaskExit.FAILED
        self._note_early_stop(left)
        return TaskExit.STOPPED

    def _give_up_hopeless(self, past: Mapping[Cell, Futile]) -> list[Cell]:
        """Record as failed the cells that were killed again and again without progress. Returns the others."""
        hopeless = [cell for cell in past if past[cell].hopeless]
        if hopeless:
            _, run = self._trial.begin(hopeless)
            for cell in hopeless:
                run.give_up(cell, past[cell].cause, "", for_good=True)
        return [cell for cell in past if cell not in hopeless]

    def _run_packs(self, train: Callable[..., None], packs: Sequence[list[Cell]]) -> list[int]:
        """One pack after another, as long as nobody asks to stop. Returns how each ended."""
        ended: list[int] = []
        for pack in packs:
            cells = [cell for cell in pack if self._to_do(cell)]
            if cells and self.around.stop():
                if not ended:
                    self._note_early_stop(cells)
                return [*ended, TaskExit.STOPPED]
            if cells and self.sweep.trainer.pack_mode == "fused":
                ended.append(self._run_fused(train, cells))
            elif cells:
                ended.append(self._trial.run(train, cells, lambda run: [[cell] for cell in run.unfinished()]))
        return ended

    def _note_early_stop(self, cells: list[Cell]) -> None:
        """Leave word that the task was stopped before it could begin: a task must not be requeued so for ever."""
        _, run = self._trial.begin(cells)
        run.hand_over(cells)
        run.note_stop()

    def _run_fused(self, train: Callable[..., None], cells: list[Cell]) -> int:
        """All cells in one call; where that fails, in two halves, and so on, so that only the guilty ones fail.

        A pack that needs too much memory thus ends up as wide as fits.
        """
        if len(cells) == 1:
            return self._trial.run(train, cells, lambda run: [run.unfinished()])
        try:
            return self._trial.run(train, cells, lambda run: [run.unfinished()], blame=False)
        except (TroubleError, OutdatedError):
            raise
        except (Exception, SystemExit):
            traceback.print_exc()
        gc.collect()  # the failed attempt's arrays must not take the room of the next one
        left = [cell for cell in cells if self._to_do(cell)]
        halves = [half for half in (left[: len(left) // 2], left[len(left) // 2 :]) if half]
        print(f"the pack of {len(cells)} failed; trained next in {list(map(len, halves))}", file=sys.stderr, flush=True)
        if TaskExit.STOPPED in self._run_packs(train, halves):
            return TaskExit.STOPPED
        return TaskExit.FAILED if failures.any_failed_in(self.store, cells, self.around.submission) else TaskExit.DONE

    def _check_data(self) -> None:
        """Raise SweepError unless the data is what the sweep was planned with; StoppedError if asked to stop."""
        if found := data.fault(self.sweep, self.around.stop):
            raise SweepError(found)

    def _stranger(self, cell: Cell) -> str:
        """Why training could never publish a cell's result: another one that is not its own has the place. Or nothing.

        A result that cannot be believed is set aside before.
        """
        if damage := set_damaged_aside(self.store.paths, cell):
            print(damage, file=sys.stderr)
        result = self.store.result(cell)
        if result is None or not (reason := foreign(result, cell, self.sweep)):
            return ""
        path = self.store.paths.result_file(cell)
        if result["config_digest"] != self.sweep.config_digest:
            reason = "a result of another configuration"
        return f"{path}: {reason}; move it away if this sweep is to make its own"

    def _to_do(self, cell: Cell) -> bool:
        """Whether a cell still needs training: it has no result, did not fail in this very submission, and has not been
        set aside since for a redo, which takes a submission of its own.
        """
        if self.store.has_result(cell.name) or failures.failed_in(self.store, cell, self.around.submission):
            return False
        return max(self.store.redos(cell.name), default=-1) < self.around.submission

    def _load(self) -> Callable[..., None] | None:
        """The trainer's function, from the submission's snapshot if it has one; None if it cannot be imported."""
        code = user_code(self.sweep.trainer)
        keep_children()
        try:
            train = load_function(code)
        except (Exception, SystemExit):
            self._load_error = traceback.format_exc()
            return None
        self._trial = replace(self._trial, trainer_digest=trainer_digest(code))
        self._check_code()
        return train

    def _check_code(self) -> None:
        """Raise OutdatedError if the code was corrected since the task was queued, which it does not train."""
        *before, now = codes_together(self.store.manifest()["revisions"])
        ours = self._trial.trainer_digest
        # Where a node's Python finds other files to count, ours is none of those on record, and nothing is known.
        if ours not in now and any(ours in codes for codes in before):
            raise OutdatedError(
                f"{self.store.paths.sweep_file}: the code of {self.sweep.trainer.target} was changed after this task "
                "was queued; submit again"
            )

    def _fail_all(self, cells: list[Cell]) -> int:
        _, run = self._trial.begin(cells)
        last_line = self._load_error.strip().splitlines()[-1]
        print(self._load_error, file=sys.stderr)
        cause = f"the trainer {self.sweep.trainer.target} cannot be loaded: {last_line}"
        failures.blame(run, cells, cause, self._load_error)
        return TaskExit.FAILED


def _queued_sweep(store: Store, listed: ListedTask) -> Sweep:
    """What a task is to train: the newest revision or, where a group shares the directory, the very one that it was
    queued for, since any member could have changed another one. Raises OutdatedError, SweepError.
    """
    newest = store.sweep()
    _check_unchanged(store, newest, listed)
    wanted = os.environ.get(protocol.SWEEP_DIGEST, "")
    if not wanted:
        return newest
    queued = store.queued_sweep(wanted)
    if queued is None:
        raise OutdatedError(
            f"{store.paths.sweep_file}: what this task was queued for was changed since, or taken out; submit again"
        )
    _check_unchanged(store, queued, listed)
    return queued


def _check_unchanged(store: Store, sweep: Sweep, listed: ListedTask) -> None:
    """Raise OutdatedError if the sweep is not the one any more that a task's cells were queued for.

    A correction in between would train something else, or under another name, than what sweep.json now says.
    """
    queued_for = {listed.config_digest, os.environ.get(protocol.CONFIG_DIGEST, "")}
    gone = next((cell for cell in listed.cells if cell not in sweep.grid), None)
    changed = not queued_for <= {"", sweep.config_digest}
    if gone is None and listed.cell_digests:
        changed |= listed.cell_digests != tuple(map(sweep.cell_digest, listed.cells))
    if changed or gone:
        what = "the configuration" if changed or gone is None else f"the grid or the seed of {gone.name}"
        raise OutdatedError(f"{store.paths.sweep_file}: {what} was changed after this task was queued; submit again")
