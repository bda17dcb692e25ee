"""Files that are there whole or not at all, on shared file systems too.

Everything Holdfast writes and later believes goes through here: a private temporary file, fsync, one atomic rename or
link, fsync of the directory. Sources and measurements: docs/reliability.md.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
import uuid
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from hpc.storage import opening

# Nothing we write is ever writable by anyone but its owner, for tasks run code from a sweep directory; the umask may
# take away more.
_FILE_MODE = 0o644
_DIRECTORY_MODE = 0o755
# A network file system answers so when another host has replaced the file behind an open handle or a cached name;
# opening it again asks the server. Three times: a file may be replaced twice in a row, not for ever.
_STALE = {errno.ESTALE, errno.ENOENT}
_READ_TRIES = 3
# More digits are none of ours.
_NUMBER = re.compile(r"[0-9]{1,18}")
_FAST_JSON = msgspec.json.Decoder()
T = TypeVar("T")


def publish(path: Path, data: bytes, durable: bool = True) -> None:
    """Write ``path`` whole, replacing what is there. On any error the old file stays as it is.

    durable: survive a power cut; only progress displays can do without. Raises OSError naming the path.
    """
    # Content before name: were the rename on disk first, a power cut would leave the name with no or half the bytes.
    temporary = write_temporary(path, data, durable)
    rename(temporary, path)
    # Name before word: until the directory is on disk, a power cut takes the file back, and nobody may have been told.
    if durable:
        sync_directory(path.parent)


def rename(temporary: Path, path: Path) -> None:
    """Give a private file its public name. On an error it is discarded. Raises OSError naming ``path``."""
    try:
        os.replace(temporary, path)
    except OSError as error:
        discard(temporary)
        raise _naming(error, path) from None


def publish_once(path: Path, data: bytes) -> bool:
    """Write ``path`` whole unless it exists; the first writer wins, also over a network file system.

    Returns whether this call wrote it. Raises OSError naming the path.
    """
    temporary = write_temporary(path, data)
    try:
        # link, not rename: it fails where the name is taken, which no rename does, and NFS has no other such call.
        return link_once(temporary, path)
    finally:
        # Also the loser syncs: it reports the winner's file, which must then survive a power cut.
        discard(temporary)
        sync_directory(path.parent)


def link_once(source: Path, target: Path) -> bool:
    """Give ``source`` the second name ``target`` unless that exists. Returns whether it was done by this call.

    A network file system may report failure for a link it made (the reply was lost and the request repeated), so the
    link count of the source decides.
    """
    before = _regular(source).st_nlink
    opening.check_place(target.parent)
    try:
        os.link(source, target)
    except OSError as error:
        if os.stat(source).st_nlink == before + 1 and os.path.exists(target) and os.path.samefile(source, target):
            return True
        if error.errno == errno.EEXIST:
            return False
        raise _naming(error, target) from None
    return True


def make_directory(path: Path) -> None:
    """Make a directory and its parents; existing ones are left alone. Raises OSError naming the path."""
    if path.is_dir():
        opening.check_place(path)
    else:
        if path.parent != path:
            make_directory(path.parent)
        try:
            opening.check_place(path)
            _mkdir(path)
        except FileExistsError:
            if not path.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from None
        sync_directory(path.parent)


def _mkdir(path: Path) -> None:
    """Make one directory. In one that a group shares on purpose (setgid, writable by it), it is shared as well."""
    os.mkdir(path, _DIRECTORY_MODE)
    around = os.stat(path.parent).st_mode
    if around & stat.S_ISGID and around & stat.S_IWGRP:
        os.chmod(path, stat.S_IMODE(os.stat(path).st_mode) | stat.S_IWGRP)


def claim(parent: Path, width: int) -> tuple[int, Path]:
    """Make the directory of the next free number in ``parent``, which no other process then has.

    mkdir is atomic everywhere; whoever finds the number taken goes on to the next.
    Returns (number, directory). Numbers begin at 1 and have at least ``width`` digits.
    """
    opening.check_place(parent)
    number = max(numbers(parent), default=0) + 1
    while True:
        path = parent / f"{number:0{width}d}"
        try:
            _mkdir(path)
        except FileExistsError:
            number += 1  # taken by another process, or by us in a request that NFS repeated: a gap does no harm
            continue
        except OSError as error:
            raise _naming(error, path) from None
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
        names = _asked(lambda: opening.list_folder(parent), {errno.ESTALE})
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [name for name in names if not name.startswith(".")]


def read(path: Path | str, most: float = opening.DOCUMENT) -> bytes:
    """Content of a file that is known to be there; a stale network handle is opened again.

    most: bytes that a file of this kind may have, see hpc.storage.opening. Raises RefusedFileError, OSError.
    """
    return _asked(lambda: opening.read_regular(path, most), _STALE)


def _asked(question: Callable[[], T], stale: Collection[int]) -> T:
    """The answer, asked for again where it is one of these errors."""
    for _ in range(_READ_TRIES - 1):
        try:
            return question()
        except OSError as error:
            if error.errno not in stale:
                raise
    return question()


def read_json(path: Path | str, most: float = opening.DOCUMENT) -> Any:
    """The JSON document in a file that is known to be there. Raises ValueError if it is none, OSError."""
    return parse_json(read(path, most))


def parse_json(data: bytes) -> Any:
    """A JSON document, in which no number is NaN or infinite. Raises ValueError if it is none."""
    # msgspec is faster. It refuses all that json refuses and a little more (1e999, half a surrogate),
    # so what it refuses is left to json, which says why.
    try:
        return _FAST_JSON.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return _STRICT_JSON.decode(data.decode())
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse_constant(token: str) -> float:
    raise ValueError(f"it holds {token}")


_STRICT_JSON = json.JSONDecoder(parse_constant=_refuse_constant)


def append(path: Path, text: str) -> None:
    """Add a line to a log that people read and no decision rests on."""
    fd = open_log(path)
    try:
        # A file's name that is no text, as Python holds it, is part of many an error's message.
        _write_all(fd, text.encode(errors="backslashreplace"))
    finally:
        os.close(fd)


def open_log(path: Path) -> int:
    """A descriptor that adds to a log."""
    opening.check_place(path.parent)
    return opening.open_regular(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _FILE_MODE)[0]


def quarantine(path: Path, mark: str = "") -> Path:
    """Set a file aside under a new name beside it, so that it is never believed again but can be looked at.

    mark: what ends the name, where several files are set aside together; by default what says that it is damaged.
    """
    opening.check_place(path.parent)
    aside = path.with_name(f"{path.name}.{mark or f'corrupt-{new_token()}'}")
    os.replace(path, aside)
    sync_directory(path.parent)
    return aside


def new_token() -> str:
    """What makes the name of a file that is set aside its own."""
    return uuid.uuid4().hex[:8]


def put_in_place(source: Path, target: Path) -> None:
    """Give ``source`` the second name ``target``; what had that name is kept under another one beside it.

    At every moment ``target`` is the old file or the new one: first the old one gets its second name, then one rename
    takes the first from it. Two processes that do the same end with the same. Raises OSError.
    """
    _regular(source)
    opening.check_place(target.parent)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    with contextlib.suppress(FileNotFoundError):
        _regular(target)
        os.link(target, target.with_name(f"{target.name}.replaced-{new_token()}"))
    try:
        os.link(source, temporary)
        os.replace(temporary, target)
    finally:
        discard(temporary)  # renaming onto another name of the same file leaves both
    sync_directory(target.parent)


def stamp_of_now(directory: Path) -> int:
    """The time stamp that the directory's file system gives to a file made now, ns. Raises OSError."""
    probe = directory / f".probe.{uuid.uuid4().hex}.tmp"
    fd = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE)
    try:
        return os.fstat(fd).st_mtime_ns
    finally:
        os.close(fd)
        discard(probe)


