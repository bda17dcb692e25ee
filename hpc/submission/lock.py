"""One command at a time submits or runs a sweep: a directory with one file that names its owner.

The lock is held while that directory has a file, whose name is unique to the owner. So taking and leaving it are single
steps, which leave nothing to repair if a process is killed between any two of them:

- It is taken by renaming a prepared directory, with the owner's file in it, onto it. rename succeeds only if no
  directory is there, or an empty one.
- It is left, or taken from an owner that is gone, by removing that owner's file. Nobody can thereby remove the lock of
  another owner, however long ago he looked, and of many who find an owner gone only one removes him.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shlex
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from hpc.errors import BusyError
from hpc.files import atomic, directories, opening
from hpc.paths import is_of, origin
from hpc.processes import ENDING, Place, here, interrupted_by, is_hidden, start_time, state
from hpc.storage import documents
from hpc.storage.permissions import user_name
from hpc.storage.store import Store

# Of many commands that find a lock free, one gets it and holds it for seconds: whoever has not met an owner after 0.8 s
# of trying has met one that cannot be read.
_TRIES, _PAUSE_SECONDS = 40, 0.02
# What rename answers where the lock is taken. EPERM: a file system over SFTP, which says nothing finer; the directory
# beside it has just been made, so a right is not what is missing.
_TAKEN = {errno.ENOTEMPTY, errno.EEXIST, errno.EPERM}
# What the file of an owner is called, by this version and the first one; no other is believed or removed.
_OWNER = re.compile(r"owner(-[0-9a-z]{1,32})?[.]json")
# A submission takes seconds to minutes; looking at its lock costs one listing.
_BUSY_SECONDS = 2.0
# What takes the lock. The first two train cells themselves, the others queue them.
RUN, SUBMIT_HERE = "holdfast run", "holdfast submit --profile local"
SUBMIT, CHECK = "holdfast submit", "holdfast check resume"
# Ids of the locks that calls in this process have, or are about to take. A notebook's process outlives its calls: the
# lock that an interrupted one could not leave is nobody's, though the process still runs.
_OURS: set[str] = set()


@dataclass(frozen=True)
class Held:
    """A lock that this process has taken for its command. It may have been taken over since.

    forced: it was taken from a command of which nobody knows that it is gone, because that was asked for.
    """

    store: Store
    file: str
    command: str
    forced: bool = False

    def check(self) -> None:
        """Raise BusyError if another command has taken the lock over, as it may have while this one was stopped."""
        if self.file not in directories.entries(self.store.paths.lock_directory):
            raise BusyError(
                f"{self.store.root}: another command has taken over this sweep; nothing more is queued or started here"
            )


@contextlib.contextmanager
def lock(
    store: Store,
    command: str,
    take_over: bool = False,
    on_busy: Callable[[str], None] | None = None,
    pause: Callable[[float], None] | None = None,
) -> Iterator[Held]:
    """Let one command at a time submit or run a sweep. The lock of a process that is known to be gone is taken.

    take_over: also take it from one of which that is not known, but not from one that is seen to run.
    on_busy: called with the reason each time the lock is not to be had; then this waits instead of raising.
    pause: waits so many seconds, in the place of time.sleep, and may raise to end that.
    TERM and HUP, for as long as the lock is held, raise KeyboardInterrupt as Ctrl-C does, so that the lock is released.

    Raises BusyError saying who holds it and what to do. It saves work, it does not guard results: those are safe with
    any number of writers.
    """
    directories.make_directory(store.paths.submissions_root)
    unique = uuid.uuid4().hex
    with interrupted_by(*ENDING):
        _OURS.add(unique)
        try:
            held = _take(store, command, unique, take_over, on_busy, pause or time.sleep)
            try:
                _tidy(store)
                yield held
            finally:
                _leave(store, held.file)
        finally:
            _OURS.discard(unique)


@dataclass(frozen=True)
class Holder:
    """Who holds a lock. command: one of those below. certain: it is seen to run; else it may be gone or stopped."""

    command: str
    who: str
    certain: bool

    def __str__(self) -> str:
        return f"{self.who} is at work here{'' if self.certain else ', as far as can be seen from here'}"


def busy(store: Store) -> bool:
    """Whether a command is at work in the sweep directory, as far as can be seen from here."""
    return holder(store) is not None


def holder(store: Store) -> Holder | None:
    """Which command is at work in the sweep directory, as far as can be seen from here; None if none is."""
    found = _owner(store)
    if found is None or not is_of(store.root, found[1]) or (standing := _standing(found[1])) is _Owner.GONE:
        return None
    return Holder(str(found[1].get("command", "")), _who(found[1]), standing in _SEEN)


# --- taking and leaving ---------------------------------------------------------------------------------------------


def _take(
    store: Store,
    command: str,
    unique: str,
    take_over: bool,
    on_busy: Callable[[str], None] | None,
    pause: Callable[[float], None],
) -> Held:
    while True:
        try:
            return _take_now(store, command, unique, take_over)
        except BusyError as error:
            if on_busy is None:
                raise
            on_busy(str(error))
            pause(_BUSY_SECONDS)


def _take_now(store: Store, command: str, unique: str, take_over: bool) -> Held:
    forced = False
    for _ in range(_TRIES):
        held = _put_in_place(store, command, unique)
        if held is not None:
            return replace(held, forced=forced)
        forced |= _remove_if_gone(store, take_over)
        time.sleep(_PAUSE_SECONDS)  # released a moment ago, or another command was faster
    raise BusyError(
        f"{store.root}: other commands took this sweep at the same moment, or its lock cannot be read; try again, "
        "or add --take-over if none is at work here"
    )


def _put_in_place(store: Store, command: str, unique: str) -> Held | None:
    """Put a directory that already names its owner in the lock's place; None if that is taken."""
    prepared = store.paths.lock_directory.with_name(f".lock-{unique}")
    owner = store.paths.lock_owner_file(prepared, unique)
    directories.mkdir(prepared)  # where a group shares the sweep, any member can remove it
    try:
        pid = os.getpid()
        record = (
            {"command": command, "pid": pid, "began": start_time(pid), "id": unique}
            | asdict(here())
            | origin(store.root)
        )
        atomic.publish(owner, json.dumps(record).encode())
        directories.rename_directory(prepared, store.paths.lock_directory)
    except OSError as error:
        # A rename whose reply got lost is asked of an NFS server again, which then finds nothing to rename.
        if owner.name not in directories.entries(store.paths.lock_directory):
            # ENOENT: another command took the empty directory for one that nobody needs.
            if error.errno not in (errno.ENOENT, *_TAKEN):
                raise
            return None
    finally:
        _discard(prepared)
    return Held(store, owner.name, command)


