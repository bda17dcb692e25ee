"""Who may write in a sweep directory: we must, and not everybody else, for tasks run code from it."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from hpc.errors import SweepError


def check_private(directory: Path) -> None:
    """Raise SweepError if anybody on the machine can replace files in a sweep directory: tasks run code from it.

    With the sticky bit they can add files, but none in the place of ours.
    """
    try:
        mode = directory.stat().st_mode
    except FileNotFoundError:
        return
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise SweepError(f"{directory}: anybody can write here, and its tasks run code from it; chmod o-w {directory}")


def check_writable(directory: Path) -> None:
    """Raise OSError naming the path unless files can be made in a directory or in its nearest existing parent.

    Raises SweepError if everybody else can, too.
    """
    existing = directory
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "not a directory", str(existing))
    if not os.access(existing, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "cannot write here", str(existing))
    check_private(directory)
