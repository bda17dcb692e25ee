"""What a sandbox cluster is made of: its settings, its ports and the files that Slurm's daemons read."""

from __future__ import annotations

import os
import pwd
import random
import secrets
import shutil
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hpc.sandbox.programs import slurm_version
from hpc.slurm.commands import SlurmError

LOW = "low"
HIGH = "high"
CONTROLLER = "slurmctld"
MUNGE = "munged"
PreemptMode = Literal["REQUEUE", "CANCEL"]

_CGROUPS_OPTIONAL = (24, 5)
_DIRECTORIES = ("state", "spool", "log", "munge", "gpu")
# Below the ports that the kernel gives to outgoing connections, from 32768 on.
_PORTS = range(20_000, 32_000)

_SLURM_CONF = """\
ClusterName=sandbox
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
# Without this the daemons listen on every address of the machine.
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
CredType=cred/munge
# A requeued job waits for cred_expire seconds.
AuthInfo=socket={directory}/munge/socket,cred_expire={requeue_delay}
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool/%n
SlurmctldPidFile={directory}/state/slurmctld.pid
SlurmdPidFile={directory}/spool/%n.pid
SlurmctldLogFile={directory}/log/slurmctld.log
SlurmdLogFile={directory}/log/%n.log
# Process groups need neither root nor cgroups.
ProctrackType=proctrack/pgid
SelectType=select/cons_tres
SelectTypeParameters={counted}
{memory_lines}# Nodes are taken to be as described below, whatever the machine has.
SlurmdParameters=config_overrides
{gres_types}
# A node that comes back after it was down takes jobs at once, without an administrator.
ReturnToService=2
KillWait={kill_wait}
SlurmdTimeout={slurmd_timeout}
MessageTimeout={message_timeout}
JobRequeue={job_requeue:d}
# There is no accounting database, so the controller itself has to remember ended jobs; a day is enough to rehearse.
MinJobAge=86400
MaxArraySize={max_array_size}
MaxJobCount={max_job_count}
# By default Slurm plans every 30 to 60 s and looks at 100 jobs: a rehearsal would mostly wait.
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=1,bf_continue,default_queue_depth=10000
PreemptType=preempt/partition_prio
PreemptMode={preempt_mode}
{parameters}
{node_lines}
PartitionName={low} Nodes=ALL Default=YES PriorityTier=1 PreemptMode={preempt_mode} \
GraceTime={grace_time}
PartitionName={high} Nodes=ALL PriorityTier=10 PreemptMode=OFF
"""
_LIMIT_MEMORY = """\
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
"""


class SandboxError(SlurmError):
    """The sandbox cannot be started, stopped or used. The message names what failed and quotes the log."""


@dataclass(frozen=True)
class ClusterSettings:
    """What kind of cluster to start.

    cpus, gpus, memory_mb (MiB): of each node, as advertised; the machine may have fewer. GPUs are simulated: jobs get
    CUDA_VISIBLE_DEVICES, but no device. max_array_size: as Slurm's MaxArraySize, one more than the largest index.
    kill_wait: seconds between TERM and KILL. preempt_mode: what becomes of evicted jobs. user_signal: whether an
    evicted job gets its `--signal` first. grace_time: seconds for which an evicted job may continue. requeue_delay:
    seconds until a requeued job may start again, 5 or more. job_requeue: whether jobs may be requeued unless they say
    otherwise. slurmd_timeout: seconds until a silent node counts as failed. message_timeout: seconds that a command
    waits for a controller that is slow or gone. limit_memory: whether a job that uses more memory than it asked for is
    killed. die_with_owner: whether the daemons end when the process that started them does, however it ends (its jobs
    are then on their own).
    """

    nodes: int = 4
    cpus: int = 4
    gpus: int = 2
    # Slurm refuses jobs that ask for more than this; nothing is reserved, and the machine need not have it.
    memory_mb: int = 64_000
    # Above Slurm's defaults (1001 and 10000), so that large sweeps can be rehearsed in one array.
    max_array_size: int = 10_001
    max_job_count: int = 50_000
    # Slurm's default is 30 s, a long wait for everyone who tries a preemption.
    kill_wait: int = 2
    preempt_mode: PreemptMode = "REQUEUE"
    user_signal: bool = True
    grace_time: int = 0
    # Slurm accepts no less.
    requeue_delay: int = 5
    job_requeue: bool = True
    # A killed slurmd is noticed in seconds rather than in Slurm's default of five minutes.
    slurmd_timeout: int = 10
    # Slurm's default.
    message_timeout: int = 10
    # As sites do with cgroups, which a sandbox does without: here slurmd looks at each job once a second.
    limit_memory: bool = False
    die_with_owner: bool = False

    @property
    def node_names(self) -> list[str]:
        """n1, n2, ..."""
        return [f"n{number}" for number in range(1, self.nodes + 1)]


