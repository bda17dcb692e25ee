"""holdfast sandbox: Run a real Slurm cluster on this machine, without root. Submit with --profile sandbox."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hpc.cli import options
from hpc.cli.command import Group
from hpc.launch.remarks import say
from hpc.processes import cores
from hpc.protocol import CommandExit
from hpc.sandbox.conf import ClusterSettings
from hpc.units import counted

if TYPE_CHECKING:
    from hpc.sandbox.cluster import Sandbox

_HELP = "Run a real Slurm cluster on this machine, without root. Submit with --profile sandbox."
command = Group("sandbox", help=_HELP)


@command.command("up", examples=("sandbox up", "sandbox up --nodes 8"))
@options.option(
    "--nodes", type=options.COUNT, metavar="N", help="Simulated nodes (default: 4, or one per core if there are fewer)."
)
def up(nodes: int | None) -> int:
    """Start the cluster: munge, slurmctld, one slurmd per node, partitions low (may be evicted) and high.

    The nodes share out the cores that this machine has, so that tasks run as fast as they would elsewhere.

    Prints the SLURM_CONF that squeue and scontrol need. The cluster is kept in $HOLDFAST_SANDBOX (default:
    ~/.local/state/holdfast/sandbox), a path of at most 74 bytes, as it holds sockets.
    """
    from hpc.sandbox import cluster

    started = time.monotonic()
    nodes, cpus = fitting(nodes, cores())
    found = cluster.up(nodes=nodes, cpus=cpus)
    running = found.settings
    each = f"{running.nodes} nodes of {running.cpus} CPU{'s' * (running.cpus > 1)}"
    say(f"sandbox up in {time.monotonic() - started:.1f} s: {each}, partitions low and high")
    if running.nodes * running.cpus > cores():
        say(f"note: they share {cores()} cores, so tasks take longer than on a cluster")
    print(f"export SLURM_CONF={found.conf}")
    return CommandExit.DONE


@command.command("down", examples=("sandbox down",))
def down() -> int:
    """Stop the cluster and all its jobs. Its logs and the results of sweeps stay."""
    from hpc.sandbox import cluster

    cluster.down()
    say("sandbox down")
    return CommandExit.DONE


@command.command("status", examples=("sandbox status",))
def status() -> int:
    """Show its daemons, nodes and idle CPUs. Exit code 3 if it is not up."""
    running = _running()
    if running is None:
        return CommandExit.TROUBLE
    state = running.status()
    for name, alive in state.daemons.items():
        print(f"{name:<12} {'up' if alive else 'DOWN'}")
    for node in state.nodes:
        print(f"{node.name:<12} {node.state}, {node.idle_cpus} of {node.cpus} CPUs idle")
    return CommandExit.DONE


@command.command("preempt", examples=("sandbox preempt", "sandbox preempt --count 2"))
@options.option("--count", type=options.COUNT, metavar="N", help="Evict N tasks (default: all that run).")
def preempt(count: int | None) -> int:
    """Evict running tasks, as a preemptible site does: Slurm signals, kills and requeues them.

    Jobs in partition high take their nodes for some seconds; then the tasks resume from their checkpoints.
    """
    running = _running()
    if running is None:
        return CommandExit.TROUBLE
    evicted = running.preempt(count)
    say(f"evicted {counted(len(evicted), 'task')}: {', '.join(task.id for task in evicted) or 'none was running'}")
    return CommandExit.DONE


def fitting(nodes: int | None, cpus: int) -> tuple[int, int]:
    """(nodes, CPUs of each) of a cluster that pretends no more CPUs than these, unless so many nodes are asked for."""
    nodes = nodes or min(ClusterSettings.nodes, cpus)
    return nodes, max(1, min(ClusterSettings.cpus, cpus // nodes))


def _running() -> Sandbox | None:
    from hpc.sandbox import cluster

    found = cluster.find()
    if found is None:
        say("the sandbox is not up; start it with `holdfast sandbox up`")
    return found
