"""A storm on a real Slurm cluster: preemption, requeues, time limits, kills, dying and cut-off daemons, all at once.

A fault counts if it ended an attempt that had not finished its cell. At the end the sweep's aggregated_results.json
has to be that of the same sweep undisturbed, byte by byte.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from helpers import slurm_daemons
from helpers.waiting import PATIENCE, comes, wait_until

from hpc.processes import Process, start_time
from hpc.sandbox.cluster import Sandbox
from hpc.slurm.answers import Node, QueuedTask
from hpc.slurm.commands import SlurmError
from hpc.storage.store import Store
from hpc.submission.live import live_tasks
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep

from .attempts import ROOT
from .bench import TRAINERS

PREEMPTION, REQUEUE, TIME_LIMIT, KILL = "preemption", "requeue", "time limit", "SIGKILL"
NODE, CONTROLLER, CUT = "slurmd death", "slurmctld death", "network cut"
KINDS = (PREEMPTION, REQUEUE, TIME_LIMIT, KILL, NODE, CONTROLLER, CUT)
WANTED, KINDS_WANTED = 100, 6
# On a quiet machine a storm takes five minutes; this ends one that gets nowhere.
MOST_SECONDS = 3600.0
# What is done to a daemon, by its name.
Control = Callable[[Sandbox, str], None]


@dataclass
class Storm:
    """One storm. log: where what happens is told."""

    directory: Path
    cluster: Sandbox
    seed: int
    cells: int = 24
    log: Callable[[str], None] = print
    struck: dict[tuple[str, int], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.generator = random.Random(self.seed)
        self.store = Store(self.directory / "out")
        self.pace = self.directory / "pace"

    # --- the sweep ------------------------------------------------------------------------------------------------

    def prepare(self, steps: int, pace: float) -> None:
        self.set_pace(pace)
        sweep = {"name": "storm", "axes": {"width": [1, 2, 3]}, "runs_per_condition": self.cells // 3}
        config = {
            "trainer": "tiny.py:train",
            "trainer_options": {"steps": steps, "epoch": 10},
            "checkpoint": {"every_seconds": 0.5},
            "sweep": sweep,
        }
        # Slurm's shortest limit is a minute; asked 25 s before it, a task is told to stop after some 30 s.
        profile = {"partition": "low", "timeout_min": 1, "signal_delay_s": 25, "mem_gb": 1}
        shutil.copy(TRAINERS / "tiny.py", self.directory)
        (self.directory / "sweep.yaml").write_text(yaml.safe_dump(config))
        (self.directory / "storm.yaml").write_text(yaml.safe_dump(profile))

    def set_pace(self, seconds: float) -> None:
        written = self.pace.with_suffix(".new")
        written.write_text(str(seconds))
        written.replace(self.pace)

    def holdfast(self, *words: str, allowed: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"SLURM_CONF": str(self.cluster.conf), "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-m", "hpc", *words],
            cwd=self.directory,
            env=environment | {"CHAOS_PACE": str(self.pace)},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode in allowed, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def submit(self) -> None:
        """Queue what is missing. The controller may be busy with what was just done to it: then once more."""
        words = (
            "submit",
            "--config",
            "sweep.yaml",
            "--profile",
            "storm.yaml",
            "--output-dir",
            "out",
            "--include-failed",
        )
        done = lambda: self.holdfast(*words, allowed=(0, 3)).returncode == 0  # noqa: E731
        wait_until(done, "a controller that takes submissions", pause=2)

    def calm(self) -> bytes:
        """aggregated_results.json of the same sweep undisturbed, run here."""
        self.set_pace(0)
        self.holdfast("run", "--config", "sweep.yaml", "--output-dir", "calm", "--parallel-jobs", "2")
        return Store(self.directory / "calm").paths.aggregated_file.read_bytes()

    # --- looking --------------------------------------------------------------------------------------------------

    @property
    def sweep(self) -> Sweep:
        return self.store.sweep()

    def open_cells(self) -> list[Cell]:
        return [cell for cell in self.sweep.grid if not self.store.has_result(cell.name)]

    def running(self, any_state: bool = False) -> list[tuple[QueuedTask, Cell]]:
        """Running tasks with their cells, in random order; unless any will do, those whose attempt has saved."""
        cells = {cell.name: cell for cell in self.open_cells()}
        try:
            live = live_tasks(self.store)
        except SlurmError:
            return []
        found = [
            (task.queued, cells[task.cells[0]])
            for task in live
            if task.queued.state == "RUNNING" and task.cells[0] in cells
            if any_state or self.training(cells[task.cells[0]])
        ]
        self.generator.shuffle(found)
        return found

    def about(self, cell: Cell) -> dict[str, Any]:
        """What the newest attempt at a cell says of itself."""
        pack = self.store.pack_of(cell, self.newest(cell))
        try:
            return dict(json.loads(self.store.paths.pack_file(pack or 0).read_text()))
        except (OSError, ValueError):
            return {}

    def newest(self, cell: Cell) -> int:
        return max(self.store.attempts(cell), default=0)

    def training(self, cell: Cell) -> bool:
        """Whether the newest attempt has saved, runs, and has not been struck yet."""
        pack = self.store.pack_of(cell, self.newest(cell)) if self.newest(cell) else None
        if pack is None or (cell.name, self.newest(cell)) in self.struck or not self.store.paths.generations(pack):
            return False
        return start_time(int(self.about(cell).get("pid", 0))) is not None

    def note(self, kind: str, cells: list[Cell]) -> None:
        for cell in cells:
            self.struck.setdefault((cell.name, self.newest(cell)), kind)
        self.log(f"  {kind}: {len(cells)} tasks")

    def effective(self) -> Counter[str]:
        """Faults that ended an attempt before its cell was finished, by kind."""
        counts: Counter[str] = Counter()
        for cell in self.sweep.grid:
            result = self.store.result(cell)
            last = result["provenance"]["attempts"] if result else self.newest(cell)
            for attempt in self.store.attempts(cell):
                self._look_for_limit(cell, attempt)
                kind = self.struck.get((cell.name, attempt), "")
                counts[kind] += attempt < last and kind != ""
        return +counts

    def _look_for_limit(self, cell: Cell, attempt: int) -> None:
        """An attempt that was asked to stop, but not because of a fault of ours, ran into its time limit."""
        pack = self.store.pack_of(cell, attempt)
        with contextlib.suppress(OSError, ValueError):
            if json.loads(self.store.paths.progress_file(pack or 0).read_text()).get("ended"):
                self.struck.setdefault((cell.name, attempt), TIME_LIMIT)

    def _nodes(self) -> list[Node]:
        """None as long as the controller does not answer: whoever waits for a state of theirs asks again."""
        try:
            return self.cluster.slurm.nodes()
        except SlurmError:
            return []

    def operate(self) -> None:
        """What an administrator does: resume nodes that Slurm drained because a launch failed there.

        The tasks of such launches, which Slurm holds, are left to the next submission.
        """
        environment = os.environ | {"SLURM_CONF": str(self.cluster.conf)}
        for node in self._nodes():
            if "drain" in node.state.lower():
                words = ["scontrol", "update", f"nodename={node.name}", "state=resume"]
                subprocess.run(words, env=environment, capture_output=True, check=False)
                self.log(f"  administrator: {' '.join(words)}")

    # --- faults ---------------------------------------------------------------------------------------------------

    def preempt(self) -> None:
        attempts = {task.id: (cell.name, self.newest(cell)) for task, cell in self.running(any_state=True)}
        evicted = self.cluster.preempt(self.generator.randint(4, 8), hold_seconds=1.0)
        for task in evicted:
            if task.id in attempts:
                self.struck.setdefault(attempts[task.id], PREEMPTION)
        self.log(f"  {PREEMPTION}: {len(evicted)} tasks")

    def requeue(self) -> None:
        victims = self.running()[: self.generator.randint(3, 6)]
        for task, _ in victims:
            self.cluster.slurm.requeue(task)
        self.note(REQUEUE, [cell for _, cell in victims])

    def kill(self) -> None:
        """SIGKILL of the training processes alone: nobody requeues these, submitting again does."""
        victims = [
            cell for _, cell in self.running()[: self.generator.randint(3, 6)] if self._signal(cell, signal.SIGKILL)
        ]
        self.note(KILL, victims)
        time.sleep(1)
        self.submit()

    def kill_node(self) -> None:
        """A slurmd dies; its tasks live on beside their successors."""
        self._lose_node(NODE, slurm_daemons.kill, slurm_daemons.start)

    def cut_off(self) -> None:
        """A slurmd answers nobody for a while, as if its network were cut."""
        self._lose_node(CUT, slurm_daemons.pause, slurm_daemons.resume)

    def _lose_node(self, kind: str, lose: Control, find: Control) -> None:
        running = self.running()
        node = running[0][0].node if running else "n1"
        there = [cell for task, cell in running if task.node == node]
        lose(self.cluster, node)
        self.note(kind, there)
        wait_until(lambda: self._given_up(node), f"Slurm to give {node} up", pause=0.5)
        find(self.cluster, node)

    def _given_up(self, node: str) -> bool:
        return any(found.name == node and "down" in found.state.lower() for found in self._nodes())

    def kill_controller(self) -> None:
        """slurmctld dies, and tasks are told to stop while nobody can requeue them."""
        victims = [cell for _, cell in self.running()[: self.generator.randint(4, 8)]]
        slurm_daemons.kill(self.cluster, "slurmctld")
        self.note(CONTROLLER, [cell for cell in victims if self._signal(cell, signal.SIGTERM)])
        time.sleep(2)
        slurm_daemons.start(self.cluster, "slurmctld")
        self.submit()

    def _signal(self, cell: Cell, number: int) -> bool:
        about = self.about(cell)
        process = Process(int(about.get("pid", 0)), int(about.get("began") or -1))
        if not process.alive():
            return False
        process.signal(number)
        return True

    # --- the whole ------------------------------------------------------------------------------------------------

    def rage(self, wanted: int, kinds: int) -> None:
        """Strike until enough faults of enough kinds took effect."""
        deadline = time.monotonic() + MOST_SECONDS
        faults = [self.preempt, self.requeue, self.kill, self.kill_node, self.kill_controller, self.cut_off]
        turn = 0
        comes(lambda: self.effective()[TIME_LIMIT] >= 6, patience=90, pause=1)
        while (counts := self.effective()).total() < wanted or len(counts) < kinds:
            assert time.monotonic() < deadline, f"{wanted} faults of {kinds} kinds are wanted, this is all: {counts}"
            self.await_running(min(8, len(self.open_cells())))
            # Each kind once first, then at random, the quick ones more often.
            fault = faults[turn] if turn < len(faults) else self.generator.choice(faults[:3] * 2 + faults[3:])
            fault()
            turn += 1
            self.operate()
            self.log(f"  effective so far: {dict(self.effective())}")

    def await_running(self, count: int) -> None:
        """Wait until so many tasks run and have saved; where they do not come by themselves, submit again."""
        for _ in range(6):
            if comes(lambda: len(self.running()) >= count, patience=15, pause=0.3):
                return
            self.operate()
            self.submit()

    def settle(self) -> None:
        """No more faults: submit until everything has its result."""
        self.set_pace(0)
        deadline = time.monotonic() + MOST_SECONDS
        while self.open_cells():
            assert time.monotonic() < deadline, f"after the storm {len(self.open_cells())} cells do not finish"
            self.operate()
            self.submit()
            time.sleep(4)

    def aggregated(self) -> bytes:
        self.holdfast("aggregate", "out")
        return self.store.paths.aggregated_file.read_bytes()


@contextlib.contextmanager
def at_cluster(cluster: Sandbox) -> Iterator[None]:
    """Let this process's own questions go to the cluster, as its commands' do."""
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(cluster.conf)
    try:
        yield
    finally:
        del os.environ["SLURM_CONF"]
        if before is not None:
            os.environ["SLURM_CONF"] = before


def storm(
    directory: Path,
    cluster: Sandbox,
    seed: int,
    *,
    wanted: int,
    kinds: int,
    cells: int = 24,
    log: Callable[[str], None] = print,
) -> Counter[str]:
    """Submit, rage, settle, compare. Returns the faults that took effect, by kind."""
    raging = Storm(directory, cluster, seed, cells, log)
    raging.prepare(steps=600, pace=0.25)
    with at_cluster(cluster):
        raging.submit()
        raging.rage(wanted, kinds)
        raging.settle()
    counts = raging.effective()
    there, here = raging.aggregated(), raging.calm()
    assert there == here, "after the storm, aggregated_results.json is not what it is without"
    kinds_seen, total = len(counts), counts.total()
    counts["effective faults"], counts["kinds"], counts["cells"] = total, kinds_seen, cells
    return counts
