"""Processes of this machine, told apart from successors that got the same id, and those that belong to a sandbox."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """One process of this machine. start: its start time in clock ticks since boot, which tells it from a successor."""

    pid: int
    start: int

    def alive(self) -> bool:
        """Whether it still runs; a zombie does not."""
        if start_time(self.pid) == self.start:
            return True
        _reap(self)
        return False

    def signal(self, number: int) -> None:
        """Sends a signal, if it is still the same process."""
        if self.alive():
            kill(self.pid, number)


def members(directory: Path) -> set[int]:
    """Processes that live and belong to this cluster, by working directory, environment or parent; never our own."""
    parents = _parents()
    roots = {pid for pid in parents if _is_daemon_of(directory, pid) or _is_job_of(directory, pid)}
    offspring = {pid for pid in parents if roots.intersection(_ancestors(pid, parents))}
    return (roots | offspring) - {os.getpid(), *_ancestors(os.getpid(), parents)}


def _is_daemon_of(directory: Path, pid: int) -> bool:
    # The directory alone is not enough: a shell may be looking around in there.
    name = _read_proc(pid, "comm").strip()
    return name.startswith((b"slurm", b"munged")) and _working_directory(pid).is_relative_to(directory)


def _is_job_of(directory: Path, pid: int) -> bool:
    # SLURM_CONF alone is not enough: users set it in their shell to talk to the sandbox.
    variables = _read_proc(pid, "environ").split(b"\0")
    ours = b"SLURM_CONF=" + os.fsencode(directory / "slurm.conf")
    return ours in variables and any(variable.startswith(b"SLURM_JOB_ID=") for variable in variables)


def _working_directory(pid: int) -> Path:
    try:
        return Path(os.readlink(f"/proc/{pid}/cwd"))
    except OSError:  # it has ended, or is somebody else's
        return Path("/")


def _parents() -> dict[int, int]:
    """Parent by process id, of all processes that are no zombies."""
    pids = (int(name) for name in os.listdir("/proc") if name.isdecimal())
    stats = ((pid, _stat(pid)) for pid in pids)
    return {pid: int(fields[1]) for pid, fields in stats if fields and not _is_dead(fields)}


def _ancestors(pid: int, parents: Mapping[int, int]) -> set[int]:
    found: set[int] = set()
    while pid in parents and parents[pid] not in found:
        pid = parents[pid]
        found.add(pid)
    return found


def start_time(pid: int) -> int | None:
    """Clock ticks from boot to the process's start; None if it is dead or a zombie."""
    fields = _stat(pid)
    return int(fields[19]) if fields and not _is_dead(fields) else None


def _stat(pid: int) -> list[bytes]:
    """/proc/PID/stat from the state on; empty if there is no such process."""
    # The name comes in parentheses and may hold anything, also parentheses.
    return _read_proc(pid, "stat").rpartition(b")")[2].split()


def _is_dead(fields: Sequence[bytes]) -> bool:
    return fields[0] in (b"Z", b"X")  # a container's init may never reap: a zombie is dead


def _read_proc(pid: int, file: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{file}").read_bytes()
    except OSError:  # it has ended, or is somebody else's
        return b""


def kill(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _reap(process: Process) -> None:
    fields = _stat(process.pid)
    if fields and _is_dead(fields) and int(fields[19]) == process.start:
        with suppress(ChildProcessError):  # another process started it
            os.waitpid(process.pid, os.WNOHANG)


def host() -> str:
    """Name of this machine, for records that people read."""
    return socket.gethostname()


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
