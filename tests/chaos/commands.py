"""Commands against each other, on two clusters with one file system: cancel, wait, take-over, who comes at once; and
code that is purged under queued and running tasks.

After every round no cell may have two tasks that train, and what was cancelled may not come back by itself. At the end
aggregated_results.json has to be that of the same sweep undisturbed, byte by byte.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from helpers.waiting import PATIENCE, comes, wait_until

from hpc.processes import state
from hpc.sandbox.cluster import Sandbox
from hpc.slurm.commands import Slurm, SlurmError
from hpc.submission.live import LiveTask, queues

from .attempts import ROOT
from .storm import Storm, at_cluster

SAVING, WAITING, TAKE_OVER, AT_ONCE = "cancels while saving", "cancels against wait", "take-overs", "submits at once"
PURGED = "snapshot purges"
SUBMIT = ("submit", "--config", "sweep.yaml", "--profile", "storm.yaml", "--output-dir", "out")


@dataclass
class Contest:
    """The same sweep directory as seen from the machines of two clusters."""

    sides: tuple[Storm, Storm]

    @property
    def side(self) -> Storm:
        return self.sides[0].generator.choice(self.sides)

    def moment(self, longest: float) -> None:
        """Let a random time pass: what happens then is the fault."""
        time.sleep(self.sides[0].generator.uniform(0, longest))

    # --- rounds ---------------------------------------------------------------------------------------------------

    def cancel_while_saving(self) -> int:
        """USR2, then scancel at a moment around the save. Returns how many tasks were cancelled so."""
        self.side.submit()
        wait_until(lambda: len(self.running()) >= 4, "running tasks", pause=0.3)
        victims = self.running()
        threads = [threading.Thread(target=self._strike, args=(task,)) for task in victims]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ids = {(task.conf, task.queued.id) for task in victims}
        gone = lambda: not ids & {(task.conf, task.queued.id) for task in self.live()}  # noqa: E731
        wait_until(gone, "the end of cancelled tasks", pause=0.3)
        return len(victims)

    def _strike(self, task: LiveTask) -> None:
        environment = os.environ | {"SLURM_CONF": str(task.conf)}
        subprocess.run(["scancel", "--batch", "--signal=USR2", task.queued.id], env=environment, check=False)
        self.moment(0.6)
        subprocess.run(["scancel", task.queued.id], env=environment, check=False)

    def cancel_against_wait(self) -> int:
        """A submission that waits; cancel at any moment. Returns 1."""
        waiting = self.start(self.side, "--wait")
        self.moment(8)
        # One that comes before the other command has begun does not concern it; the next one does.
        while not comes(lambda: waiting.poll() is not None, patience=40, pause=0.2):
            self.side.holdfast("cancel", "out", "-y")
        waiting.communicate()
        assert waiting.returncode == 4, f"a waiting submission ended with {waiting.returncode}"
        wait_until(lambda: not self.live(), "an empty queue", pause=0.3)
        return 1

    def take_over(self) -> int:
        """A submitter is stopped at any moment, and continued after another one took over. Returns 1."""
        stopped = False
        while not stopped:  # on a fast machine the moment may come after the submitter's end
            first = self.start(self.side)
            self.moment(3)
            first.send_signal(signal.SIGSTOP)
            wait_until(lambda pid=first.pid: state(pid) in ("T", "Z", ""), "a stopped submitter")
            stopped = state(first.pid) == "T"
            self.side.holdfast(*SUBMIT, "--take-over")
            first.send_signal(signal.SIGCONT)
            first.communicate()
        return 1

    def submit_at_once(self) -> int:
        """Both sides submit at the same time; one of them waits. Returns 1."""
        both = [self.start(side) for side in self.sides]
        for command in both:
            command.communicate()
        assert 0 in {command.returncode for command in both}
        return 1

    def purge_snapshot(self) -> int:
        """The tasks' code is purged or edited, and the trainer's own file is edited, too. What starts then has to train
        nothing: it would end with other numbers. Returns 1.
        """
        self.side.submit()
        wait_until(lambda: len(self.running()) >= 2, "running tasks", pause=0.3)
        victims, trainer = self.running(), self.sides[0].directory / "tiny.py"
        planned = trainer.read_text()
        trainer.write_text(_with_other_numbers(planned))
        self._spoil()
        for task in victims:
            with contextlib.suppress(SlurmError):  # it has just been requeued by itself, at its time limit
                Slurm(task.conf).requeue(task.queued)
        wait_until(lambda: not self.live(), "the end of tasks without their code", pause=0.3)
        trainer.write_text(planned)
        return 1

    def _spoil(self) -> None:
        """Damage every snapshot that tasks may run, in one of three ways."""
        generator, root = self.sides[0].generator, self.sides[0].store.paths.code_root
        how = generator.choice(["gone", "in part", "edited"])
        for code in (path for path in root.iterdir() if path.name.isalnum()):
            files = sorted(path for path in code.rglob("*") if path.is_file())
            if how == "gone":
                shutil.rmtree(code)
            for path in generator.sample(files, len(files) // 2) if how == "in part" else ():
                path.unlink()
            for path in files if how == "edited" else ():
                if path.name == "tiny.py":
                    path.write_text(_with_other_numbers(path.read_text()))

    # --- looking --------------------------------------------------------------------------------------------------

    def start(self, side: Storm, *words: str) -> subprocess.Popen[bytes]:
        environment = os.environ | {"SLURM_CONF": str(side.cluster.conf), "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(
            [sys.executable, "-m", "hpc", *SUBMIT, *words],
            cwd=side.directory,
            env=environment | {"CHAOS_PACE": str(side.pace)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def live(self) -> list[LiveTask]:
        return queues(self.sides[0].store).live

    def running(self) -> list[LiveTask]:
        return [task for task in self.live() if task.queued.state == "RUNNING"]

    def audit(self) -> None:
        """No cell has two tasks, once those that end at their start have done so."""
        single = lambda: max(Counter(n for task in self.live() for n in task.cells).values(), default=0) <= 1  # noqa: E731
        assert comes(single, PATIENCE, pause=0.3), "a cell has two tasks that train"


def _with_other_numbers(trainer: str) -> str:
    changed = trainer.replace("3.9 *", "3.8 *")
    assert changed != trainer
    return changed


def contest(
    directory: Path, clusters: tuple[Sandbox, Sandbox], seed: int, rounds: int, log: Callable[[str], None] = print
) -> Counter[str]:
    """So many rounds of each kind, in random order; settle, compare. Returns how many of each took effect."""
    sides = (Storm(directory, clusters[0], seed, 6, log), Storm(directory, clusters[1], seed, 6, log))
    sides[0].prepare(steps=2400, pace=0.25)
    raging = Contest(sides)
    counts: Counter[str] = Counter()
    with at_cluster(clusters[0]):
        kinds = {
            SAVING: raging.cancel_while_saving,
            WAITING: raging.cancel_against_wait,
            TAKE_OVER: raging.take_over,
            AT_ONCE: raging.submit_at_once,
            PURGED: raging.purge_snapshot,
        }
        order = [kind for kind in kinds for _ in range(rounds)]
        sides[0].generator.shuffle(order)
        for kind in order:
            counts[kind] += kinds[kind]()
            raging.audit()
            log(f"  {kind}: {counts[kind]}")
        sides[0].settle()
    there, here = sides[0].aggregated(), sides[0].calm()
    assert there == here, "after the contest, aggregated_results.json is not what it is without"
    return counts
