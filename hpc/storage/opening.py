"""How a file of a sweep directory is opened: as what it should be, or not at all.

A sweep directory is data, whoever made it. In the place of a file may lie a link that leads out, a pipe that never
ends, or gigabytes where kilobytes are expected. So only regular files are opened, no link is followed below the sweep
directory, nothing waits, and no more is read than a file of its kind can hold.

What is checked by name can be swapped before it is used. So a folder of a sweep directory is reached from that
directory one descriptor after the other, none of them a link, and what lies in it is opened, renamed or removed in the
last of them. Which directories are sweep directories is not guessed from what lies there: `guard` is told.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import math
import os
import stat
import threading
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path

from hpc.errors import ConfigError
from hpc.protocol import LIMITS
from hpc.units import size

# Bytes that are read of a file, by its kind; HOLDFAST_LIMITS multiplies them.
DOCUMENT = 16 << 20  # JSON: the objects that are made of it take up to thirty times as much memory
RESULT = 1 << 20  # results.json: there is one per cell, and all of them are held at once
HISTORY = 64 << 20
WEIGHTS = 2 << 30  # only to be compared with their digest; more are used, and told by their size
LIST = 256 << 20  # task lists
NAMES = 26 << 20  # JSON that names cells: MOST_CELLS of them, whose names have at most 250 bytes
SOURCE = 4 << 20  # Python: the tree that is made of it takes up to a hundred times as much memory
SEGMENT = 256 << 20  # offline files of W&B
# What is gone through; the same variable multiplies it.
MOST_CELLS = 100_000
MOST_EPOCHS = 200_000  # rows of a history
MOST_RECORDS = 1_000_000  # of an offline file of W&B
MOST_METRICS = 2_000  # of a sweep, in results and histories together
MOST_VALUES = 20_000_000  # metrics times cells: each is a number in memory, several times
MOST_NUMBERS = 100_000_000  # metrics times epochs, of all histories together: each is a number in memory, twice
ANY = math.inf  # what is trained goes into checkpoints and weights, and has the size that it has
# Without a terminal of a file's own, without a wait for whoever writes to a pipe, and not through a link.
_SAFELY = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_FOLDER = os.O_CLOEXEC | os.O_DIRECTORY
# A folder on the way to a file: it need not be readable, and a network file system is asked no more than by a path.
_ON_THE_WAY = os.O_PATH
# A product of axes may have more digits than Python prints.
_DIGITS = 300
_DEEPEST = 60  # folders in one another, below one of a sweep
_BLOCK = 1 << 20  # bytes
# Sweep directories that this process was given, and how often; see guard.
_GIVEN: Counter[str] = Counter()
_GIVEN_LOCK = threading.Lock()


class RefusedFileError(OSError):
    """A file or folder is not what it should be: a link, no regular file, or too large."""


# --- on the way to a file -------------------------------------------------------------------------------------------


def guard(root: Path) -> None:
    """From now on, no link is followed below this directory, and nothing in it is reached by `..`.

    The directory itself may be a link, or be reached through some: whoever names it decides where it lies. Of several
    that lie in one another the outermost counts: what is inside was found in it.
    """
    given = str(root.absolute())
    with _GIVEN_LOCK:
        _GIVEN[given] += 1
    if _OF_THREAD.given is not None:
        _OF_THREAD.given.append(given)


@contextlib.contextmanager
def for_one_call() -> Iterator[None]:
    """Forget at the end which directories this thread was told to guard meanwhile.

    A command guards until its process ends. A notebook's process goes on for days: whoever once looked for a sweep in
    his home directory would never again reach one below it through a link. What another thread guards stays guarded.
    """
    before, _OF_THREAD.given = _OF_THREAD.given, []
    try:
        yield
    finally:
        with _GIVEN_LOCK:
            _GIVEN.subtract(_OF_THREAD.given)
            for given in set(_OF_THREAD.given):
                if not _GIVEN[given]:
                    del _GIVEN[given]
        _OF_THREAD.given = before


def open_folder(path: Path | str, flags: int = os.O_RDONLY) -> int:
    """Descriptor of a folder; below a sweep directory, of one that is reached without a link.

    Raises RefusedFileError naming the link, OSError.
    """
    given, names = _way(path)
    return _reach(given, names, flags) if names else os.open(path, flags | _FOLDER)


def _reach(given: str, names: list[str], flags: int) -> int:
    fd = os.open(given, _ON_THE_WAY | _FOLDER)
    for number, name in enumerate(names, 1):
        last = number == len(names)
        try:
            inner = os.open(name, (flags if last else _ON_THE_WAY) | _FOLDER | os.O_NOFOLLOW, dir_fd=fd)
        except OSError as error:
            place = "/".join((given, *names[:number]))
            if _is_link(name, fd):
                raise _linked_folder(place) from None
            raise OSError(error.errno, error.strerror, place) from None
        finally:
            let_go(fd)
        fd = inner
    return fd


@contextlib.contextmanager
def folder(path: Path | str, flags: int = os.O_RDONLY) -> Iterator[int]:
    """The same for as long as it is needed."""
    fd = open_folder(path, flags)
    try:
        yield fd
    finally:
        let_go(fd)


class HeldFolder:
    """Reach a folder once for all that this thread opens in it while the block lasts.

    around: descriptor of the folder that it lies in. Only for reading, and not for long: the folder stays the one that
    it was, whatever has its name meanwhile. Where it cannot be reached, whoever opens something in it hears why.
    """

    def __init__(self, path: str, around: int) -> None:
        self.path, self._around, self.fd = path, around, -1

    def __enter__(self) -> None:
        with contextlib.suppress(OSError):
            name = self.path[self.path.rindex("/") + 1 :]
            self.fd = os.open(name, os.O_RDONLY | _FOLDER | os.O_NOFOLLOW, dir_fd=self._around)
            _OF_THREAD.held = self

    def __exit__(self, *_: object) -> None:
        if self.fd >= 0:
            _OF_THREAD.held = None
            let_go(self.fd)


class _OfThread(threading.local):
    held: HeldFolder | None = None
    given: list[str] | None = None


_OF_THREAD = _OfThread()


def let_go(fd: int) -> None:
    """Close the descriptor of a folder: nothing was written to it that could be lost."""
    with contextlib.suppress(OSError):
        os.close(fd)


def _way(path: Path | str) -> tuple[str, list[str]]:
    """(sweep directory, names from there on) of a path; an empty directory if it lies in none.

    Raises RefusedFileError if it leads out of the one that it begins in.
    """
    text, leads_out = os.fspath(path), False
    if not text.startswith("/"):
        text = f"{os.getcwd()}/{text}"
    end = text.find("/", 1)
    while end != -1:
        if text[:end] in _GIVEN:
            names = [name for name in text[end + 1 :].split("/") if name not in ("", ".")]
            if ".." not in names:
                return text[:end], names
            leads_out = True
        end = text.find("/", end + 1)
    if text in _GIVEN:
        return text, []
    if leads_out:
        raise _refused(path, errno.EINVAL, "leads out of its sweep directory")
    return "", []


# --- files ----------------------------------------------------------------------------------------------------------


def open_regular(path: Path | str, flags: int = os.O_RDONLY, mode: int = 0o644) -> tuple[int, int]:
    """(descriptor, size) of a regular file. Raises RefusedFileError if it is another thing, OSError."""
    fd, found = _open_regular(path, flags, mode)
    return fd, found.st_size


def _open_regular(path: Path | str, flags: int = os.O_RDONLY, mode: int = 0) -> tuple[int, os.stat_result]:
    try:
        fd = _open(path, flags | _SAFELY, mode)
    except RefusedFileError:
        raise
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _refused(path, errno.ELOOP, "is a link; put the file that it leads to in its place") from None
        if error.errno == errno.ENXIO:
            raise _no_file(path) from None
        raise OSError(error.errno, error.strerror, str(path)) from None
    found = os.fstat(fd)
    if stat.S_ISREG(found.st_mode):
        return fd, found
    os.close(fd)
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "is a directory, not a file; move it away", str(path))
    raise _no_file(path)


def _open(path: Path | str, flags: int, mode: int) -> int:
    if (held := _OF_THREAD.held) is not None:
        parent, _, name = os.fspath(path).rpartition("/")
        if parent == held.path:
            try:
                return os.open(name, flags, mode, dir_fd=held.fd)
            except OSError as error:
                if error.errno != errno.ESTALE:  # of a folder that is another one by now: the way is gone again
                    raise
    given, names = _way(path)
    if len(names) < 2:
        return os.open(path, flags, mode)
    fd = _reach(given, names[:-1], _ON_THE_WAY)
    try:
        return os.open(names[-1], flags, mode, dir_fd=fd)
    finally:
        let_go(fd)


def read_with_stat(path: Path | str, most: float) -> tuple[bytes, os.stat_result]:
    """The bytes of a regular file, and what the file is that they are of: its name may be another's a moment later.

    most: how many it may have, before HOLDFAST_LIMITS. Raises RefusedFileError, OSError.
    """
    fd, found = _open_regular(path)
    length = found.st_size
    try:
        if length > most:
            check_size(path, length, most)
        data = os.read(fd, length + 1)
        if len(data) == length:
            return data, found
        # More than 2 GB, or a file that grows or shrinks.
        parts = [data]
        while parts[-1] and sum(map(len, parts)) <= length:
            parts.append(os.read(fd, length + 1))
        return b"".join(parts), found
    finally:
        os.close(fd)


def sha256(path: Path | str, size: int | None = None, most: float = ANY, content: list[bytes] | None = None) -> str:
    """Digest of a file, read piece by piece; empty if its size is not ``size``. most: bytes that are read.

    content: gets the pieces, for whoever wants to know what they say. Raises RefusedFileError, OSError.
    """
    fd, length = open_regular(path)
    try:
        if size is not None and length != size:
            return ""  # it need not be read to know that it is another one
        check_size(path, length, most)
        total, piece = hashlib.sha256(), min(length + 1, _BLOCK)
        while data := os.read(fd, piece):
            total.update(data)
            if content is not None:
                content.append(data)
            if len(data) < piece:
                break
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


def ends(path: Path | str, most: int = _BLOCK) -> bytes:
    """The beginning and the end of a file, at most twice as many bytes: all of a small one.

    Raises RefusedFileError, OSError.
    """
    fd, length = open_regular(path)
    try:
        begun = os.pread(fd, most, 0)
        return begun + os.pread(fd, most, max(len(begun), length - most))
    finally:
        os.close(fd)


def check_size(path: Path | str, length: int, most: float) -> None:
    """Raise RefusedFileError if a file is larger than those of its kind can be."""
    if length > most * factor():
        raise _refused(path, errno.EFBIG, f"has {size(length)}, where at most {size(round(most * factor()))} are read; "
                       f"{way_out(length, most)}")  # fmt: skip


def list_folder(path: Path | str) -> list[str]:
    """Names in a directory that is no link, unless a slash ends its path. Raises RefusedFileError, OSError."""
    if (held := _OF_THREAD.held) is not None and path == held.path:
        try:
            return os.listdir(held.fd)
        except OSError as error:
            if error.errno != errno.ESTALE:  # as in _open
                raise
    given, names = _way(path)
    try:
        fd = _reach(given, names, os.O_RDONLY) if names else os.open(path, os.O_RDONLY | _FOLDER | os.O_NOFOLLOW)
    except NotADirectoryError:
        refuse_link(path)
        raise
    try:
        return os.listdir(fd)
    finally:
        let_go(fd)


def walk(directory: Path | str) -> Iterator[tuple[str, list[str], list[str]]]:
    """As os.walk from the top, which calls itself once per level and dies of a few hundred; links are not followed.

    Raises RefusedFileError naming a folder that lies deeper than any of ours.
    """
    waiting = [(os.fspath(directory), 0)]
    while waiting:
        place, depth = waiting.pop()
        if depth > _DEEPEST:
            raise _refused(place, errno.ELOOP, f"lies more than {_DEEPEST} folders deep; move it away")
        for found, folders, names in islice(os.walk(place), 1):
            yield found, folders, names
            inner = (os.path.join(found, name) for name in reversed(folders))
            waiting += [(path, depth + 1) for path in inner if not os.path.islink(path)]


def refuse_link(path: Path | str) -> None:
    """Raise RefusedFileError if a folder is a link."""
    if os.path.islink(path):
        raise _linked_folder(path)


def _is_link(name: str, folder: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False


def too_many(count: int, most: int, what: str) -> str:
    """That there are more of something than are gone through, and the way out; empty if there are not."""
    if count <= most * factor():
        return ""
    digits = len(str(count)) - 1 if count < 10**_DIGITS else _DIGITS
    number = f"{count:,}" if digits < 15 else f"about 10^{digits}"
    return f"{number} {what}, where at most {most * factor():,.0f} are read; {way_out(count, most)}"


def factor() -> float:
    """What all limits are multiplied by. Raises ConfigError if the variable is not a number of 1 or more."""
    return _factor(os.environ.get(LIMITS, "1"))


@cache
def _factor(text: str) -> float:
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


def _linked_folder(path: Path | str) -> RefusedFileError:
    return _refused(path, errno.ELOOP, "is a link; put the folder that it leads to in its place")


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
