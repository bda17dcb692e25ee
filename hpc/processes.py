"""Processes of this machine, distinguished from later ones that were given the same id."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """One process of this machine. start: in clock ticks since boot; no later process with this id has the same."""

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


def start_time(pid: int) -> int | None:
    """Clock ticks from boot to the process's start; None if it is dead or a zombie."""
    fields = stat_fields(pid)
    return int(fields[19]) if fields and not is_dead(fields) else None


def stat_fields(pid: int) -> list[bytes]:
    """Fields of /proc/PID/stat from the state on; empty if there is no such process."""
    # The name comes in parentheses and may hold anything, also parentheses.
    return read_proc(pid, "stat").rpartition(b")")[2].split()


def is_dead(fields: Sequence[bytes]) -> bool:
    return fields[0] in (b"Z", b"X")  # a container's init may never reap: a zombie is dead


def read_proc(pid: int, file: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{file}").read_bytes()
    except OSError:  # it has ended, or belongs to another user
        return b""


def kill(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _reap(process: Process) -> None:
    fields = stat_fields(process.pid)
    if fields and is_dead(fields) and int(fields[19]) == process.start:
        with suppress(ChildProcessError):  # another process started it
            os.waitpid(process.pid, os.WNOHANG)


def host() -> str:
    """Name of this machine, for records that people read."""
    return socket.gethostname()


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0))
