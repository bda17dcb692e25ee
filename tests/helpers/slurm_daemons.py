"""Daemons of a sandbox that die, stop answering and come back, as they do on a cluster.

They go by the names slurmctld, munged, and, for a slurmd, its node's: n1, n2, ... Running jobs continue in any case.
"""

from __future__ import annotations

import os
import signal
import subprocess

from helpers.waiting import PATIENCE
from hpc.sandbox import daemons
from hpc.sandbox.cluster import Sandbox
from hpc.sandbox.directory import lock


def kill(cluster: Sandbox, name: str) -> None:
    """End a daemon as a crash would. slurmctld forgets what it has not written yet: jobs of the last seconds."""
    daemons.end(name, cluster.daemons()[name], signal.SIGKILL)


def stop(cluster: Sandbox, name: str) -> None:
    """End a daemon in good order: the queue is kept."""
    daemons.end(name, cluster.daemons()[name], signal.SIGTERM)


def start(cluster: Sandbox, name: str) -> None:
    """Start a daemon that was ended, with the state it left, and wait until it answers."""
    with lock(cluster.directory):
        daemons.start(cluster.directory, name)
    daemons.wait_for(cluster.directory, [name])


def give_up(cluster: Sandbox, node: str) -> None:
    """Let Slurm count a node as failed at once, as it counts one that has been silent for SlurmdTimeout.

    A test that had a short one would also lose the nodes whose slurmd a busy machine keeps waiting.
    """
    _scontrol(cluster, "update", f"nodename={node}", "state=down", "reason=silent")


def reconfigure(cluster: Sandbox, setting: str) -> None:
    """Let a running cluster's daemons have this line in their slurm.conf, where the last one of a setting counts."""
    with cluster.conf.open("a") as conf:
        conf.write(f"{setting}\n")
    _scontrol(cluster, "reconfigure")


def _scontrol(cluster: Sandbox, *words: str) -> None:
    environment = os.environ | {"SLURM_CONF": str(cluster.conf)}
    subprocess.run(["scontrol", *words], env=environment, check=True, capture_output=True, timeout=PATIENCE)


def pause(cluster: Sandbox, name: str) -> None:
    """Let a daemon exist without answering."""
    cluster.daemons()[name].signal(signal.SIGSTOP)


def resume(cluster: Sandbox, name: str) -> None:
    """Let a paused daemon continue."""
    cluster.daemons()[name].signal(signal.SIGCONT)
