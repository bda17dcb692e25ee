"""A real Slurm cluster on this machine, up in seconds: no root, no configuration, and nothing left behind.

One slurmctld, and one slurmd per simulated node, listen on the loopback address only. The cluster has a munged of its
own, whose key and socket lie in a directory that only its owner can enter, so that no other user of the machine can run
jobs here. The cluster is preemptible: jobs in partition `high` evict those in `low`, which Slurm requeues.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from hpc.processes import Process, boot_id
from hpc.sandbox.conf import CONTROLLER, MUNGE, ClusterSettings, SandboxError, free_ports, write_files
from hpc.sandbox.daemons import start, stop, wait_for
from hpc.sandbox.directory import (
    daemons,
    default_directory,
    is_sandbox,
    lock,
    prepared,
    read_state,
    resolved,
    write_state,
)
from hpc.sandbox.preemption import preempt
from hpc.sandbox.programs import addresses_missing, installed
from hpc.slurm.answers import Node, QueuedTask
from hpc.slurm.commands import Slurm, SlurmError

__all__ = ["ClusterSettings", "Sandbox", "SandboxError", "Status", "default_directory", "down", "find", "up"]

# How often a start is tried when another process takes one of the ports in between.
_PORT_ATTEMPTS = 3


@dataclass(frozen=True)
class Status:
    """What a sandbox is doing. daemons: by name, whether it runs. nodes: none if the controller does not answer."""

    daemons: dict[str, bool]
    nodes: list[Node]


@dataclass(frozen=True)
class Sandbox:
    """A cluster started by `up`. As a context manager it stops at the end, whatever happens.

    Daemons go by the names slurmctld, munged, and, for a slurmd, its node's: n1, n2, ...
    """

    directory: Path

    @property
    def conf(self) -> Path:
        """Its slurm.conf, which SLURM_CONF must name for Slurm's commands to talk to this cluster."""
        return self.directory / "slurm.conf"

    @property
    def slurm(self) -> Slurm:
        """Its commands."""
        return Slurm(self.conf)

    @property
    def settings(self) -> ClusterSettings:
        """What it was started with."""
        return ClusterSettings(**read_state(self.directory)["settings"])

    def daemons(self) -> dict[str, Process]:
        """The daemons started last, by name, alive or not."""
        return daemons(self.directory)

    def status(self) -> Status:
        """Daemons and nodes."""
        daemons = {name: daemon.alive() for name, daemon in self.daemons().items()}
        try:
            return Status(daemons, self.slurm.nodes())
        except SlurmError:
            return Status(daemons, [])

    def preempt(
        self, count: int | None = None, hold_seconds: float = 3.0, timeout_s: float = 300.0
    ) -> list[QueuedTask]:
        """Evicts running tasks of partition low, by jobs of partition high, and waits until they are gone.

        count: how many (as nearly as the scheduler allows); None for all. hold_seconds: how long the evicting jobs keep
        the nodes. Returns the evicted tasks as they were. Raises SandboxError if it takes more than timeout_s seconds.
        """
        return preempt(self.directory, self.slurm, count, hold_seconds, timeout_s)

    def down(self) -> None:
        """Stops it; see `down`."""
        down(self.directory)

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()


def up(directory: Path | None = None, **settings: Any) -> Sandbox:
    """Starts a cluster, waits until all its nodes take jobs, and returns it. A cluster that is up is left alone.

    directory: where its state lives; must be new, empty or an earlier sandbox's, which is cleared. settings: fields of
    ClusterSettings that are to differ from their defaults. Raises SandboxError if Slurm is not installed, the directory
    will not do or a daemon does not start.
    """
    chosen = ClusterSettings(**settings)
    missing = installed() or addresses_missing()
    if missing:
        raise SandboxError(missing)
    directory = prepared(resolved(directory))
    with lock(directory):
        sandbox = find(directory)
        if sandbox is None:
            return _boot(directory, chosen)
        _revive(sandbox)
        return sandbox


def find(directory: Path | None = None) -> Sandbox | None:
    """The sandbox in this directory if its controller runs, else None."""
    sandbox = Sandbox(resolved(directory))
    if not is_sandbox(sandbox.directory):
        return None
    controller = sandbox.daemons().get(CONTROLLER)
    return sandbox if controller is not None and controller.alive() else None


def down(directory: Path | None = None) -> None:
    """Stops the cluster in this directory, its jobs included; logs are kept. It is not an error if nothing is running.

    Daemons get TERM, then KILL; then what is left of its jobs gets KILL. Raises SandboxError if a process survives.
    """
    directory = resolved(directory)
    if is_sandbox(directory):
        with lock(directory):
            stop(directory)


def _boot(directory: Path, settings: ClusterSettings) -> Sandbox:
    for attempt in range(1, _PORT_ATTEMPTS + 1):
        try:
            return _boot_once(directory, settings)
        except SandboxError as error:
            # Another process may take a port between the search for a free one and the daemon's use of it.
            if "Address already in use" not in str(error) or attempt == _PORT_ATTEMPTS:
                raise
    raise AssertionError("unreachable")


def _revive(sandbox: Sandbox) -> None:
    # Daemons may have been killed one by one; the queue is in the state that slurmctld saved.
    dead = [name for name, daemon in sandbox.daemons().items() if not daemon.alive()]
    for name in dead:
        start(sandbox.directory, name)
    if dead:
        wait_for(sandbox.directory, dead)


def _boot_once(directory: Path, settings: ClusterSettings) -> Sandbox:
    sandbox = Sandbox(directory)
    if is_sandbox(directory):
        stop(directory)
    ports = free_ports([CONTROLLER, *settings.node_names])
    write_state(directory, {"boot": boot_id(), "settings": asdict(settings), "ports": ports, "daemons": {}})
    write_files(directory, settings, ports)
    try:
        for name in (MUNGE, CONTROLLER, *settings.node_names):
            start(directory, name)
        wait_for(directory, [CONTROLLER, *settings.node_names])
    except BaseException:  # also an interrupt must leave no daemon behind
        stop(directory)
        raise
    return sandbox
