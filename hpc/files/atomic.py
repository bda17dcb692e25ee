"""Files that are there whole or not at all, on shared file systems too.

Everything Holdfast writes and later believes goes through here: a private temporary file, fsync, one atomic rename or
link, fsync of the directory. Files of a directory that stays private until it is renamed are written and synced under
their final names. Sources and measurements: docs/reliability.md.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import uuid
from collections.abc import Sequence
from pathlib import Path

from hpc.files.directories import around, sync, sync_directory
from hpc.files.limits import ANY
from hpc.files.opening import FILE_MODE, RefusedFileError
from hpc.files.reading import read_with_stat

_NO_REPLACE = 1  # flag of renameat2
# What is written: a whole, or its parts in order, which are not put together in memory before.
Data = bytes | Sequence[bytes | memoryview]


def publish(path: Path, data: Data, durable: bool = True, permissions: int | None = None) -> None:
    """Write ``path`` whole, replacing what is there. On any error the old file stays as it is.

    durable: survive a power cut; only progress displays can do without. permissions: instead of those of a new file.
    Raises OSError naming the path.
    """
    # Content before name: were the rename on disk first, a power cut would leave the name with no or half the bytes.
    with around(path) as folder:
        temporary = _write_temporary(folder, path, data, durable, permissions=permissions)
        _rename(folder, temporary, path)
        # Name before word: until the directory is on disk, a power cut takes the file back, and nobody may have been
        # told.
        if durable:
            sync(folder, path.parent)


def rename(temporary: Path, path: Path) -> None:
    """Give a private file beside it its public name. On an error it is discarded. Raises OSError naming ``path``."""
    with around(path) as folder:
        _rename(folder, temporary.name, path)


def _rename(folder: int, temporary: str, path: Path) -> None:
    try:
        os.replace(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        _discard(folder, temporary)
        raise


def write_private(path: Path, data: Data, permissions: int) -> None:
    """Write a new file of a directory that nobody knows yet: once all of it is there, that gets its name.

    Its content is on disk afterwards; its own name is once its folder is synced. Raises OSError naming the path.
    """
    with around(path) as folder:
        _write_new(folder, path.name, data, True, FILE_MODE, permissions)


def publish_once(path: Path, data: bytes, mode: int = FILE_MODE) -> bool:
    """Write ``path`` whole unless it exists; the first writer wins, also over a network file system.

    Returns whether this call wrote it. Raises OSError naming the path.
    """
    with around(path) as folder:
        temporary = _write_temporary(folder, path, data, mode=mode)
        try:
            # link, not rename: it fails where the name is taken, which no rename does, and NFS has no other such call.
            return _link(folder, path.with_name(temporary), folder, path)
        finally:
            # Also the loser syncs: it reports the winner's file, which must then survive a power cut.
            _discard(folder, temporary)
            sync(folder, path.parent)


def link_once(source: Path, target: Path) -> bool:
    """Give ``source`` the second name ``target`` unless that exists. Returns whether it was done by this call.

    A network file system may report failure for a link it made (the reply was lost and the request repeated), so the
    link count of the source decides.
    """
    with around(source) as there, around(target) as here:
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
        raise
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
    except (FileNotFoundError, RefusedFileError):
        raise
    except OSError:
        pass
    with around(source) as there:
        theirs = _regular(there, source).st_uid != os.geteuid()
    if not theirs:  # what is another user's may be a file without an end
        data, found = read_with_stat(source, ANY)
        if found.st_uid == os.geteuid():
            return publish_once(target, data, stat.S_IMODE(found.st_mode) & FILE_MODE)
    return _move(source, target)


def _move(source: Path, target: Path) -> bool:
    """Give ``source`` the name ``target`` instead of its own, unless that exists.

    Where a file system has no call that moves a file to a free name only, as NFS, what another process gives the name
    in this moment is lost. That is for files of a cell that two members of a group set aside at once.
    """
    with around(source) as there, around(target) as here:
        try:
            _rename_to_free_name(there, source.name, here, target.name)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
                raise
            if _stat(here, target.name):
                return False
            os.rename(source.name, target.name, src_dir_fd=there, dst_dir_fd=here)
        return True


def _rename_to_free_name(there: int, source: str, here: int, target: str) -> None:
    """Linux's renameat2, of which Python knows nothing. Raises OSError: ENOSYS, EINVAL where there is no such call."""
    import ctypes  # it takes as long to load as most of hpc.files, and is hardly ever needed

    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if call(there, os.fsencode(source), here, os.fsencode(target), _NO_REPLACE):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def quarantine(path: Path, mark: str = "") -> Path:
    """Set a file aside under a new name beside it, so that it is never believed again but can be looked at.

    mark: what ends the name, where several files are set aside together; by default what says that it is damaged.
    """
    aside = path.with_name(f"{path.name}.{mark or f'corrupt-{new_token()}'}")
    with around(path) as folder:
        os.replace(path.name, aside.name, src_dir_fd=folder, dst_dir_fd=folder)
        sync(folder, path.parent)
    return aside


def new_token() -> str:
    """What makes the name of a file that is set aside its own."""
    return uuid.uuid4().hex[:8]


def put_in_place(source: Path, target: Path) -> None:
    """Give ``source`` the second name ``target``; what had that name is kept under another one beside it.

    For a moment nothing has it. A rename from one to the other would leave no such moment, but whatever another process
    has given the name since it was looked at would be lost. Raises OSError.
    """
    while not link_or_copy(source, target):
        with contextlib.suppress(FileNotFoundError), around(target) as folder:
            _regular(folder, target)
            quarantine(target, f"replaced-{new_token()}")
    sync_directory(target.parent)


def remove(path: Path) -> None:
    """Remove a file that may be gone already. Raises OSError naming the path."""
    with contextlib.suppress(FileNotFoundError), around(path) as folder:
        os.unlink(path.name, dir_fd=folder)


def write_temporary(path: Path, data: bytes) -> Path:
    """Write a private file beside ``path``, to be renamed to it or discarded. Raises OSError naming ``path``."""
    with around(path) as folder:
        return path.with_name(_write_temporary(folder, path, data))


def _write_temporary(
    folder: int,
    path: Path,
    data: Data,
    durable: bool = True,
    mode: int = FILE_MODE,
    permissions: int | None = None,
) -> str:
    temporary = f".{path.name}.{uuid.uuid4().hex}.tmp"
    _write_new(folder, temporary, data, durable, mode, permissions)
    return temporary


def _write_new(folder: int, name: str, data: Data, durable: bool, mode: int, permissions: int | None) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=folder)
    try:
        try:
            if permissions is not None:  # a mode would lose what the umask leaves out
                os.fchmod(fd, permissions)
            for part in [data] if isinstance(data, bytes) else data:
                write_all(fd, part)
            if durable:
                os.fsync(fd)  # never tried twice: after a failed fsync the kernel may have dropped the data
        finally:
            os.close(fd)
    except OSError:
        _discard(folder, name)
        raise


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
        raise RefusedFileError(errno.EINVAL, "is no regular file; move it away", str(path))
    return found


def write_all(fd: int, data: bytes | memoryview) -> None:
    """A call may write less than it is given."""
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
