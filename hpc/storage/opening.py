"""How a file of a sweep directory is opened: as what it should be, or not at all.

A sweep directory is data, whoever made it. In the place of a file may lie a link that leads out, a pipe that never
ends, or gigabytes where kilobytes are expected. So only regular files are opened, no link is followed below the sweep
directory, nothing waits, and no more is read than a file of its kind can hold.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
import stat
from functools import cache
from pathlib import Path

from hpc.errors import ConfigError
from hpc.protocol import LIMITS
from hpc.units import size

# Bytes that are read of a file, by its kind; HOLDFAST_LIMITS multiplies them.
DOCUMENT = 16 << 20  # JSON: the objects that are made of it take up to thirty times as much memory
HISTORY = 64 << 20
LIST = 256 << 20  # task lists
SEGMENT = 256 << 20  # offline files of W&B
# What is gone through; the same variable multiplies it.
MOST_CELLS = 1_000_000
MOST_EPOCHS = 200_000  # rows of a history
MOST_METRICS = 2_000  # of a sweep, in results and histories together
ANY = math.inf  # what is trained goes into checkpoints and weights, and has the size that it has
# Without a terminal of a file's own, without a wait for whoever writes to a pipe, and not through a link.
_SAFELY = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
# Folders lie at most so deep in a sweep directory: individual_results/CELL/attempts/0001.
_DEPTH = 4
# A product of axes may have more digits than Python prints.
_DIGITS = 300
_SWEEP_FILE = "sweep.json"
_BLOCK = 1 << 20  # bytes


class RefusedFileError(OSError):
    """A file or folder is not what it should be: a link, no regular file, or too large."""


def open_regular(path: Path | str, flags: int = os.O_RDONLY, mode: int = 0o644) -> tuple[int, int]:
    """(descriptor, size) of a regular file. Raises RefusedFileError if it is another thing, OSError."""
    try:
        fd = os.open(path, flags | _SAFELY, mode)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _refused(path, errno.ELOOP, "is a link; put the file that it leads to in its place") from None
        if error.errno == errno.ENXIO:
            raise _no_file(path) from None
        raise
    found = os.fstat(fd)
    if stat.S_ISREG(found.st_mode):
        return fd, found.st_size
    os.close(fd)
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "is a directory, not a file; move it away", str(path))
    raise _no_file(path)


def read_regular(path: Path | str, most: float) -> bytes:
    """The bytes of a regular file. most: how many it may have, before HOLDFAST_LIMITS.

    Raises RefusedFileError, OSError.
    """
    fd, length = open_regular(path)
    try:
        if length > most:
            check_size(path, length, most)
        data = os.read(fd, length + 1)
        if len(data) == length:
            return data
        # More than 2 GB, or a file that grows or shrinks.
        parts = [data]
        while parts[-1] and sum(map(len, parts)) <= length:
            parts.append(os.read(fd, length + 1))
        return b"".join(parts)
    finally:
        os.close(fd)


def sha256(path: Path | str, size: int | None = None) -> str:
    """Digest of a file, read piece by piece; empty if its size is not ``size``. Raises RefusedFileError, OSError."""
    fd, length = open_regular(path)
    try:
        if size is not None and length != size:
            return ""  # it need not be read to know that it is another one
        total = hashlib.sha256()
        while data := os.read(fd, _BLOCK):
            total.update(data)
        return total.hexdigest()
    finally:
        os.close(fd)


def tail(path: Path | str, most: int = _BLOCK) -> str:
    """The end of a log, in whole lines; a first line says so if that is not all. Raises RefusedFileError, OSError."""
    fd, length = open_regular(path)
    try:
        data = os.pread(fd, most, max(0, length - most))
    finally:
        os.close(fd)
    if length > most:
        data = b"... (the end of %s)\n" % os.fsencode(path) + data.partition(b"\n")[2]
    return data.decode(errors="replace")


def head(path: Path | str, most: int) -> str:
    """The beginning of a log. Raises RefusedFileError, OSError."""
    fd, _ = open_regular(path)
    try:
        return os.pread(fd, most, 0).decode(errors="replace")
    finally:
        os.close(fd)


def check_size(path: Path | str, length: int, most: float) -> None:
    """Raise RefusedFileError if a file is larger than those of its kind can be."""
    if length > most * factor():
        raise _refused(path, errno.EFBIG, f"has {size(length)}, where at most {size(round(most * factor()))} are read; "
                       f"{way_out(length, most)}")  # fmt: skip


def list_folder(path: Path | str) -> list[str]:
    """Names in a directory that is no link, unless a slash ends its path. Raises RefusedFileError, OSError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except NotADirectoryError:
        refuse_link(path)
        raise
    try:
        return os.listdir(fd)
    finally:
        os.close(fd)


def refuse_link(path: Path | str) -> None:
    """Raise RefusedFileError if a folder is a link."""
    if os.path.islink(path):
        raise _refused(path, errno.ELOOP, "is a link; put the folder that it leads to in its place")


def check_place(folder: Path) -> None:
    """Raise RefusedFileError if a folder to write in, or one between it and its sweep directory, is a link."""
    between = [folder]
    for above in folder.parents[:_DEPTH]:
        if os.path.lexists(above / _SWEEP_FILE):
            for part in between:
                refuse_link(part)
            return
        between.append(above)


def too_many(count: int, most: int, what: str) -> str:
    """That there are more of something than are gone through, and the way out; empty if there are not."""
    if count <= most * factor():
        return ""
    digits = len(str(count)) - 1 if count < 10**_DIGITS else _DIGITS
    number = f"{count:,}" if digits < 15 else f"about 10^{digits}"
    return f"{number} {what}, where at most {most * factor():,.0f} are read; {way_out(count, most)}"


@cache
def factor() -> float:
    """What all limits are multiplied by. Raises ConfigError if the variable is not a number of 1 or more."""
    text = os.environ.get(LIMITS, "1")
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 1 <= value < math.inf:
        raise ConfigError([f"environment: {LIMITS} is {text!r}; must be a number of at least 1"])
    return value


def way_out(count: int, most: float) -> str:
    """How to raise a limit that is passed, for the end of a message."""
    needed = -(-count // int(most))
    return f"if that is meant, set {LIMITS}={needed if needed < 10**6 else 'N'}, which multiplies the limits"


def _no_file(path: Path | str) -> RefusedFileError:
    return _refused(path, errno.EINVAL, "is a pipe, a socket or a device, not a file; move it away")


def _refused(path: Path | str, number: int, why: str) -> RefusedFileError:
    return RefusedFileError(number, why, str(path))


def is_shared(directory: Path) -> bool:
    """Whether the group may write in a directory: its members share it on purpose. Raises OSError."""
    try:
        return bool(os.stat(directory).st_mode & stat.S_IWGRP)
    except (FileNotFoundError, NotADirectoryError):
        return False
