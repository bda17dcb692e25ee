"""One attempt at a pack: begun, on record with its surroundings, the trainer called for its cells, and how it ended."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpc import provenance
from hpc.files import atomic, logs
from hpc.node import failures
from hpc.node.attempt import PackAttempt
from hpc.node.saving import TroubleError
from hpc.node.training_run import TrainingRun
from hpc.paths import origin
from hpc.processes import start_time
from hpc.protocol import TaskExit
from hpc.storage.store import Store
from hpc.storage.task_list import check_array
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep

Train = Callable[..., None]


@dataclass(frozen=True)
class Surroundings:
    """Where and for whom a task trains; each of its attempts has it on record.

    own_log: send this process's output to the attempt's log (a worker), or leave it where it is (a person watches).
    place: number of the array and index in it, where the task has them; leads from an attempt to its task's log.
    array: the array's unique name, where the task was told it.
    beside: how many processes train cells of the task side by side, this one included.
    code_digest: of the snapshot that holds the code; empty if there is none.
    """

    submission: int
    stop: Callable[[], bool]
    device: str = "cpu"
    threads: int = 1
    own_log: bool = True
    place: tuple[int, int] | None = None
    array: str = ""
    beside: int = 1
    code_digest: str = ""

    def check_array(self, store: Store) -> None:
        """Raise OutdatedError if the sweep directory was made anew since the task began. Raises OSError."""
        if self.array and self.place:
            check_array(store.paths, self.submission, self.place[0], self.array)

    def of_process(self) -> dict[str, Any]:
        """For pack.json: labels for people, and what tells this process from others."""
        pid = os.getpid()
        return {
            "pid": pid,
            "began": start_time(pid),
            "node": provenance.node(),
            "job": provenance.job(),
            "task": list(self.place) if self.place else None,
            **({"side_by_side": self.beside} if self.beside > 1 else {}),
        }

    def of_training(self, store: Store, trainer_digest: str | None) -> dict[str, Any]:
        """For the provenance of results."""
        return {
            "node": provenance.node(),
            "device": self.device,
            "threads": self.threads,
            "versions": provenance.versions(),
            "code_digest": self.code_digest or None,
            "trainer_digest": trainer_digest,
            "git": store.commits(),
            "job": provenance.job(),
        }


@dataclass(frozen=True)
class Trial:
    """How a task tries packs: everything about an attempt but its cells. trainer_digest: of the code that trains."""

    store: Store
    sweep: Sweep
    around: Surroundings
    trainer_digest: str | None = None

    def begin(self, cells: list[Cell]) -> tuple[PackAttempt, TrainingRun]:
        """Claim the cells; from here on what this process says goes to the attempt's log.

        Raises OutdatedError if the directory is not the one any more that the task was queued for, OSError.
        """
        around = self.around
        around.check_array(self.store)  # the task may have had an attempt before, and that one time
        attempt = PackAttempt.begin(
            self.store, self.sweep, cells, around.submission, around.of_process() | origin(self.store.root)
        )
        if around.own_log:
            redirect_output(self.store.paths.pack_log(attempt.number))
        facts = around.of_training(self.store, self.trainer_digest)
        return attempt, TrainingRun(
            attempt, stop_requested=around.stop, device=around.device, threads=around.threads, provenance=facts
        )

    def run(
        self,
        train: Train,
        cells: list[Cell],
        calls: Callable[[TrainingRun], list[list[Cell]]],
        blame: bool = True,
    ) -> int:
        """One pack attempt. calls: the groups of cells handed to the trainer, one call each.

        blame: record an exception as the cells' failure; otherwise let it out.
        """
        attempt, run = self.begin(cells)
        try:
            failed = self._hand_over(train, calls(run), run, blame)
        except TroubleError:
            attempt.retract_progress()
            raise
        attempt.end()
        if run.unfinished():
            run.note_stop()
            return TaskExit.STOPPED
        if self.around.own_log:
            drop_empty(self.store.paths.pack_log(attempt.number))
        failed |= failures.any_failed_in(self.store, cells, self.around.submission)
        return TaskExit.FAILED if failed else TaskExit.DONE

    def _hand_over(self, train: Train, groups: Sequence[list[Cell]], run: TrainingRun, blame: bool) -> bool:
        """Call the trainer for each group until asked to stop. Returns whether a cell failed."""
        failed = False
        for turn, group in enumerate(groups):
            # The first one's turn has come even so: a stop that arrives while cells are claimed counts (giving_up.py).
            if run.stop and turn:
                break
            run.hand_over(group)
            if run.stop:
                break
            try:
                train(group, self.sweep.options, run)
                run.check_storage()
            except TroubleError:
                raise
            except (Exception, SystemExit) as error:  # a trainer that calls sys.exit has not finished its cells
                run.check_storage()
                failures.check_disk(error, self.store.root)
                failures.check_node(error)
                self._check_device(error)
                if self.around.stop():  # what a stop signal did to the trainer's helpers is no fault of the cell
                    traceback.print_exc()
                    break
                if not blame:
                    raise
                traceback.print_exc()
                cause = failures.cause_of(error, self.sweep.options)
                failures.blame(run, group, cause, "".join(traceback.format_exception(error)))
                failed = True
            else:
                failed |= failures.expect_ended(run, group)
        return failed

    def _check_device(self, error: BaseException) -> None:
        try:
            failures.check_device(error, self.around.device)
        except TroubleError:
            traceback.print_exception(error)  # nobody else tells where it was lost
            raise


def drop_empty(log: Path) -> None:
    """Remove the log of a trainer that said nothing: quotas count files."""
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(OSError):
        if log.stat().st_size == 0:
            atomic.remove(log)


def redirect_output(path: Path) -> None:
    """From here on, all output of this process, native libraries' too, goes to the pack's log."""
    sys.stdout.flush()
    sys.stderr.flush()
    fd = logs.open_log(path)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)
    faulthandler.enable()
