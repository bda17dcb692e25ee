"""Logs, which people read and no decision rests on."""

from __future__ import annotations

import os
from pathlib import Path

from hpc.files.atomic import write_all
from hpc.files.opening import open_regular, regular

_ADDING = os.O_WRONLY | os.O_APPEND | os.O_CREAT
_MOST = 1 << 20  # bytes


def append(path: Path, text: str) -> None:
    """Add a line to a log that people read and no decision rests on."""
    with regular(path, _ADDING) as (fd, _):
        # A file's name that is no text, as Python holds it, is part of many an error's message.
        write_all(fd, text.encode(errors="backslashreplace"))


def open_log(path: Path) -> int:
    """A descriptor that adds to a log."""
    return open_regular(path, _ADDING)[0]


def tail(path: Path | str, most: int = _MOST) -> str:
    """The end of a log, in whole lines; a first line says so if that is not all. Raises RefusedFileError, OSError."""
    with regular(path) as (fd, found):
        data = os.pread(fd, most, max(0, found.st_size - most))
    if found.st_size > most:
        data = b"... (the end of %s)\n" % os.fsencode(path) + data.partition(b"\n")[2]
    return data.decode(errors="replace")


def head(path: Path | str, most: int) -> str:
    """The beginning of a log. Raises RefusedFileError, OSError."""
    with regular(path) as (fd, _):
        return os.pread(fd, most, 0).decode(errors="replace")
