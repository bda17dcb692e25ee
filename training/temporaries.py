"""Temporary directories on a node, where a process may be killed before it can remove its own.

Whoever makes one holds a lock on it. What nobody holds any more is removed by the next process of the same user on the
same node: where several share a place for temporary files, a lock may be seen on its own node alone (Lustre with
localflock, BeeGFS, NFS with nolock), so that another node would take every directory for one that was left behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_PREFIX = "holdfast-task-"
# Of directories that could not be locked: only their own process removes them.
_UNLOCKED_PREFIX = "holdfast-unlocked-"
# Between making a directory and locking it, it looks like one that was left behind.
_SECONDS_TO_LOCK = 600.0


@contextlib.contextmanager
def temporary_directory() -> Iterator[Path]:
    """A new directory for this process and those that it forks, removed at the end."""
    _remove_left_behind()
    path = Path(tempfile.mkdtemp(prefix=_prefix()))
    held = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # a file system without locks
            path = path.rename(path.with_name(path.name.replace(_PREFIX, _UNLOCKED_PREFIX, 1)))
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(held)


def _prefix() -> str:
    """Of the directories of this node since it was started: no other machine has the same boot id."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().replace("-", "")
    return f"{_PREFIX}{boot[:12]}-"


def _remove_left_behind() -> None:
    for path in Path(tempfile.gettempdir()).glob(f"{_prefix()}*"):
        with contextlib.suppress(OSError):  # another process may be removing it, too
            _remove_if_left_behind(path)


def _remove_if_left_behind(path: Path) -> None:
    # A link, or another user's directory in its place, is not opened or does not pass.
    opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        found = os.fstat(opened)
        if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode):
            return
        if time.time() - found.st_ctime < _SECONDS_TO_LOCK:
            return
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises BlockingIOError if its process lives
        shutil.rmtree(path)  # follows no link either
    finally:
        os.close(opened)
