"""One pack of a pilot: the real trainer on this many cells, for a few seconds, in a process of its own.

    python -P -m hpc.preflight.pilot_width DIRECTORY FIRST WIDTH SECONDS EPOCH_SECONDS STARTED ANSWER

Whatever can train under the contract can be measured: checkpoints and epochs show its progress. The first checkpoint
ends the warm-up. One whole epoch shows how long a cell takes; it is waited for until EPOCH_SECONDS.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpc import processes, protocol, provenance
from hpc.checkout import COMMAND_TRAINER, SCRIPT_TRAINER
from hpc.errors import SweepError
from hpc.files import atomic
from hpc.node.attempt import PackAttempt
from hpc.node.training_run import TrainingRun
from hpc.storage.revisions import write_sweep
from hpc.storage.store import Store
from hpc.trainers.loading import load_function
from hpc.trainers.snapshot import user_code

# Of the time of a width. First steps are slower: kernels are chosen or captured, caches are cold.
WARM_UP_SHARE = 0.3
# Each interval between checkpoints is one measurement; the median of several is robust to a busy moment.
INTERVALS = 5
# A trainer that saves only once per epoch is stopped after this multiple of the time, and measured by its epochs.
PATIENCE = 3.0
# Between two looks at the memory of a trainer's processes: the kernel keeps a peak for each process only.
_MEMORY_SECONDS = 0.2


@dataclass(frozen=True)
class Mark:
    """A moment at which the progress of the pack was known. before, after: seconds, around what the mark cost itself.

    steps: mean over the cells.
    """

    before: float
    after: float
    steps: float


class PilotRun(TrainingRun):
    """The run object of a real task, with a clock: it asks the trainer to stop once enough is measured.

    start: when the first sign of training came, by time.monotonic; None before that.
    """

    def __init__(
        self, attempt: PackAttempt, *, seconds: float, epoch_seconds: float, device: str, threads: int
    ) -> None:
        super().__init__(attempt, stop_requested=self._enough, device=device, threads=threads, provenance={})
        self._wanted, self._epoch_wanted = seconds, epoch_seconds
        self._cells = len(attempt.claims)
        self._pack = attempt.store, attempt.number
        self._starts_program = attempt.sweep.trainer.target in (SCRIPT_TRAINER, COMMAND_TRAINER)
        self.start: float | None = None
        self._asked: float | None = None
        self.stopped = False
        self.cause = ""
        self.marks: list[Mark] = []
        self.epochs: dict[str, list[float]] = {}
        self.epochs_planned: int | None = None
        self.checkpoint_bytes = 0

    def restore(self, cell: Any) -> Any:
        found = super().restore(cell)
        now = time.monotonic()
        self.marks[:] = [Mark(now, now, 0.0)]
        return found

    def checkpoint_due(self) -> bool:
        due = self._is_due()
        if due:
            self._asked = time.monotonic()
        return due

    def _is_due(self) -> bool:
        now, began = time.monotonic(), self._began_training()
        if not self._saves():
            return now - began >= WARM_UP_SHARE * self._wanted
        if now - began > PATIENCE * self._wanted:  # only the end of an epoch is awaited; saving would delay it
            return False
        return now - self.marks[-1].after >= (1 - WARM_UP_SHARE) * self._wanted / INTERVALS

    def save(self, checkpoints: Mapping[Any, Any]) -> frozenset[Any]:
        # From the moment it was asked for: copying a state from a GPU is no training.
        before, self._asked = self._asked or time.monotonic(), None
        steps = sum(checkpoint.step for checkpoint in checkpoints.values()) / self._cells
        dropped = super().save(checkpoints)
        self.check_storage()  # waits for what is written in the background: a mark includes the whole cost
        self.marks.append(Mark(before, time.monotonic(), steps))
        store, pack = self._pack
        self.checkpoint_bytes = max(path.stat().st_size for path in store.paths.generations(pack))
        return dropped

    def epoch(self, cell: Any, epoch: int, of: int, metrics: Mapping[str, float]) -> None:
        self._began_training()
        super().epoch(cell, epoch, of, metrics)
        self.epochs.setdefault(cell.name, []).append(time.monotonic())
        self.epochs_planned = int(of)

    def give_up(self, cell: Any, cause: str, traceback: str, for_good: bool = False) -> None:
        super().give_up(cell, cause, traceback, for_good)
        self.cause = cause

    def _began_training(self) -> float:
        if self.start is None:
            self.start = time.monotonic()
        return self.start

    def _saves(self) -> int:
        return sum(mark.steps > 0 for mark in self.marks)

    def _enough(self) -> bool:
        ended = self._program_ended()
        self.stopped = self.stopped or (self._measured() and not ended)
        return self.stopped

    def _program_ended(self) -> bool:
        """Whether the trainer is a program that has come to its end. training.command.stop_follows then waits to see
        whether the task is stopped, too: this clock must not look like that, or a crash would be a measurement."""
        return self._starts_program and processes.has_had_children() and not processes.has_children()

    def _measured(self) -> bool:
        if self.start is None and not self.marks:
            return False
        elapsed = time.monotonic() - (self.start or self.marks[0].after)
        if elapsed > max(self._epoch_wanted, PATIENCE * self._wanted):
            return True
        if self.start is None or (self._epoch_wanted and not self.epochs):
            return False
        return (self._saves() > 1 and elapsed > self._wanted) or elapsed > PATIENCE * self._wanted


def seconds_per_step(marks: list[Mark]) -> float | None:
    """The median over the intervals between checkpoints; from the start if there is one checkpoint only."""
    saved = [mark for mark in marks if mark.steps > 0]
    pairs = list(itertools.pairwise(saved if len(saved) > 1 else marks))
    found = [(end.before - start.after) / (end.steps - start.steps) for start, end in pairs if end.steps > start.steps]
    return statistics.median(found) if found else None


def seconds_per_epoch(epochs: Mapping[str, list[float]], marks: Sequence[Mark] = ()) -> float | None:
    """From the first epoch's end to the last one's, of the cell that got furthest, less the checkpoints in between.

    Where only one epoch has ended, from the start of training, which is the first of the marks; None without either.
    """
    times = max(epochs.values(), key=len, default=[])
    if not times or (len(times) == 1 and not marks):
        return None
    start = times[0] if len(times) > 1 else marks[0].after
    saving = sum(mark.after - mark.before for mark in marks if mark.before >= start and mark.after <= times[-1])
    return (times[-1] - start - saving) / max(1, len(times) - 1)


@contextlib.contextmanager
def _most_memory() -> Iterator[Callable[[], int]]:
    """Meanwhile the caller may ask for the most bytes that this process, with all that it has started, has had."""
    seen, ended = list[int](), threading.Event()

    def watch() -> None:
        while not ended.wait(_MEMORY_SECONDS):
            seen.append(processes.memory(os.getpid()))

    watching = threading.Thread(target=watch, daemon=True, name="memory")
    watching.start()
    try:
        yield lambda: max([processes.peak_memory(), *seen])
    finally:
        ended.set()
        watching.join()


def measure(
    directory: Path, first: int, width: int, seconds: float, epoch_seconds: float, started: float
) -> dict[str, Any]:
    """Train ``width`` cells of the grid from the ``first`` on for a while.

    Raises whatever the trainer raises, SweepError if it says that a cell failed.

    directory: holds the sweep; the cells are trained in a sweep directory of their own below it, from the beginning.
    first: counted from the end if negative.
    epoch_seconds: continue for up to this long until one epoch has ended; 0 to wait for none.
    started: when this process was started, on the clock of time.monotonic.
    """
    store = Store(directory / f"pack-{first}-{width}")
    sweep = write_sweep(store, Store(directory).sweep(), {})
    cells = [sweep.grid[index] for index in range(first, first + width)]
    train = load_function(user_code(sweep.trainer))
    attempt = PackAttempt.begin(store, sweep, cells, 0, {"pid": os.getpid(), "node": provenance.node()})
    device = os.environ.get(protocol.DEVICE, "cpu")
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    run = PilotRun(attempt, seconds=seconds, epoch_seconds=epoch_seconds, device=device, threads=threads)
    with _most_memory() as most_memory:
        train(cells, sweep.options, run)
        host_bytes = most_memory()
    if run.cause:
        raise SweepError(run.cause)
    start_s = None if run.start is None else run.start - started
    saves = [mark.after - mark.before for mark in run.marks if mark.steps > 0]
    return {
        "width": width,
        "seconds_per_step": seconds_per_step(run.marks),
        "seconds_per_epoch": seconds_per_epoch(run.epochs, run.marks),
        "epochs": run.epochs_planned,
        "start_s": start_s,
        # Of cells that came to their end meanwhile, beyond the start.
        "seconds_in_all": None if run.stopped else time.monotonic() - started - (start_s or 0.0),
        "checkpoint_s": max(saves, default=None),
        "checkpoint_bytes": run.checkpoint_bytes,
        "host_bytes": host_bytes,
        **_device_memory(),
    }


def _device_memory() -> dict[str, Any]:
    """Peak and whole memory of the GPU, if this process has used one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {"device_bytes": None, "device_total_bytes": None, "device": "cpu"}
    facts = torch.cuda.get_device_properties(0)
    return {
        "device_bytes": torch.cuda.max_memory_reserved(),
        "device_total_bytes": facts.total_memory,
        "device": facts.name,
    }


def main(argv: list[str]) -> int:
    directory, first, width, seconds, epoch_seconds, started, answer = argv
    try:
        found = measure(Path(directory), int(first), int(width), float(seconds), float(epoch_seconds), float(started))
    except SweepError as error:
        print(error, file=sys.stderr)
        return 1
    atomic.publish(Path(answer), json.dumps(found).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
