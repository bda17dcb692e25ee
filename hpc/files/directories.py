"""Directories of a sweep: made, claimed by number, listed, renamed, removed; and what gets or loses its name in one.

All of it happens in one descriptor of the folder, which hpc.files.opening reaches without a link, so that nothing is
written or removed elsewhere whatever is swapped meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from hpc.files import opening
from hpc.files.opening import FILE_MODE
from hpc.files.reading import asked

# As FILE_MODE for files; the umask may take away more.
_DIRECTORY_MODE = 0o755
# The coarsest time stamps in use, of FAT; NFS servers and older disks count whole seconds.
_COARSEST_NS = 2_000_000_000
_NUMBER = re.compile(r"[0-9]{1,18}")  # more digits are none of ours
_DEEPEST = 60  # folders in one another, below one of a sweep


@contextlib.contextmanager
def around(path: Path) -> Iterator[int]:
    """Descriptor of the folder in which ``path`` gets or loses its name.

    What goes wrong with the folder, with a name in it, or with a descriptor names the path: the file that the user
    knows instead of our temporary one. A link that is refused is named itself.
    """
    try:
        folder = opening.open_folder(path.parent)
    except OSError as error:
        raise _naming(error, path) from None
    try:
        yield folder
    except OSError as error:
        if error.filename is None or (isinstance(error.filename, str) and "/" not in error.filename):
            raise _naming(error, path) from None
        raise
    finally:
        opening.let_go(folder)


def _naming(error: OSError, path: Path) -> OSError:
    if isinstance(error, opening.RefusedFileError):
        return error
    return OSError(error.errno, error.strerror or os.strerror(error.errno or 0), str(path))


def make_directory(path: Path) -> None:
    """Make a directory and its parents; existing ones are left alone. Raises OSError naming the path."""
    with contextlib.suppress(FileNotFoundError), opening.folder(path, os.O_PATH):
        return
    if path.parent != path:
        make_directory(path.parent)
    try:
        mkdir(path)
    except FileExistsError:  # made by another process, which may not have come to sync it
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from None
    sync_directory(path.parent)


def mkdir(path: Path) -> None:
    """Make one directory. In one that a group shares on purpose (setgid, writable by it), it is shared as well.

    Raises OSError naming the path, FileExistsError among them.
    """
    with around(path) as folder:
        os.mkdir(path.name, _DIRECTORY_MODE, dir_fd=folder)
        mode = os.fstat(folder).st_mode
        if mode & stat.S_ISGID and mode & stat.S_IWGRP:
            _share(folder, path.name)


def _share(folder: int, name: str) -> None:
    """Let the group write in a directory of ours, by its descriptor: a member may have put a link in its place."""
    made = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
    try:
        found = os.fstat(made)
        if found.st_uid == os.geteuid():
            os.fchmod(made, stat.S_IMODE(found.st_mode) | stat.S_IWGRP)
    finally:
        opening.let_go(made)


def is_shared(directory: Path) -> bool:
    """Whether the group may write in a directory: its members share it on purpose. Raises OSError."""
    try:
        return bool(os.stat(directory).st_mode & stat.S_IWGRP)
    except (FileNotFoundError, NotADirectoryError):
        return False


def claim(parent: Path, width: int, above: int = 0) -> tuple[int, Path]:
    """Make the directory of the next free number in ``parent``, which no other process then has.

    mkdir is atomic everywhere; whoever finds the number taken goes on to the next. above: a number that is not given
    again, whether or not its directory is still there.
    Returns (number, directory). Numbers begin at 1 and have at least ``width`` digits.
    """
    number = max(above, *numbers(parent), 0) + 1
    while True:
        path = parent / f"{number:0{width}d}"
        try:
            mkdir(path)
        except FileExistsError:
            number += 1  # taken by another process, or by us in a request that NFS repeated: a gap does no harm
        else:
            sync_directory(parent)
            return number, path


def numbers(parent: Path) -> list[int]:
    """The numbers in use among the entries of a directory, in any order. No directory: none."""
    return [int(name) for name in entries(parent) if _NUMBER.fullmatch(name)]


def entries(parent: Path | str) -> list[str]:
    """Names in a directory, without a network file system's leftovers. No directory: none.

    Listing asks the server; probing a name may be answered from a cache that still says it is not there.
    Raises RefusedFileError for a link, OSError.
    """
    try:
        names = asked(lambda: opening.list_folder(parent), {errno.ESTALE})
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [name for name in names if not name.startswith(".")]


def walk(directory: Path | str) -> Iterator[tuple[str, list[str], list[str]]]:
    """As os.walk from the top, which calls itself once per level and dies of a few hundred; links are not followed.

    Raises RefusedFileError naming a folder that lies deeper than any of ours.
    """
    waiting = [(os.fspath(directory), 0)]
    while waiting:
        place, depth = waiting.pop()
        if depth > _DEEPEST:
            raise opening.RefusedFileError(errno.ELOOP, f"lies more than {_DEEPEST} folders deep; move it away", place)
        for found, folders, names in islice(os.walk(place), 1):
            yield found, folders, names
            inner = (os.path.join(found, name) for name in reversed(folders))
            waiting += [(path, depth + 1) for path in inner if not os.path.islink(path)]


def rename_directory(path: Path, target: Path) -> None:
    """Give a directory another name in the same place, if that is free or an empty directory's.

    Raises OSError naming the target.
    """
    with around(target) as folder:
        os.rename(path.name, target.name, src_dir_fd=folder, dst_dir_fd=folder)


def remove_directory(path: Path) -> None:
    """Remove a directory that is empty. Raises OSError naming the path."""
    with around(path) as folder:
        os.rmdir(path.name, dir_fd=folder)


def remove_tree(path: Path) -> None:
    """Remove a directory with all that lies in it, as far as that can be done; not what a link leads to."""
    with contextlib.suppress(OSError), around(path) as folder:
        shutil.rmtree(path.name, ignore_errors=True, dir_fd=folder)


def sync_directory(path: Path) -> None:
    """Make names in a directory survive a power cut. File systems that cannot sync a directory are let be."""
    with opening.folder(path) as folder:
        sync(folder, path)


def sync(folder: int, path: Path) -> None:
    """The same of a folder whose descriptor is at hand."""
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise _naming(error, path) from None


def stamp_of_now(directory: Path) -> int:
    """The time stamp that the directory's file system gives to a file made now, ns. Raises OSError."""
    probe = f".probe.{uuid.uuid4().hex}.tmp"
    with around(directory / probe) as folder:
        fd = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE, dir_fd=folder)
        try:
            return os.fstat(fd).st_mtime_ns
        finally:
            os.close(fd)
            with contextlib.suppress(OSError):
                os.unlink(probe, dir_fd=folder)


def settled_before(directory: Path) -> int:
    """Time stamps below this one are given to nothing any more, ns; 0 where that cannot be found out.

    What has such a stamp changes it if it changes again. By the file system's own clock, never by this machine's.
    """
    try:
        return stamp_of_now(directory) - _COARSEST_NS
    except OSError:  # somebody else's sweep may be read-only for us
        return 0
