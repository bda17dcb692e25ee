"""The processes that belong to a sandbox, found by its directory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from hpc.processes import is_dead, read_proc, stat_fields


def members(directory: Path) -> set[int]:
    """Processes that live and belong to this cluster, by working directory, environment or parent; never our own."""
    parents = _parents()
    roots = {pid for pid in parents if _is_daemon_of(directory, pid) or _is_job_of(directory, pid)}
    offspring = {pid for pid in parents if roots.intersection(_ancestors(pid, parents))}
    return (roots | offspring) - {os.getpid(), *_ancestors(os.getpid(), parents)}


def _is_daemon_of(directory: Path, pid: int) -> bool:
    # The directory alone is not enough: a user's shell may be in it.
    name = read_proc(pid, "comm").strip()
    named = name.startswith((b"slurm", b"munged")) and _working_directory(pid).is_relative_to(directory)
    return named and _means_the_same(directory, pid)


def _is_job_of(directory: Path, pid: int) -> bool:
    # SLURM_CONF alone is not enough: users set it in their shell to talk to the sandbox.
    variables = read_proc(pid, "environ").split(b"\0")
    ours = b"SLURM_CONF=" + os.fsencode(directory / "slurm.conf")
    named = ours in variables and any(variable.startswith(b"SLURM_JOB_ID=") for variable in variables)
    return named and _means_the_same(directory, pid)


def _means_the_same(directory: Path, pid: int) -> bool:
    """Whether the path leads that process to where it leads us: in a container it may lead to another sandbox."""
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    try:
        return os.path.samestat(existing.stat(), os.stat(f"/proc/{pid}/root{existing}"))
    except OSError:  # it has ended, or sees no such directory
        return False


def _working_directory(pid: int) -> Path:
    try:
        return Path(os.readlink(f"/proc/{pid}/cwd"))
    except OSError:  # it has ended, or belongs to another user
        return Path("/")


def _parents() -> dict[int, int]:
    """Parent by process id, of all processes except zombies."""
    pids = (int(name) for name in os.listdir("/proc") if name.isdecimal())
    stats = ((pid, stat_fields(pid)) for pid in pids)
    return {pid: int(fields[1]) for pid, fields in stats if fields and not is_dead(fields)}


def _ancestors(pid: int, parents: Mapping[int, int]) -> set[int]:
    found: set[int] = set()
    while pid in parents and parents[pid] not in found:
        pid = parents[pid]
        found.add(pid)
    return found
