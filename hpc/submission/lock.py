"""One command at a time submits or runs a sweep: a directory that names its owner, put in place by rename."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hpc.errors import BusyError
from hpc.processes import boot_id, host, start_time
from hpc.storage import files
from hpc.storage.store import Store

_LOCK_TRIES = 40


_LOCK_PAUSE_SECONDS = 0.02


@contextlib.contextmanager
def lock(store: Store, command: str, take_over: bool = False) -> Iterator[None]:
    """Let one command at a time submit or run a sweep. The lock of a process that is gone from this machine is taken.

    Raises BusyError saying who holds it and how to take over. It spares work, it does not guard results: those are
    safe with any number of writers.
    """
    files.make_directory(store.paths.submissions_root)
    ours = _take(store, command, take_over)
    try:
        yield
    finally:
        _remove_lock(store, ours)  # and no other: ours may have been taken over


def busy(store: Store) -> bool:
    """Whether a command is at work in the sweep directory, as far as can be seen from here."""
    holder = _holder(store, store.paths.lock_directory)
    return bool(holder) and not _is_gone(holder)


def _take(store: Store, command: str, take_over: bool) -> dict[str, Any]:
    """Put a directory that already names its owner in the lock's place: rename refuses one that is taken.

    Returns the owner's record, ours.
    """
    prepared = store.paths.lock_directory.with_name(f".lock-{uuid.uuid4().hex}")
    os.mkdir(prepared, 0o755)
    try:
        pid = os.getpid()
        record = {"command": command, "host": host(), "pid": pid, "began": start_time(pid), "boot": boot_id()}
        record["id"] = uuid.uuid4().hex
        files.publish(store.paths.lock_owner_file(prepared), json.dumps(record).encode())
        for _ in range(_LOCK_TRIES):
            if _put(prepared, store.paths.lock_directory):
                return record
            holder = _holder(store, store.paths.lock_directory)
            if holder and not take_over and not _is_gone(holder):
                who = f"process {holder.get('pid', '?')} on {holder.get('host', '?')}"
                raise BusyError(
                    f"{store.root}: {holder.get('command', 'another command')} ({who}) is at work here; "
                    "wait for it, or add --take-over if it is gone for good"
                )
            if take_over or (holder and _may_remove(store, holder)):
                _remove_lock(store, holder)
            time.sleep(_LOCK_PAUSE_SECONDS)  # released a moment ago, or another command is removing it
        raise BusyError(
            f"{store.root}: another command took this sweep at the same moment; try again, "
            "or add --take-over if none is at work here"
        )
    finally:
        shutil.rmtree(prepared, ignore_errors=True)


def _put(prepared: Path, lock: Path) -> bool:
    try:
        os.rename(prepared, lock)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def _may_remove(store: Store, holder: dict[str, Any]) -> bool:
    """Whether this process is the one to remove a dead owner's lock: of many that found it dead, one makes the mark.

    The mark stays: whoever was slow would else remove the lock of the next owner.
    """
    try:
        os.mkdir(store.paths.lock_directory.with_name(f".gone-{holder.get('id', 'unknown')}"), 0o755)
    except FileExistsError:
        return False
    return True


def _holder(store: Store, lock: Path) -> dict[str, Any]:
    try:
        return dict(files.read_json(store.paths.lock_owner_file(lock)))
    except (OSError, ValueError, TypeError):
        return {}


def _is_gone(holder: dict[str, Any]) -> bool:
    if holder.get("host") != host():
        return False
    if holder.get("boot") != boot_id():
        return True
    pid = holder.get("pid")
    return not isinstance(pid, int) or start_time(pid) != holder.get("began")


def _remove_lock(store: Store, owner: dict[str, Any]) -> None:
    """Remove the lock if it is still the one this owner holds; another's goes back to its place."""
    aside = store.paths.lock_directory.with_name(f".lock-{uuid.uuid4().hex}")
    with contextlib.suppress(FileNotFoundError):
        os.rename(store.paths.lock_directory, aside)
        if _holder(store, aside) != owner:
            with contextlib.suppress(OSError):
                os.rename(aside, store.paths.lock_directory)
                return
        shutil.rmtree(aside, ignore_errors=True)