def remove(path: Path) -> None:
    """Remove a file that may be gone already."""
    with contextlib.suppress(FileNotFoundError):
        opening.check_place(path.parent)
        os.unlink(path)


def sync_directory(path: Path) -> None:
    """Make names in a directory survive a power cut. File systems that cannot sync a directory are let be."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise _naming(error, path) from None
    finally:
        os.close(fd)


def write_temporary(path: Path, data: bytes, durable: bool = True) -> Path:
    """Write a private file beside ``path``, to be renamed to it or discarded. Raises OSError naming ``path``."""
    opening.check_place(path.parent)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE)
    except OSError as error:
        raise _naming(error, path) from None
    try:
        try:
            _write_all(fd, data)
            if durable:
                os.fsync(fd)  # never tried twice: after a failed fsync the kernel may have dropped the data
        finally:
            os.close(fd)
    except OSError as error:
        discard(temporary)
        raise _naming(error, path) from None
    return temporary


def _regular(path: Path) -> os.stat_result:
    """A regular file's stat: a second name for anything else, such as a link, is not given. Raises OSError."""
    found = os.lstat(path)
    if not stat.S_ISREG(found.st_mode):
        raise opening.RefusedFileError(errno.EINVAL, "is no regular file; move it away", str(path))
    return found


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def discard(temporary: Path) -> None:
    """Remove a private file, as far as that can be done."""
    with contextlib.suppress(OSError):
        os.unlink(temporary)


def _naming(error: OSError, path: Path) -> OSError:
    """The same error, naming the file the user knows instead of our temporary one."""
    return OSError(error.errno, error.strerror or os.strerror(error.errno or 0), str(path))
