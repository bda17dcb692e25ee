"""Several files that belong to one another, published as one step as nearly as a file system allows.

The content of all of them is on disk before the first gets its name. What separates the old set from the new one is
then a row of renames, which takes about a millisecond, instead of the seconds in which the files are made. No lock is
taken: two processes may still publish at the same time, and `standing` shows each of them whether the set is its own.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hpc.files import atomic, directories
from hpc.files.opening import open_regular


class Stamp(NamedTuple):
    """Which file this is: another one, or another content of it, has another stamp."""

    size: int
    modified: int
    inode: int


def stamp_of(path: Path) -> Stamp | None:
    """The stamp of a regular file or of what a link leads to; None if there is none."""
    try:
        return _stamp(os.stat(path))
    except OSError:
        return None


@dataclass(frozen=True)
class _Written:
    temporary: Path
    stamp: Stamp
    digest: bytes


class Together:
    """Add files, then publish them all. What was not published when the block ends is discarded."""

    def __init__(self) -> None:
        self._written: dict[Path, _Written] = {}
        self._unnamed: set[Path] = set()

    def __enter__(self) -> Together:
        return self

    def __exit__(self, *_: object) -> None:
        for temporary in self._unnamed:
            atomic.discard(temporary)

    def add(self, path: Path, data: bytes) -> None:
        """Write the content to a private file beside ``path``. Raises OSError naming ``path``."""
        temporary = atomic.write_temporary(path, data)
        self._unnamed.add(temporary)
        # Taken from the private file, which no other process touches: a look at the public name could find another's.
        self._written[path] = _Written(temporary, _stamp(os.stat(temporary)), hashlib.sha256(data).digest())

    def publish(self) -> None:
        """Give all files their names, in the order in which they were added. Raises OSError naming the path."""
        for path, written in self._written.items():
            atomic.rename(written.temporary, path)
            self._unnamed.remove(written.temporary)
        for directory in dict.fromkeys(path.parent for path in self._written):
            directories.sync_directory(directory)

    def standing(self) -> dict[Path, Stamp] | None:
        """The stamps of all files if every one holds the bytes that were added, whoever wrote them; else None.

        If two processes publish at once and each asks this afterwards, the one that asks last has a true answer for as
        long as nobody publishes again.
        """
        found: dict[Path, Stamp] = {}
        for path, written in self._written.items():
            stamp = _same(path, written)
            if stamp is None:
                return None
            found[path] = stamp
        return found


def _same(path: Path, written: _Written) -> Stamp | None:
    """The stamp of the file if it holds the same bytes. It is opened: a network file system may answer a question about
    a name from memory."""
    try:
        fd, _ = open_regular(path)
        with open(fd, "rb", buffering=0) as file:
            stamp = _stamp(os.fstat(fd))
            same = stamp == written.stamp or hashlib.file_digest(file, "sha256").digest() == written.digest
            return stamp if same else None
    except OSError:
        return None


def _stamp(found: os.stat_result) -> Stamp:
    return Stamp(found.st_size, found.st_mtime_ns, found.st_ino)