def _discard(prepared: Path) -> None:
    """Remove a prepared directory. On NFS it stays full while a command that looks at it has its file open."""
    for _ in range(_TRIES):
        directories.remove_tree(prepared)
        if not prepared.exists():
            return
        time.sleep(_PAUSE_SECONDS)


def _leave(store: Store, owner: str) -> None:
    """Remove an owner's file and, for tidiness, the directory if nobody has taken it meanwhile."""
    atomic.remove(store.paths.lock_directory / owner)
    with contextlib.suppress(OSError):
        directories.remove_directory(store.paths.lock_directory)


def _remove_if_gone(store: Store, take_over: bool) -> bool:
    """Remove the owner that is there if he is gone, or may be and shall be taken over. Raises BusyError otherwise.

    Returns whether one was removed who may not be gone.
    """
    found = _owner(store)
    if found is None:
        # Over SFTP, nothing is renamed onto a directory that is there, however empty.
        with contextlib.suppress(OSError):
            directories.remove_directory(store.paths.lock_directory)
        _refuse_strangers(store)
        return False
    name, record = found
    standing = _standing(record) if is_of(store.root, record) else _Owner.GONE  # of the directory this is a copy of
    if record and standing is not _Owner.GONE and (standing in _SEEN or not take_over):
        raise BusyError(f"{store.root}: {_at_work(record)}")
    if not record and take_over and _can_be_read(store, name):
        return False  # after all, so the next look judges it
    if record or take_over:
        _remove(store, name, record)
    return take_over and standing is not _Owner.GONE


def _refuse_strangers(store: Store) -> None:
    """Raise BusyError if something lies in the lock's place that none of our commands put there, nor removes."""
    names = directories.entries(store.paths.lock_directory)
    if stranger := next((name for name in names if not _OWNER.fullmatch(name)), None):
        raise BusyError(f"{store.paths.lock_directory / stranger}: no file of Holdfast; move it away")


