"""Whose a file is, and whether a directory is shared with a group. What another user's directory names is data."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path


def owner_of(path: Path) -> str:
    """The other user to whom a file belongs, or the link that leads to it; empty if it is ours or is not there.

    What belongs to root counts as ours, who can change all we have in any case. To root, what belongs to anybody else
    is foreign. Raises OSError.
    """
    for look in (os.lstat, os.stat):
        try:
            uid = look(path).st_uid
        except (FileNotFoundError, NotADirectoryError):
            return ""
        if uid not in (os.geteuid(), 0):
            return user_name(uid)
    return ""


def user_name(uid: int) -> str:
    """The name of a user, or the number of one who has none here."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def is_shared(directory: Path) -> bool:
    """Whether the group may write in a directory: its members share it on purpose. Raises OSError."""
    try:
        return bool(os.stat(directory).st_mode & stat.S_IWGRP)
    except (FileNotFoundError, NotADirectoryError):
        return False


def below(directory: Path) -> Iterator[Path]:
    """A directory and all that lies in it; links are not followed."""
    yield directory
    for folder, folders, names in os.walk(directory):
        yield from (Path(folder, name) for name in (*folders, *names))
