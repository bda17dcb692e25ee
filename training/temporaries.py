"""Temporary directories on a node, where a process may be killed before it can remove its own.

Whoever makes one holds a lock on it. What nobody holds any more is removed by the next process of the same user.
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
# Between making a directory and locking it, it looks like one that was left behind.
_SECONDS_TO_LOCK = 600.0


@contextlib.contextmanager
def temporary_directory() -> Iterator[Path]:
    """A new directory for this process and those that it forks, removed at the end."""
    _remove_left_behind()
    path = Path(tempfile.mkdtemp(prefix=_PREFIX))
    held = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks: then nobody else gets one, either
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(held)


def _remove_left_behind() -> None:
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
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
