"""Files that are there whole or not at all, on shared file systems too.

Everything Holdfast writes and later believes goes through here: a private temporary file, fsync, one atomic rename or
link, fsync of the directory. All of it happens in one descriptor of the folder, which hpc.storage.opening reaches
without a link, so that nothing is written or removed elsewhere whatever is swapped meanwhile. Sources and measurements:
docs/reliability.md.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import stat
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
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
# The coarsest time stamps in use, of FAT; NFS servers and older disks count whole seconds.
_COARSEST_NS = 2_000_000_000
# More digits are none of ours.
_NUMBER = re.compile(r"[0-9]{1,18}")
_FAST_JSON = msgspec.json.Decoder()
T = TypeVar("T")
# What is written: a whole, or its parts in order, which are not put together in memory before.
Data = bytes | Sequence[bytes | memoryview]


def publish(path: Path, data: Data, durable: bool = True) -> None:
    """Write ``path`` whole, replacing what is there. On any error the old file stays as it is.

    durable: survive a power cut; only progress displays can do without. Raises OSError naming the path.
    """
    # Content before name: were the rename on disk first, a power cut would leave the name with no or half the bytes.
    with _around(path) as folder:
        temporary = _write_temporary(folder, path, data, durable)
        _rename(folder, temporary, path)
        # Name before word: until the directory is on disk, a power cut takes the file back, and nobody may have been
        # told.
        if durable:
            _sync(folder, path.parent)


def rename(temporary: Path, path: Path) -> None:
    """Give a private file beside it its public name. On an error it is discarded. Raises OSError naming ``path``."""
    with _around(path) as folder:
        _rename(folder, temporary.name, path)


def _rename(folder: int, temporary: str, path: Path) -> None:
    try:
        os.replace(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError as error:
        _discard(folder, temporary)
        raise _naming(error, path) from None


def publish_once(path: Path, data: bytes, mode: int = _FILE_MODE) -> bool:
    """Write ``path`` whole unless it exists; the first writer wins, also over a network file system.

    Returns whether this call wrote it. Raises OSError naming the path.
    """
    with _around(path) as folder:
        temporary = _write_temporary(folder, path, data, mode=mode)
        try:
            # link, not rename: it fails where the name is taken, which no rename does, and NFS has no other such call.
            return _link(folder, path.with_name(temporary), folder, path)
        finally:
            # Also the loser syncs: it reports the winner's file, which must then survive a power cut.
            _discard(folder, temporary)
            _sync(folder, path.parent)


def link_once(source: Path, target: Path) -> bool:
    """Give ``source`` the second name ``target`` unless that exists. Returns whether it was done by this call.

    A network file system may report failure for a link it made (the reply was lost and the request repeated), so the
    link count of the source decides.
    """
    with _around(source) as there, _around(target) as here:
        return _link(there, source, here, target)


def _link(there: int, source: Path, here: int, target: Path) -> bool:
    before = _regular(there, source)
    try:
        os.link(source.name, target.name, src_dir_fd=there, dst_dir_fd=here, follow_symlinks=False)
    except OSError as error:
        now, made = _stat(there, source.name), _stat(here, target.name)
        if now and made and now.st_nlink == before.st_nlink + 1 and os.path.samestat(now, made):
            return True
        if error.errno == errno.EEXIST:
            return False
        raise _naming(error, target) from None
    return True


def link_or_copy(source: Path, target: Path) -> bool:
    """Give ``source`` the second name ``target`` unless that exists; where it may have none, ``target`` is a copy, or
    the file itself where that is another user's. Returns whether this call did it.

    Linux lets nobody link another user's file that he cannot write, even in a directory that both share
    (fs.protected_hardlinks), and some file systems link within one directory only. A copy of another user's file would
    be ours with his content, and what is ours is believed: so it keeps its owner, and loses its first name.
    Raises OSError; FileNotFoundError if there is no source.
    """
    try:
        return link_once(source, target)
    except (FileNotFoundError, opening.RefusedFileError):
        raise
    except OSError:
        pass
    with _around(source) as there:
        theirs = _regular(there, source).st_uid != os.geteuid()
    if not theirs:  # what is another user's may be a file without an end
        data, found = read_with_stat(source, opening.ANY)
        if found.st_uid == os.geteuid():
            return publish_once(target, data, stat.S_IMODE(found.st_mode) & _FILE_MODE)
    return _move(source, target)


def _move(source: Path, target: Path) -> bool:
    """Give ``source`` the name ``target`` instead of its own, unless that exists.

    No call of NFS moves a file to a free name only: what another process gives the name in this moment is lost. That is
    for files of a cell that two members of a group set aside at once.
    """
    with _around(source) as there, _around(target) as here:
        if _stat(here, target.name):
            return False
        try:
            os.rename(source.name, target.name, src_dir_fd=there, dst_dir_fd=here)
        except OSError as error:
            raise _naming(error, target) from None
        return True


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
    with _around(path) as folder:
        try:
            os.mkdir(path.name, _DIRECTORY_MODE, dir_fd=folder)
            around = os.fstat(folder).st_mode
            if around & stat.S_ISGID and around & stat.S_IWGRP:
                _share(folder, path.name)
        except OSError as error:
            raise _naming(error, path) from None


def _share(folder: int, name: str) -> None:
    """Let the group write in a directory of ours, by its descriptor: a member may have put a link in its place."""
    made = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
    try:
        found = os.fstat(made)
        if found.st_uid == os.geteuid():
            os.fchmod(made, stat.S_IMODE(found.st_mode) | stat.S_IWGRP)
    finally:
        opening.let_go(made)


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
        names = _asked(lambda: opening.list_folder(parent), {errno.ESTALE})
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [name for name in names if not name.startswith(".")]


def read(path: Path | str, most: float = opening.DOCUMENT) -> bytes:
    """Content of a file that is known to be there; a stale network handle is opened again.

    most: bytes that a file of this kind may have, see hpc.storage.opening. Raises RefusedFileError, OSError.
    """
    return read_with_stat(path, most)[0]


def read_with_stat(path: Path | str, most: float = opening.DOCUMENT) -> tuple[bytes, os.stat_result]:
    """The same with what the file is whose bytes these are, such as whose."""
    return _asked(lambda: opening.read_with_stat(path, most), _STALE)


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
    return opening.open_regular(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _FILE_MODE)[0]


def quarantine(path: Path, mark: str = "") -> Path:
    """Set a file aside under a new name beside it, so that it is never believed again but can be looked at.

    mark: what ends the name, where several files are set aside together; by default what says that it is damaged.
    """
    aside = path.with_name(f"{path.name}.{mark or f'corrupt-{new_token()}'}")
    with _around(path) as folder:
        try:
            os.replace(path.name, aside.name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError as error:
            raise _naming(error, path) from None
        _sync(folder, path.parent)
    return aside


def new_token() -> str:
    """What makes the name of a file that is set aside its own."""
    return uuid.uuid4().hex[:8]


def put_in_place(source: Path, target: Path) -> None:
    """Give ``source`` the second name ``target``; what had that name is kept under another one beside it.

    At every moment ``target`` is the old file or the new one: first the old one gets its second name, then one rename
    takes the first from it. Two processes that do the same end with the same. Where link_or_copy moves another user's
    file instead, there may be none for a moment. Raises OSError.
    """
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    with _around(source) as there, _around(target) as folder:
        _regular(there, source)
        with contextlib.suppress(FileNotFoundError):
            _regular(folder, target)
            link_or_copy(target, target.with_name(f"{target.name}.replaced-{new_token()}"))
        try:
            link_or_copy(source, temporary)
            os.replace(temporary.name, target.name, src_dir_fd=folder, dst_dir_fd=folder)
        finally:
            # Renaming onto another name of the same file leaves both. One that was moved has no other name left.
            if _stat(there, source.name):
                _discard(folder, temporary.name)
        _sync(folder, target.parent)


def stamp_of_now(directory: Path) -> int:
    """The time stamp that the directory's file system gives to a file made now, ns. Raises OSError."""
    probe = f".probe.{uuid.uuid4().hex}.tmp"
    with _around(directory / probe) as folder:
        fd = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE, dir_fd=folder)
        try:
            return os.fstat(fd).st_mtime_ns
        finally:
            os.close(fd)
            _discard(folder, probe)


