"""Virtual Slurm controllers behind the one function that runs Slurm's commands: late, silent, forgetful."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpc.slurm.answers import expand

from .machines import Machines
from .processes import known


@dataclass(eq=False)
class Task:
    """An element of a queued array. state: PENDING or RUNNING. process: of the task, while it runs."""

    job: Job
    index: int
    state: str = "PENDING"
    restarts: int = 0
    cancelled: bool = False
    process: Any = None


@dataclass(eq=False)
class Job:
    """An array that sbatch has accepted, and when. by: who submitted it. place: (submission, array) of its tasks."""

    number: int
    name: str
    directory: str
    place: tuple[int, int]
    by: Any
    accepted_at: int = 0
    tasks: list[Task] = field(default_factory=list)


@dataclass(eq=False)
class Controller:
    """One cluster. late: sbatch fails, and what it sent is accepted later. silent: nothing is answered."""

    name: str
    conf: Path
    late: bool = False
    silent: bool = False
    jobs: list[Job] = field(default_factory=list)
    under_way: list[Job] = field(default_factory=list)
    accepted: int = 0

    @property
    def tasks(self) -> list[Task]:
        return [task for job in self.jobs for task in job.tasks]

    def drop(self, task: Task) -> None:
        task.job.tasks.remove(task)
        self.jobs = [job for job in self.jobs if job.tasks]


class Clusters:
    """What answers in place of Slurm's commands."""

    def __init__(self, world: Machines, directory: Path) -> None:
        self.world = world
        self.controllers = {name: Controller(name, directory / f"{name}.conf") for name in "ab"}
        for controller in self.controllers.values():
            controller.conf.touch()

    def completed(self, command: Sequence[str], conf: Path | None, timeout_s: float) -> Any:
        """As hpc.slurm.commands._completed: before and after it takes effect, the process may be stopped or killed."""
        self.world.operation(command[0])
        with known():
            done = self._answer(list(command), self._reached(conf))
        self.world.viewer.asked, self.world.viewer.looked = command[0], len(self.world.news)
        self.world.operation(f"{command[0]} answered")
        return done

    def _reached(self, conf: Path | None) -> Controller:
        if conf is None:
            return self.controllers[self.world.viewer.host.cluster]
        return next(controller for controller in self.controllers.values() if controller.conf == conf)

    def _answer(self, command: list[str], controller: Controller) -> Any:
        if controller.silent:
            self.world.viewer.unanswered = True
            return _done(command, 1, error=f"{command[0]}: error: Unable to contact slurm controller")
        return getattr(self, f"_{command[0]}")(command, controller)

    def _scontrol(self, command: list[str], controller: Controller) -> Any:
        facts = {"ClusterName": controller.name, "SlurmctldHost[0]": "login", "MaxArraySize": 2}
        facts["SlurmctldPort"] = ord(controller.name)
        return _done(command, 0, "".join(f"{name} = {value}\n" for name, value in facts.items()))

    def _squeue(self, command: list[str], controller: Controller) -> Any:
        jobs = next((word.removeprefix("--jobs=").split(",") for word in command if word.startswith("--jobs=")), None)
        rows = [
            f"{task.job.number}|{task.index}|{task.state}|None||p|0:01|1|{task.restarts}"
            f"|{task.job.directory}|//|{task.job.name}|\n"
            for task in controller.tasks
            if jobs is None or str(task.job.number) in jobs
        ]
        return _done(command, 0, "".join(rows))

    def _sbatch(self, command: list[str], controller: Controller) -> Any:
        job = self._job(Path(command[-1]).read_text())
        if job.by.works_without_lock:
            self.world.faults.append(f"{job.by.name} queues tasks although its lock was taken over")
        if controller.late:
            controller.under_way.append(job)
            return _done(command, 1, error="sbatch: error: Batch job submission failed: Socket timed out")
        self.accept(controller, job)
        return _done(command, 0, f"{job.number}\n")

    def accept(self, controller: Controller, job: Job) -> None:
        controller.accepted += 1
        job.number, job.accepted_at = controller.accepted, self.world.tick
        controller.jobs.append(job)
        self.world.tell("queued")

    def _job(self, script: str) -> Job:
        def option(name: str) -> str:
            return shlex.split(re.findall(rf"^#SBATCH --{name}=(.*)$", script, re.MULTILINE)[0])[0]

        words = shlex.split(script.splitlines()[-1])
        by = self.world.current()
        job = Job(0, option("job-name"), option("chdir"), (int(words[4]), int(words[5])), by)
        job.tasks = [Task(job, index) for index in expand(option("array"))]
        return job

    def _sacct(self, command: list[str], controller: Controller) -> Any:
        return _done(command, 1, error="sacct: error: Slurm accounting storage is disabled")

    def _scancel(self, command: list[str], controller: Controller) -> Any:
        for word in command[1:]:
            number, _, indices = word.partition("_")
            wanted = set(expand(indices.strip("[]"))) if indices else None
            for task in controller.tasks:
                if str(task.job.number) == number and (wanted is None or task.index in wanted):
                    self.scancel(controller, task)
        return _done(command, 0)

    def scancel(self, controller: Controller, task: Task) -> None:
        """TERM to one that runs, which task.sh then does not requeue; one that waits is gone."""
        task.cancelled = True
        if task.process is None:
            controller.drop(task)
        else:
            task.process.stopped = True

    def settle(self) -> None:
        """What has ended leaves the queue; what was asked to stop without being cancelled is queued again."""
        for controller in self.controllers.values():
            for task in controller.tasks:
                if task.process is None or not task.process.done:
                    continue
                if task.process.status == 85 and not task.process.killed and not task.cancelled:
                    task.state, task.process, task.restarts = "PENDING", None, task.restarts + 1
                else:
                    controller.drop(task)
                    self.world.tell("ended")


def _done(command: list[str], status: int, text: str = "", error: str = "") -> Any:
    return subprocess.CompletedProcess(command, status, text, error)
