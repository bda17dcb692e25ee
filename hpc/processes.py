"""Processes of this machine, distinguished from later ones that were given the same id; and how this one is stopped."""

from __future__ import annotations

import math
import os
import re
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

# kill, timeout and systemd send TERM; a terminal that is closed sends HUP.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PSS = re.compile(rb"^Pss:\s+(\d+) kB", re.MULTILINE)
_PEAK = re.compile(rb"^VmHWM:\s+(\d+) kB", re.MULTILINE)
# timeout(1) and other starters signal a process and then its whole group: that is one request to stop, not two.
_SAME_STOP_SECONDS = 1.0
_last_stop = -math.inf


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


def state(pid: int) -> str:
    """The process's state as /proc has it, such as R, S, or T if it is stopped; "" if there is no such process."""
    fields = stat_fields(pid)
    return fields[0].decode() if fields else ""


def is_hidden(pid: int) -> bool:
    """Whether a process exists of which /proc shows nothing: another user's where it is mounted with hidepid."""
    if stat_fields(pid):
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def memory(pid: int) -> int:
    """Bytes that a process and all that it has started have now; what several of them share counts once."""
    found, waiting = 0, [pid]
    while waiting:
        one = waiting.pop()
        found += _own_memory(one)
        waiting += _children(one)
    return found


def has_children() -> bool:
    """Whether this process has started one that runs."""
    fields = map(stat_fields, _children(os.getpid()))
    return any(found and not is_dead(found) for found in fields)


def has_had_children() -> bool:
    """Whether this process, or what it was exec'ed from, has started another one, running or ended."""
    return bool(_children(os.getpid())) or resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss > 0


def _children(pid: int) -> list[int]:
    return [int(child) for thread in _threads(pid) for child in read_proc(pid, f"task/{thread}/children").split()]


def peak_memory() -> int:
    """Bytes of the largest process so far: this one, or one that it started and that has ended."""
    # What getrusage says of this one begins with what the process that started it had.
    own = _PEAK.search(read_proc(os.getpid(), "status"))
    largest = int(own[1]) if own else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return 1024 * max(largest, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)


def _own_memory(pid: int) -> int:
    """Bytes of one process; of pages that it shares with others, its part where the kernel tells it."""
    if part := _PSS.search(read_proc(pid, "smaps_rollup")):
        return 1024 * int(part[1])
    fields = stat_fields(pid)
    return int(fields[21]) * os.sysconf("SC_PAGE_SIZE") if fields else 0


def _threads(pid: int) -> list[str]:
    try:
        return os.listdir(f"/proc/{pid}/task")
    except OSError:  # it has ended
        return []


@dataclass(frozen=True)
class Place:
    """Where a process runs: what of it a pid means something in.

    host: name, for people; several machines may have the same. machine: /etc/machine-id, "" if there is none.
    boot: unique to a machine's boot. namespace: inode of the PID namespace, in which the pid counts.
    """

    host: str
    machine: str
    boot: str
    namespace: str

    @property
    def in_container(self) -> bool:
        """Whether this is not the machine's own PID namespace, whose inode is fixed (PROC_PID_INIT_INO in Linux)."""
        return self.namespace != "pid:[4026531836]"


def here() -> Place:
    """Where this process runs."""
    return Place(host(), _first_line("/etc/machine-id"), boot_id(), _link("/proc/self/ns/pid"))


def host() -> str:
    """Name of this machine, for records that people read."""
    return socket.gethostname()


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except (OSError, ValueError):
        return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0))


def wait_until(condition: Callable[[], bool], seconds: float, pause: float) -> bool:
    """Look every ``pause`` seconds until the condition holds; False if it still does not after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


@contextmanager
def interrupted_by(*signals: signal.Signals, then_ends: bool = False) -> Iterator[None]:
    """Let signals that would end this process raise KeyboardInterrupt, once for all that come within a second.

    Those that are ignored stay so (nohup), and a handler of somebody else stays in place.
    then_ends: the process ends after this; a repeated signal must not change with which status.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in signals}
    ours = [number for number in signals if before[number] in (signal.SIG_DFL, signal.default_int_handler)]
    for number in ours:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_IGN if then_ends and _last_stop > -math.inf else before[number])


@contextmanager
def noted(*signals: signal.Signals) -> Iterator[Callable[[], bool]]:
    """Meanwhile signals interrupt nothing, and the caller may ask whether one came. Those that are ignored stay so."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.getsignal(number) for number in signals}
    ours = [number for number, handler in before.items() if handler != signal.SIG_IGN]
    for number in ours:
        signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield lambda: bool(came)
    finally:
        for number in ours:
            signal.signal(number, before[number])


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _last_stop
    since, _last_stop = time.monotonic() - _last_stop, time.monotonic()
    if since >= _SAME_STOP_SECONDS:
        raise KeyboardInterrupt