def _remove(store: Store, name: str, record: dict[str, Any]) -> None:
    """Remove the owner that is gone. Raises BusyError if only he may do so."""
    try:
        _leave(store, name)
    except PermissionError:
        path = store.paths.lock_directory / name
        user = user_name(os.lstat(path).st_uid)
        raise BusyError(
            f"{path}: left by {_who(record)}; only {user} can remove it: rm {shlex.quote(str(path))}"
        ) from None


def _owner(store: Store) -> tuple[str, dict[str, Any]] | None:
    """(file, record) of whoever holds the lock; an empty record if it cannot be read. None: nobody holds it."""
    for name in filter(_OWNER.fullmatch, directories.entries(store.paths.lock_directory)):
        try:
            return name, dict(documents.read(store.paths.lock_directory / name, documents.OwnerDocument))
        except FileNotFoundError:
            continue  # released since
        except (OSError, ValueError):
            return name, {}
    return None


def _can_be_read(store: Store, name: str) -> bool:
    """Whether a record that could not be read a moment ago can be now. Raises OSError while storage has trouble: what
    is not known to be damaged may be of a command that is seen to run as soon as it can be read."""
    try:
        return bool(documents.read(store.paths.lock_directory / name, documents.OwnerDocument))
    except (ValueError, PermissionError, IsADirectoryError, opening.RefusedFileError):
        return False
    except FileNotFoundError:
        return True  # it is gone


def _tidy(store: Store) -> None:
    """Remove what killed commands left beside the lock, where it is certain that nobody needs it.

    .lock-*: prepared by a command that did not come to rename it. .gone-*: marks of earlier versions of Holdfast.
    """
    for name in opening.list_folder(store.paths.submissions_root):
        path = store.paths.submissions_root / name
        if name.startswith(".gone-"):
            directories.remove_tree(path)
        elif name.startswith(".lock-"):
            with contextlib.suppress(OSError):  # of an owner who cannot be read nothing is certain
                left = [documents.known(path / entry, documents.OwnerDocument) for entry in directories.entries(path)]
                # Its owner, if he lives and has not written his name yet, makes another one.
                if all(record and _standing(record) is _Owner.GONE for record in left):
                    directories.remove_tree(path)


# --- is the owner still there? --------------------------------------------------------------------------------------


class _Owner(Enum):
    RUNS = "; wait for it, or end it with `kill {pid}` (--take-over takes no lock from a command that runs)"
    HERE = ", in another thread of this very process; wait for it"
    GONE = ""
    UNSURE = (
        ", as far as can be seen from here; wait for it, or add --take-over "
        "if a look at its own machine and container shows that it is gone for good"
    )


# One of these is certainly at work.
_SEEN = (_Owner.RUNS, _Owner.HERE)


def _who(record: dict[str, Any]) -> str:
    return f"{record.get('command', 'another command')} (process {record.get('pid', '?')} on {record.get('host', '?')})"


def _at_work(record: dict[str, Any]) -> str:
    return f"{_who(record)} is at work here{_standing(record).value.format(pid=record.get('pid', '?'))}"


def _standing(record: dict[str, Any]) -> _Owner:
    """Whether the process that a record names runs, is gone, or cannot be judged from here.

    A pid means something where the boot and the PID namespace are ours: a boot id is unique to a machine's boot, host
    names are not, and in another container the same process has another number.
    """
    ours = here()
    if record.get("boot") != ours.boot:
        return _Owner.GONE if _rebooted_since(record, ours) else _Owner.UNSURE
    pid = record.get("pid")
    if record.get("namespace") != ours.namespace or not isinstance(pid, int) or is_hidden(pid):
        return _Owner.UNSURE
    if start_time(pid) != record.get("began"):
        return _Owner.GONE
    if pid == os.getpid():
        return _Owner.HERE if record.get("id") in _OURS else _Owner.GONE
    return _Owner.UNSURE if state(pid) in ("T", "t") else _Owner.RUNS  # a stopped process may be continued, or never


def _rebooted_since(record: dict[str, Any], ours: Place) -> bool:
    """Whether a record is of this very machine before it booted.

    In a container nobody can tell: images bring a machine id along, and host names are given as one likes.
    """
    same = (record.get("host"), record.get("machine")) == (ours.host, ours.machine)
    return same and bool(ours.machine) and record.get("namespace") == ours.namespace and not ours.in_container
