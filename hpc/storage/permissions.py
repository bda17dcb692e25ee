"""Whose a sweep directory is, and who may write in it: we must, and nobody else unasked, for tasks run code from it."""

from __future__ import annotations

import errno
import os
import pwd
import shlex
import stat
from collections.abc import Iterable, Iterator
from importlib.machinery import PathFinder
from pathlib import Path

from hpc.checkout import OUR_PACKAGES, PROJECT_ROOT
from hpc.errors import SweepError
from hpc.files import directories
from hpc.files.directories import is_shared
from hpc.storage.layout import Layout
from hpc.storage.store import Store


def owner(store: Store) -> str:
    """The first other user to whom anything belongs that decides which code a sweep runs; empty if all of it is ours.

    That is the directory, sweep.json as it lies there and as it was read, the submissions, and the snapshots with every
    file in them. Raises OSError.
    """
    layout = store.paths
    places = map(owner_of, (layout.root, layout.sweep_file, *_commanding(layout)))
    return next(filter(None, (*map(_other, store.authors), *places)), "")


def untrusted(store: Store, named: Iterable[str] = ()) -> str:
    """Why what a sweep directory names is not run unasked: the directory or the code is another user's, the sweep was
    made from what somebody sent to W&B, or the code lies in the directory itself, which is data.

    named: functions as module:function or file.py:function. Whose Holdfast itself is does not matter: it runs already.
    Empty if they may be run. Raises SweepError, OSError.
    """
    if other := owner(store):
        return f"{store.root}: it belongs to {other}"
    files = {target: _file_of(target.rpartition(":")[0]) for target in named}
    if files and store.is_extracted:
        return f"{store.root}: it was made from runs of W&B, which anybody may have written"
    for target, file in files.items():
        if file and not _is_holdfasts(file) and (other := owner_of(Path(file))):
            return f"{file}: it belongs to {other}"
        if os.path.realpath(file).startswith(f"{os.path.realpath(store.root)}{os.sep}"):
            return f"{store.root}: {target.rstrip(':')} lies in the sweep directory itself"
    return ""


def _file_of(source: str) -> str:
    """The file that a function comes from; of a module its package's, where Python finds it without running it."""
    if source.endswith(".py"):
        return source
    found = PathFinder.find_spec(source.partition(".")[0])
    return (found.origin or next(iter(found.submodule_search_locations or ()), "")) if found else ""


def _is_holdfasts(file: str) -> bool:
    """Whether this is the very name of a file of the Holdfast that runs: a link may lead elsewhere a moment later."""
    parents = Path(file).parents if file == os.path.realpath(file) else ()
    return any(PROJECT_ROOT / package in parents for package in OUR_PACKAGES)


def check_private(directory: Path, cells: Iterable[str] | None = None) -> None:
    """Raise SweepError naming the first directory in which people can write who could thereby change what tasks run.

    cells: names of those whose directories are looked at; None for all that are there. Raises OSError.

    Anybody on the machine, in any directory of ours: with the sticky bit they can add files, but none in the place of
    ours. The group, in a directory that is not shared with it as a whole; of one that is, see Layout.private_root.
    """
    layout = Layout(directory)
    for path in _data_directories(layout, cells):
        mode = _mode(path)
        if mode & stat.S_IWOTH and not (mode & stat.S_ISVTX and stat.S_ISDIR(mode)):
            fix = f"chmod o-w {shlex.quote(str(path))}"
            raise SweepError(f"{path}: anybody can write here, and its tasks run code from it; {fix}")
    if is_shared(layout.root):
        return
    for path in _commanding(layout):
        mode = _mode(path)
        # Python would import what is merely added to a snapshot, so that a sticky bit is no help.
        for bit, who, letter in ((stat.S_IWOTH, "anybody", "o"), (stat.S_IWGRP, "its group", "g")):
            if mode & bit and not stat.S_ISLNK(mode):
                fix = f"chmod {letter}-w {shlex.quote(str(path))}"
                raise SweepError(f"{path}: {who} can write here, and tasks run what is here; {fix}")


def check_writable(directory: Path) -> None:
    """Raise OSError naming the path unless files can be made in a directory or in its nearest existing parent.

    Raises SweepError if others can write there, too: see check_private.
    """
    existing = directory
    while not existing.exists():
        if existing.is_symlink():
            target = os.path.realpath(existing)
            raise FileNotFoundError(errno.ENOENT, f"a link to {target}, which is not there", str(existing))
        existing = existing.parent
    if not existing.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "not a directory", str(existing))
    if not os.access(existing, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "cannot write here", str(existing))
    check_private(directory)


def _data_directories(layout: Layout, cells: Iterable[str] | None) -> Iterator[Path]:
    """All directories that Holdfast writes to, and sweep.json. The sweep's own may be named by a link."""
    yield from (Path(os.path.realpath(layout.root)), layout.sweep_file, layout.plots_directory)
    for parent in (layout.results_root, layout.packs_root, layout.submissions_root):
        yield parent
        names = cells if cells is not None and parent == layout.results_root else _names(parent)
        yield from (parent / name for name in names)


def _commanding(layout: Layout) -> Iterator[Path]:
    """What says which code tasks run: the snapshots, and where task lists and scripts lie."""
    yield from below(layout.code_root)
    yield layout.submissions_root
    yield from (layout.submissions_root / name for name in _names(layout.submissions_root))


def _names(parent: Path) -> list[str]:
    try:
        with os.scandir(parent) as found:
            return [entry.name for entry in found if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _mode(path: Path) -> int:
    try:
        return os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0


# --- whose a file is ------------------------------------------------------------------------------------------------


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
        if other := _other(uid):
            return other
    return ""


def _other(uid: int) -> str:
    return "" if uid in (os.geteuid(), 0) else user_name(uid)


def user_name(uid: int) -> str:
    """The name of a user, or the number of one who has none here."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def below(directory: Path) -> Iterator[Path]:
    """A directory and all that lies in it; links are not followed. Raises RefusedFileError where it is too deep."""
    yield directory
    for folder, folders, names in directories.walk(directory):
        yield from (Path(folder, name) for name in (*folders, *names))
