"""How a file of a sweep directory is opened: as what it should be, or not at all.

A sweep directory is data, whoever made it. In the place of a file may lie a link that leads out, a pipe that never
ends, or gigabytes where kilobytes are expected. So only regular files are opened, no link is followed below the sweep
directory, nothing waits, and no more is read than hpc.files.limits says of a file of its kind.

What is checked by name can be swapped before it is used. So a folder of a sweep directory is reached from that
directory one descriptor after the other, none of them a link, and what lies in it is opened, renamed or removed in the
last of them. Which directories are sweep directories is not guessed from what lies there: `guard` is told.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

# Nothing we write is ever writable by anyone but its owner, for tasks run code from a sweep directory; the umask may
# take away more.
FILE_MODE = 0o644
# Without a terminal of a file's own, without a wait for whoever writes to a pipe, and not through a link.
_SAFELY = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_FOLDER = os.O_CLOEXEC | os.O_DIRECTORY
# A folder on the way to a file: it need not be readable, and a network file system is asked no more than by a path.
_ON_THE_WAY = os.O_PATH
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
        try:
            name = self.path[self.path.rindex("/") + 1 :]
            self.fd = os.open(name, os.O_RDONLY | _FOLDER | os.O_NOFOLLOW, dir_fd=self._around)
        except OSError:
            return
        _OF_THREAD.held = self

    def __exit__(self, *_: object) -> None:
        if self.fd >= 0:
            _OF_THREAD.held = None
            let_go(self.fd)


@contextlib.contextmanager
def by_name() -> Iterator[None]:
    """Reach every folder by its name while the block lasts, for whoever changes something in one that is held."""
    held, _OF_THREAD.held = _OF_THREAD.held, None
    try:
        yield
    finally:
        _OF_THREAD.held = held


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


def open_regular(path: Path | str, flags: int = os.O_RDONLY) -> tuple[int, os.stat_result]:
    """Descriptor of a regular file, and what it is. Raises RefusedFileError if it is another thing, OSError."""
    try:
        fd = _open(path, flags | _SAFELY)
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


@contextlib.contextmanager
def regular(path: Path | str, flags: int = os.O_RDONLY) -> Iterator[tuple[int, os.stat_result]]:
    """The same for as long as it is needed."""
    fd, found = open_regular(path, flags)
    try:
        yield fd, found
    finally:
        os.close(fd)


def _open(path: Path | str, flags: int) -> int:
    if (held := _OF_THREAD.held) is not None:
        parent, _, name = os.fspath(path).rpartition("/")
        if parent == held.path:
            try:
                return os.open(name, flags, FILE_MODE, dir_fd=held.fd)
            except OSError as error:
                if error.errno != errno.ESTALE:  # of a folder that is another one by now: the way is gone again
                    raise
    given, names = _way(path)
    if len(names) < 2:
        return os.open(path, flags, FILE_MODE)
    fd = _reach(given, names[:-1], _ON_THE_WAY)
    try:
        return os.open(names[-1], flags, FILE_MODE, dir_fd=fd)
    finally:
        let_go(fd)


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


def refuse_link(path: Path | str) -> None:
    """Raise RefusedFileError if a folder is a link."""
    if os.path.islink(path):
        raise _linked_folder(path)


def _is_link(name: str, folder: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _linked_folder(path: Path | str) -> RefusedFileError:
    return _refused(path, errno.ELOOP, "is a link; put the folder that it leads to in its place")


def _no_file(path: Path | str) -> RefusedFileError:
    return _refused(path, errno.EINVAL, "is a pipe, a socket or a device, not a file; move it away")


def _refused(path: Path | str, number: int, why: str) -> RefusedFileError:
    return RefusedFileError(number, why, str(path))
