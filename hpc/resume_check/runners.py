"""Where a check's cells train, and how they are disturbed there: worker processes here, or tasks of a cluster."""

from __future__ import annotations

import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hpc.planning.plan import make_plan
from hpc.processes import Process, cores, host
from hpc.slurm.answers import QueuedTask
from hpc.slurm.commands import Slurm, SlurmError
from hpc.slurm.profile import Profile
from hpc.storage.store import Store
from hpc.submission import intents, local_workers
from hpc.submission.cancels import take_out
from hpc.submission.live import live_cells, live_tasks, queues
from hpc.submission.lock import CHECK, lock
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep
from hpc.sweep.states import MISSING, CellStatus
from hpc.trainers.snapshot import snapshot

TERM, USR2, KILL, REQUEUE = "SIGTERM", "SIGUSR2", "SIGKILL", "requeue"
_SIGNALS = {TERM: signal.SIGTERM, USR2: signal.SIGUSR2, KILL: signal.SIGKILL}


class Runner(ABC):
    """A sweep directory and the means to train its cells. kinds: the faults that are possible here."""

    kinds: tuple[str, ...] = (TERM, USR2, KILL)
    poll_seconds = 0.01  # a look reads a few local files, and a short training is over in seconds

    def __init__(self, store: Store, sweep: Sweep) -> None:
        self.store = store
        self.sweep = sweep

    @abstractmethod
    def keep_going(self, cells: Sequence[Cell]) -> None:
        """Start every cell that is neither training nor queued. Raises SlurmError, OSError."""

    @abstractmethod
    def strike(self, cell: Cell, kind: str) -> bool:
        """Disturb a cell in training. Returns False if it was not training any more."""

    @abstractmethod
    def close(self, patience: float) -> None:
        """Let what runs end by itself for this many seconds, then end it: nothing is left behind."""

    def about(self, cell: Cell) -> dict[str, Any]:
        """What the newest attempt at a cell recorded about itself; empty if there is none."""
        attempts = self.store.attempts(cell)
        pack = self.store.pack_of(cell, attempts[-1]) if attempts else None
        return self.store.pack_record(pack) if pack is not None else {}


class Here(Runner):
    """Worker processes on this machine, as `holdfast run` starts them."""

    def __init__(self, store: Store, sweep: Sweep, profile: Profile) -> None:
        super().__init__(store, sweep)
        self._profile = profile
        self._code = snapshot(store, sweep.trainer)
        self._workers: dict[Cell, subprocess.Popen[bytes]] = {}

    def keep_going(self, cells: Sequence[Cell]) -> None:
        running = sum(worker.poll() is None for worker in self._workers.values())
        for cell in cells:
            worker = self._workers.get(cell)
            if (worker is None or worker.poll() is not None) and running < cores():
                self._workers[cell] = self._start(cell)
                running += 1

    def _start(self, cell: Cell) -> subprocess.Popen[bytes]:
        digest, code = self._code
        intent = intents.begin(
            self.store, [[[cell]]], kind=intents.LOCAL, profile="local", name=self.sweep.name, code=digest
        )
        return local_workers.start_worker(self.store, intent, code, 0, self._profile.device, self._profile.threads)

    def strike(self, cell: Cell, kind: str) -> bool:
        """The worker that trains it is sent the signal."""
        worker = self._workers[cell]
        if worker.poll() is not None:
            return False
        worker.send_signal(_SIGNALS[kind])
        return True

    def close(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        for worker in self._workers.values():
            try:
                worker.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()


class OnCluster(Runner):
    """Tasks of a Slurm cluster. Processes on this machine can be sent signals; others can only be requeued."""

    kinds = (REQUEUE, USR2, KILL)
    poll_seconds = 1.0  # each look asks the controller

    def __init__(self, store: Store, sweep: Sweep, profile: Profile, conf: Path | None) -> None:
        super().__init__(store, sweep)
        self._profile, self._conf = profile, conf
        self._live: dict[str, QueuedTask] = {}

    def keep_going(self, cells: Sequence[Cell]) -> None:
        from hpc.submission.arrays import submit  # loads submitit, which a check on this machine does not need

        with lock(self.store, CHECK) as held:
            seen = queues(self.store)
            self._live = {name: task.queued for name, task in live_cells(seen.live).items() if task.ours}
            missing = [CellStatus(cell, MISSING) for cell in cells if cell.name not in seen.cells]
            if missing:
                submit(self.store, self.sweep, make_plan(missing), self._profile, held, seen, conf=self._conf)

    def strike(self, cell: Cell, kind: str) -> bool:
        """The task that trains it is sent the signal; on another node, where none reaches it, Slurm requeues it."""
        task = self._live.get(cell.name)
        if task is None or task.state != "RUNNING":
            return False
        about = self.about(cell)
        # The start time tells whether the id still means the task's process; -1 never does.
        process = Process(int(about.get("pid", 0)), int(about.get("began") or -1))
        # Signals reach only this machine; on other nodes Slurm has to disturb the task.
        if kind == REQUEUE or about.get("host") != host():
            try:
                Slurm(self._conf).requeue(task)
            except SlurmError:  # it ended in the meantime
                return False
            return True
        if not process.alive():
            return False
        process.signal(_SIGNALS[kind])
        return True

    def close(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        while (live := live_tasks(self.store)) and time.monotonic() < deadline:
            time.sleep(self.poll_seconds)
        take_out(live)
