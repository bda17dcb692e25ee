"""Submissions: the lock, the intent written before anything is queued, the receipt after it, and who is live.

A submission's arrays carry unique job names (tokens). Whether a cell is queued is asked of Slurm by these names, so a
client that died at any point, or an sbatch that failed after it had queued, loses and doubles nothing.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hpc.errors import BusyError, SweepError
from hpc.processes import boot_id, host, start_time
from hpc.slurm.answers import QueuedTask
from hpc.slurm.commands import Slurm
from hpc.storage import files
from hpc.storage.store import Store
from hpc.storage.task_list import task_cells, task_line
from hpc.sweep.cell import Cell

LOCAL, SLURM = "local", "slurm"
_LOCK_TRIES = 40
_LOCK_PAUSE_SECONDS = 0.02


@dataclass(frozen=True)
class Intent:
    """What a submission was about to do, written before it did it.

    kind: local or slurm. tokens: job name of each array. conf: slurm.conf of the cluster, None for the default one.
    sizes: tasks per array. code: digest of the snapshot.
    """

    number: int
    kind: str
    profile: str
    tokens: tuple[str, ...]
    sizes: tuple[int, ...]
    conf: str | None
    code: str
    host: str
    at: float


@dataclass(frozen=True)
class LiveTask:
    """A task of ours that Slurm has now, and its cells."""

    queued: QueuedTask
    submission: int
    cells: tuple[str, ...]


def begin(
    store: Store,
    arrays: Sequence[Sequence[Sequence[Cell]]],
    *,
    kind: str,
    profile: str,
    name: str,
    code: str,
    conf: Path | None = None,
) -> Intent:
    """Make a submission's directory: task lists, then the intent. Nothing is queued yet. Raises OSError."""
    number = store.new_submission()
    files.make_directory(store.logs_directory(number))
    for i, tasks in enumerate(arrays):
        files.publish(store.tasks_file(number, i), "".join(task_line(cells) for cells in tasks).encode())
    unique = uuid.uuid4().hex[:10]
    intent = Intent(
        number=number,
        kind=kind,
        profile=profile,
        tokens=tuple(f"{name}-{number}.{i}-{unique}" for i in range(len(arrays))),
        sizes=tuple(len(tasks) for tasks in arrays),
        conf=str(conf) if conf else None,
        code=code,
        host=host(),
        at=time.time(),
    )
    files.publish(store.intent_file(number), json.dumps(asdict(intent), indent=1).encode())
    return intent


def write_receipt(store: Store, intent: Intent, job_ids: Sequence[str]) -> None:
    """Record the job ids of the arrays queued so far; labels for people."""
    record = [{"token": token, "job_id": job} for token, job in zip(intent.tokens, job_ids, strict=False)]
    files.publish(store.receipt_file(intent.number), json.dumps({"arrays": record}, indent=1).encode())


def intents(store: Store) -> list[Intent]:
    """All submissions that got as far as an intent, oldest first. Raises SweepError for one that cannot be read."""
    found = []
    for number in sorted(files.numbers(store.submissions_root)):
        path = store.intent_file(number)
        try:
            intent = Intent(**files.read_json(path))
            found.append(replace(intent, tokens=tuple(intent.tokens), sizes=tuple(intent.sizes)))
        except FileNotFoundError:
            continue  # it died before it could queue anything
        except (ValueError, TypeError):
            # Passing over it would make its tasks look absent, and queue their cells again.
            raise SweepError(
                f"{path}: cannot be read by this version of Holdfast; use the version that wrote it"
            ) from None
    return found


def live_tasks(store: Store) -> list[LiveTask]:
    """Tasks of this sweep that Slurm has waiting or running. Raises SlurmError if a cluster cannot be asked."""
    found: list[LiveTask] = []
    by_cluster: dict[str | None, list[Intent]] = {}
    for intent in intents(store):
        if intent.kind == SLURM:
            by_cluster.setdefault(intent.conf, []).append(intent)
    for conf, ours in by_cluster.items():
        places = {token: (intent, i) for intent in ours for i, token in enumerate(intent.tokens)}
        queue = Slurm(Path(conf) if conf else None).queue(list(places))
        cells: dict[str, list[tuple[str, ...]]] = {}
        for task in queue:
            intent, array = places[task.name]
            if task.name not in cells:
                cells[task.name] = task_cells(store.tasks_file(intent.number, array))
            if task.index is not None and task.index < len(cells[task.name]):
                found.append(LiveTask(task, intent.number, cells[task.name][task.index]))
    return found


def by_cluster(store: Store, tasks: Sequence[LiveTask]) -> dict[Path | None, list[LiveTask]]:
    """The tasks by the slurm.conf of the cluster that has them."""
    confs = {intent.number: intent.conf for intent in intents(store)}
    found: dict[Path | None, list[LiveTask]] = {}
    for task in tasks:
        conf = confs.get(task.submission)
        found.setdefault(Path(conf) if conf else None, []).append(task)
    return found


def live_cells(tasks: Sequence[LiveTask]) -> dict[str, LiveTask]:
    """The live task of each cell that has one, running ones first."""
    order = sorted(tasks, key=lambda task: task.queued.state != "RUNNING")
    found: dict[str, LiveTask] = {}
    for task in order:
        for cell in task.cells:
            found.setdefault(cell, task)
    return found


# --- one at a time --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def lock(store: Store, command: str, take_over: bool = False) -> Iterator[None]:
    """Let one command at a time submit or run a sweep. The lock of a process that is gone from this machine is taken.

    Raises BusyError saying who holds it and how to take over. It spares work, it does not guard results: those are
    safe with any number of writers.
    """
    files.make_directory(store.submissions_root)
    ours = _take(store, command, take_over)
    try:
        yield
    finally:
        _remove_lock(store, ours)  # and no other: ours may have been taken over


def busy(store: Store) -> bool:
    """Whether a command is at work in the sweep directory, as far as can be seen from here."""
    holder = _holder(store, store.lock_directory)
    return bool(holder) and not _is_gone(holder)


def _take(store: Store, command: str, take_over: bool) -> dict[str, Any]:
    """Put a directory that already names its owner in the lock's place: rename refuses one that is taken.

    Returns the owner's record, ours.
    """
    prepared = store.lock_directory.with_name(f".lock-{uuid.uuid4().hex}")
    os.mkdir(prepared, 0o755)
    try:
        pid = os.getpid()
        record = {"command": command, "host": host(), "pid": pid, "began": start_time(pid), "boot": boot_id()}
        record["id"] = uuid.uuid4().hex
        files.publish(store.lock_owner_file(prepared), json.dumps(record).encode())
        for _ in range(_LOCK_TRIES):
            if _put(prepared, store.lock_directory):
                return record
            holder = _holder(store, store.lock_directory)
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
        os.mkdir(store.lock_directory.with_name(f".gone-{holder.get('id', 'unknown')}"), 0o755)
    except FileExistsError:
        return False
    return True


def _holder(store: Store, lock: Path) -> dict[str, Any]:
    try:
        return dict(files.read_json(store.lock_owner_file(lock)))
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
    aside = store.lock_directory.with_name(f".lock-{uuid.uuid4().hex}")
    with contextlib.suppress(FileNotFoundError):
        os.rename(store.lock_directory, aside)
        if _holder(store, aside) != owner:
            with contextlib.suppress(OSError):
                os.rename(aside, store.lock_directory)
                return
        shutil.rmtree(aside, ignore_errors=True)
