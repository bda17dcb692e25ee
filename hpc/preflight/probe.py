"""What the shared directory can do (names, speed, space), tested here and, at the same moment, on a node.

The safety of results rests on three operations: mkdir and link fail for all but the first, rename replaces in one
step. Each round both sides try for the same name; exactly one must win.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpc.files import atomic

# Enough for a race that goes wrong only now and then to show, and few enough for a slow network file system.
ROUNDS = 40
# Longer than NFS keeps a directory in its cache by default (acdirmax, 60 s).
REPLY_SECONDS = 90.0
# Parameters, both of Adam's moments and bookkeeping of five cells of the default model.
CHECKPOINT_BYTES = 24_000_000
# Writes, of which the median counts: one may meet a busy moment.
_CHECKPOINTS = 5
_POLL_SECONDS = 0.02


def alone(directory: Path) -> list[str]:
    """Faults of mkdir, link and rename, used by one side alone; a sound directory has none. Raises OSError."""
    faults = []
    target, source = directory / "target", directory / "source"
    os.mkdir(directory / "made")
    try:
        os.mkdir(directory / "made")
        faults.append("mkdir of a directory that exists succeeds")
    except FileExistsError:
        pass
    atomic.publish(source, b"new")
    atomic.publish(target, b"old")
    if atomic.link_once(source, target) or target.read_bytes() != b"old":
        faults.append("link replaces a file that exists")
    if not atomic.link_once(source, directory / "link") or os.stat(source).st_nlink != 2:
        faults.append("link does not count a file's names (st_nlink)")
    os.replace(source, target)
    if target.read_bytes() != b"new" or source.exists():
        faults.append("rename does not replace a file")
    return faults


def race(directory: Path, side: str) -> dict[str, list[int]]:
    """Try, round by round, to be the first to make a directory and a link. Returns the rounds won. Raises OSError."""
    won: dict[str, list[int]] = {"mkdir": [], "link": []}
    source = directory / f"from-{side}"
    atomic.publish(source, side.encode())
    for number in range(ROUNDS):
        try:
            os.mkdir(directory / f"mkdir-{number}")
            won["mkdir"].append(number)
        except FileExistsError:
            pass
        if atomic.link_once(source, directory / f"link-{number}"):
            won["link"].append(number)
    return won


def race_faults(here: Mapping[str, list[int]], there: Mapping[str, list[int]]) -> list[str]:
    """What is wrong with two sides' wins: every round must have one winner."""
    faults = []
    for operation in ("mkdir", "link"):
        both = set(here[operation]) & set(there[operation])
        neither = set(range(ROUNDS)) - set(here[operation]) - set(there[operation])
        if both:
            faults.append(f"{operation}: in {len(both)} of {ROUNDS} rounds both sides won")
        if neither:
            faults.append(f"{operation}: in {len(neither)} of {ROUNDS} rounds neither side won")
    return faults


def call(directory: Path) -> float | None:
    """The node's part of a meeting: make a file and wait for the reply. Returns seconds, or None without a reply."""
    started = time.monotonic()
    atomic.publish(directory / "call", b"")
    while "reply" not in os.listdir(directory):
        if time.monotonic() - started > REPLY_SECONDS:
            return None
        time.sleep(_POLL_SECONDS)
    return time.monotonic() - started


def called(directory: Path) -> bool:
    """Whether the node has called. Listing asks the server; looking for the name may be answered from a cache."""
    return "call" in os.listdir(directory)


def reply(directory: Path) -> None:
    atomic.publish(directory / "reply", b"")


def checkpoint_seconds(directory: Path, size: int = CHECKPOINT_BYTES) -> float:
    """Seconds to publish a checkpoint of ``size`` bytes, safe from power cuts: the median of a few. Raises OSError."""
    data = os.urandom(size)
    taken = []
    for number in range(_CHECKPOINTS):
        started = time.monotonic()
        atomic.publish(directory / "checkpoint", data + bytes([number]))
        taken.append(time.monotonic() - started)
    os.unlink(directory / "checkpoint")
    return statistics.median(taken)


def space(directory: Path) -> dict[str, Any]:
    """Bytes and inodes that this user may still fill in the file system of a directory; 0 inodes: no limit known."""
    found = os.statvfs(directory)
    return {
        "free_bytes": found.f_bavail * found.f_frsize,
        "total_bytes": found.f_blocks * found.f_frsize,
        "free_inodes": found.f_favail,
        "total_inodes": found.f_files,
    }