def write_files(directory: Path, settings: ClusterSettings, ports: Mapping[str, int]) -> None:
    """Clears what an earlier cluster left in the directory and writes what a new one needs. ports: of each daemon."""
    for name in _DIRECTORIES:
        shutil.rmtree(directory / name, ignore_errors=True)
        (directory / name).mkdir(mode=0o700)
    for node in settings.node_names:
        (directory / "spool" / node).mkdir()
    for number in range(settings.gpus):
        (directory / "gpu" / f"nvidia{number}").symlink_to(os.devnull)  # not a plain file: Slurm insists on a device
    (directory / "munge" / "key").write_bytes(secrets.token_bytes(128))
    (directory / "munge" / "key").chmod(0o400)
    (directory / "hold.sh").write_text('#!/bin/sh\nexec sleep "$1"\n')
    (directory / "slurm.conf").write_text(_slurm_conf(directory, settings, ports))
    (directory / "gres.conf").write_text(_gres_conf(directory, settings))
    (directory / "cgroup.conf").write_text(f"CgroupPlugin={_cgroup_plugin()}\n")


def _slurm_conf(directory: Path, settings: ClusterSettings, ports: Mapping[str, int]) -> str:
    host = socket.gethostname().partition(".")[0]
    return _SLURM_CONF.format(
        directory=directory,
        host=host,
        user=_user(),
        port=ports[CONTROLLER],
        low=LOW,
        high=HIGH,
        gres_types="GresTypes=gpu" if settings.gpus else "",
        counted="CR_CPU_Memory" if settings.limit_memory else "CR_CPU",
        memory_lines=_LIMIT_MEMORY if settings.limit_memory else "",
        parameters="SlurmctldParameters=preempt_send_user_signal" if settings.user_signal else "",
        node_lines="\n".join(_node_line(node, host, ports[node], settings) for node in settings.node_names),
        **vars(settings),
    )


def _node_line(node: str, host: str, port: int, settings: ClusterSettings) -> str:
    gres = f" Gres=gpu:{settings.gpus}" if settings.gpus else ""
    size = f"CPUs={settings.cpus} RealMemory={settings.memory_mb}{gres}"
    return f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} {size}"


def _gres_conf(directory: Path, settings: ClusterSettings) -> str:
    if not settings.gpus:
        return ""
    numbers = "0" if settings.gpus == 1 else f"[0-{settings.gpus - 1}]"
    nodes = ",".join(settings.node_names)
    # The flag makes Slurm set CUDA_VISIBLE_DEVICES, as for GPUs it has found itself.
    return f"NodeName={nodes} Name=gpu Flags=nvidia_gpu_env File={directory}/gpu/nvidia{numbers}\n"


def _cgroup_plugin() -> str:
    """What keeps slurmd out of cgroups, which the sandbox needs none of.

    Left to itself, slurmd does not start where cgroup v2 is pure and no system D-Bus runs, as in most containers, and
    as root it sets limits on its own cgroup. `disabled` exists since 24.05; before, v1 is not touched until it is used.
    """
    return "disabled" if slurm_version() >= _CGROUPS_OPTIONAL else "cgroup/v1"


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise SandboxError(
            f"user id {os.geteuid()} has no name on this machine, and Slurm needs one; add it to /etc/passwd"
        ) from None


def free_ports(names: Sequence[str]) -> dict[str, int]:
    """A TCP port for each name, on which no process listens now. Raises SandboxError if there are not enough."""
    free = (port for port in random.SystemRandom().sample(_PORTS, len(_PORTS)) if _is_free(port))
    ports = dict(zip(names, free, strict=False))
    if len(ports) < len(names):
        raise SandboxError(f"fewer than {len(names)} TCP ports are free from {_PORTS.start} to {_PORTS.stop - 1}")
    return ports


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