def settled_before(directory: Path) -> int:
    """Time stamps below this one are given to nothing any more, ns; 0 where that cannot be found out.

    What has such a stamp changes it if it changes again. By the file system's own clock, never by this machine's.
    """
    try:
        return stamp_of_now(directory) - _COARSEST_NS
    except OSError:  # somebody else's sweep may be read-only for us
        return 0


def remove(path: Path) -> None:
    """Remove a file that may be gone already. Raises OSError naming the path."""
    with contextlib.suppress(FileNotFoundError), _around(path) as folder:
        try:
            os.unlink(path.name, dir_fd=folder)
        except OSError as error:
            raise _naming(error, path) from None


def remove_directory(path: Path) -> None:
    """Remove a directory that is empty. Raises OSError naming the path."""
    with _around(path) as folder:
        try:
            os.rmdir(path.name, dir_fd=folder)
        except OSError as error:
            raise _naming(error, path) from None


def remove_tree(path: Path) -> None:
    """Remove a directory with all that lies in it, as far as that can be done; not what a link leads to."""
    with contextlib.suppress(OSError), _around(path) as folder:
        shutil.rmtree(path.name, ignore_errors=True, dir_fd=folder)


def rename_directory(path: Path, target: Path) -> None:
    """Give a directory another name in the same place, if that is free or an empty directory's.

    Raises OSError naming the target.
    """
    with _around(path) as folder:
        try:
            os.rename(path.name, target.name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError as error:
            raise _naming(error, target) from None


def sync_directory(path: Path) -> None:
    """Make names in a directory survive a power cut. File systems that cannot sync a directory are let be."""
    with opening.folder(path) as folder:
        _sync(folder, path)


def _sync(folder: int, path: Path) -> None:
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise _naming(error, path) from None


def write_temporary(path: Path, data: bytes) -> Path:
    """Write a private file beside ``path``, to be renamed to it or discarded. Raises OSError naming ``path``."""
    with _around(path) as folder:
        return path.with_name(_write_temporary(folder, path, data))


def _write_temporary(folder: int, path: Path, data: Data, durable: bool = True, mode: int = _FILE_MODE) -> str:
    temporary = f".{path.name}.{uuid.uuid4().hex}.tmp"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=folder)
    except OSError as error:
        raise _naming(error, path) from None
    try:
        try:
            for part in [data] if isinstance(data, bytes) else data:
                _write_all(fd, part)
            if durable:
                os.fsync(fd)  # never tried twice: after a failed fsync the kernel may have dropped the data
        finally:
            os.close(fd)
    except OSError as error:
        _discard(folder, temporary)
        raise _naming(error, path) from None
    return temporary


