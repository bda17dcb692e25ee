"""Preemption in a sandbox: jobs of partition `high` that take the place of running ones of partition `low`."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

from hpc.sandbox.conf import HIGH, LOW, SandboxError
from hpc.sandbox.directory import wait_until
from hpc.slurm.answers import QueuedTask
from hpc.slurm.commands import Slurm


def preempt(
    directory: Path, slurm: Slurm, count: int | None, hold_seconds: float, timeout_s: float
) -> list[QueuedTask]:
    """Evicts running tasks; see Sandbox.preempt."""
    running = [task for task in slurm.queue() if task.partition == LOW and task.state == "RUNNING"]
    victims = running if count is None else running[-count:] if count > 0 else []
    name = f"preempt-{secrets.token_hex(4)}"
    for node, options in _options_by_node(slurm, victims, whole_nodes=count is None).items():
        where = [f"--partition={HIGH}", f"--nodelist={node}", f"--chdir={directory}"]
        what = [f"--job-name={name}", "--output=/dev/null", "--no-requeue"]
        slurm.sbatch(directory / "hold.sh", [*where, *what, *options], [str(hold_seconds)])
    if not victims:
        return []
    _wait(directory, slurm, name, timeout_s)
    return _evicted(running, slurm.queue({task.name for task in running}, finished=True))


def _options_by_node(slurm: Slurm, victims: Sequence[QueuedTask], *, whole_nodes: bool) -> dict[str, list[str]]:
    """By node, the options of a job that needs what the victims there hold and all that is free."""
    if whole_nodes:
        return {task.node: ["--exclusive"] for task in victims}
    # Slurm uses idle CPUs first: only a job that needs those and the victims' evicts anything.
    needed = {node.name: node.idle_cpus for node in slurm.nodes()}
    for task in victims:
        needed[task.node] = needed.get(task.node, 0) + task.cpus
    return {task.node: [f"--cpus-per-task={needed[task.node]}"] for task in victims}


def _wait(directory: Path, slurm: Slurm, name: str, timeout_s: float) -> None:
    def waiting() -> list[QueuedTask]:
        return [task for task in slurm.queue([name]) if task.waiting]

    if not wait_until(lambda: not waiting(), timeout_s):
        slurm.cancel(waiting())
        raise SandboxError(f"{directory}: preemption took longer than {timeout_s:.0f} s")


def _evicted(before: Sequence[QueuedTask], now: Sequence[QueuedTask]) -> list[QueuedTask]:
    """Of the tasks that were running, those that Slurm has put back into the queue or ended as PREEMPTED."""
    current = {task.id: task for task in now}
    pairs = [(task, current[task.id]) for task in before if task.id in current]
    # squeue shows the waiting elements of an array as one, with the restarts of the first.
    return [old for old, new in pairs if new.waiting or new.restarts > old.restarts or new.state == "PREEMPTED"]