@contextlib.contextmanager
def _around(path: Path) -> Iterator[int]:
    """Descriptor of the folder in which ``path`` gets or loses its name. An error about the folder, or about a name in
    it alone, names the path."""
    try:
        folder = opening.open_folder(path.parent)
    except OSError as error:
        raise _naming(error, path) from None
    try:
        yield folder
    except OSError as error:
        if isinstance(error.filename, str) and "/" not in error.filename:
            raise _naming(error, path) from None
        raise
    finally:
        opening.let_go(folder)


def _stat(folder: int, name: str) -> os.stat_result | None:
    """What a name stands for, a link for itself; None if there is nothing."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _regular(folder: int, path: Path) -> os.stat_result:
    """A regular file's stat: a second name for anything else, such as a link, is not given. Raises OSError."""
    found = _stat(folder, path.name)
    if found is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    if not stat.S_ISREG(found.st_mode):
        raise opening.RefusedFileError(errno.EINVAL, "is no regular file; move it away", str(path))
    return found


def _write_all(fd: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def discard(temporary: Path) -> None:
    """Remove a private file, as far as that can be done."""
    with contextlib.suppress(OSError):
        remove(temporary)


def _discard(folder: int, temporary: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(temporary, dir_fd=folder)


def _naming(error: OSError, path: Path) -> OSError:
    """The same error, naming the file the user knows instead of our temporary one; a link that is refused is named."""
    if isinstance(error, opening.RefusedFileError):
        return error
    return OSError(error.errno, error.strerror or os.strerror(error.errno or 0), str(path))
