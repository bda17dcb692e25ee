"""Attempts at a cell that came to nothing, and when to stop trying.

Killed tasks leave no word, so the files have to tell whether training gets anywhere. An attempt came to nothing if its
cell was handed to the trainer and its pack never saved a checkpoint that is further than the one it restored, or none
that could be read again. It does not count against the cell

- if its files could not be written, which is not the cell's fault;
- if its process still runs on this machine.

It was *interrupted*, which counts apart and for much less,

- if it was asked to stop (before its first step, else it would have saved);
- if Slurm requeued its job (preemption, node failure): then the next attempt has the same job and more restarts.
  Nobody requeues a process that died by itself, so what is submitted again after that came to nothing.

A few interruptions in a row are a busy cluster. Ten are a time limit that leaves no room for the start, or a partition
that nothing long can run in: without a bound such a task would be requeued for ever.

A checkpoint is removed only when a later attempt has saved two and got further, so the newest attempts' tell the truth.
The first attempt, looking back, that saved anything new or recorded a failure ends the count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpc import provenance
from hpc.files import directories, limits, logs, reading
from hpc.storage.checkpoint import CorruptCheckpointError, decode
from hpc.storage.store import Store, runs_here
from hpc.sweep.cell import Cell

# Once may be the node, twice bad luck.
MOST_ALONE = 3
# Fewer than alone: trained apart, the cells have their own three tries before anybody is blamed.
MOST_PACKED = 2
# Preemptions come in rows; ten before the first checkpoint, which is a minute away by default, are a setting.
MOST_INTERRUPTED = 10
_KILLED = re.compile(r"(Killed|Segmentation fault|Aborted|Bus error|Illegal instruction|ended by SIG[A-Z0-9]+)")
_WORDS = {
    "Killed": "killed by signal 9, as when memory runs out",
    "ended by SIGKILL": "killed by signal 9, as when memory runs out",
    "Segmentation fault": "killed by signal 11, a segmentation fault",
    "Aborted": "killed by signal 6, an abort",
}
_DAMAGED = "; what it had saved could not be read again, and is kept as packs/*/checkpoint-*.corrupt-*: see the storage"
_NO_WORD = "without a word: killed with its job, or its node failed"


@dataclass(frozen=True)
class Futile:
    """What came to nothing lately.

    attempts: how many. packed: how many of all since a pack last got somewhere had more than one cell trained together
    or side by side. interrupted: how many were stopped or requeued before they had saved anything.
    last_alone: whether the newest had this cell alone. last: how it ended. repeated: whether one of them saved what it
    had restored once more. damaged: whether one saved what could not be read again.
    """

    attempts: int
    packed: int
    interrupted: int
    last_alone: bool
    last: str
    repeated: bool = False
    damaged: bool = False

    @property
    def hopeless(self) -> bool:
        """A cell fails only alone: a pack's end may be the fault of its other cells, or of their number."""
        return (self.attempts >= MOST_ALONE and self.last_alone) or self.interrupted >= MOST_INTERRUPTED

    @property
    def split(self) -> bool:
        """Whether the cell should be trained alone from now on."""
        return self.packed >= MOST_PACKED

    @property
    def cause(self) -> str:
        if self.attempts >= MOST_ALONE and self.last_alone:
            return f"ended {self.attempts} times without progress (last: {self.last}){_DAMAGED * self.damaged}"
        if self.damaged:
            return f"was stopped {self.interrupted} times in a row without progress{_DAMAGED}"
        return (
            f"was stopped {self.interrupted} times in a row before it had saved anything{' new' * self.repeated}; "
            "give it a longer time limit, "
            "an earlier warning (signal_delay_s), or a partition that is preempted less"
        )


def futile(store: Store, cell: Cell, fused: bool) -> Futile:
    """Look back over a cell's attempts. fused: whether a pack's cells are trained together, or side by side."""
    attempts = packed = interrupted = 0
    repeated = damaged = False
    newest: tuple[bool, str] | None = None
    counting = counting_packed = True
    job_after: Mapping[str, Any] = provenance.job()
    for attempt, pack, before in _backwards(store, cell):
        record = store.pack_record(pack) if pack is not None else {}
        together = fused and _width(record) > 1
        saved = pack is not None and _has_whole(store, pack, before)
        repeats = saved and pack is not None and _only_repeated(store, pack, record)
        if store.failure(cell, attempt) is not None or (saved and not repeats):
            # Success alone says nothing about the pack: what was split stays so until a pack gets somewhere.
            counting, counting_packed = False, counting_packed and not together
        elif pack is not None and _was_handed_over(store, pack, record, cell) and not runs_here(record):
            repeated |= repeats and counting
            damaged |= counting and store.paths.has_lost(pack)
            if _was_stopped(store, pack) or _was_requeued(record.get("job", {}), job_after):
                interrupted += counting
            else:
                if counting:
                    attempts += 1
                    newest = newest or (not together, _how_it_ended(store, record))
                packed += together and counting_packed
        job_after = record.get("job", {})
        if not counting and not (fused and counting_packed):
            break
    return Futile(attempts, packed, interrupted, *(newest or (False, "")), repeated, damaged)


def got_further(store: Store) -> frozenset[int]:
    """Pack attempts that have saved more than they restored; without those whose checkpoints later ones replaced."""
    packs = directories.numbers(store.paths.packs_root)
    return frozenset(pack for pack in packs if not got_nowhere(store, pack))


def got_nowhere(store: Store, pack: int) -> bool:
    """Whether a pack attempt has saved nothing that is further than what it restored."""
    return not store.paths.has_saved(pack) or _only_repeated(store, pack, store.pack_record(pack))


def _backwards(store: Store, cell: Cell) -> Iterator[tuple[int, int | None, int | None]]:
    """(attempt, its pack attempt, that of the attempt before it) of each attempt that counts, newest first."""
    later: tuple[int, int | None] | None = None
    for attempt in reversed(store.counting_attempts(cell)):
        pack = store.pack_of(cell, attempt)
        if later is not None:
            yield *later, pack
        later = attempt, pack
    if later is not None:
        yield *later, None


def _has_whole(store: Store, pack: int, before: int | None) -> bool:
    """Whether a pack attempt has a checkpoint that can be read again.

    before: the cell's pack attempt before it. Checkpoints are large, so they are read only where that one has lost
    some: then the storage is in doubt. Raises OSError.
    """
    paths = store.paths.generations(pack)
    if before is None or not store.paths.has_lost(before):
        return bool(paths)
    return any(map(_is_whole, paths))


def _is_whole(path: Path) -> bool:
    try:
        decode(reading.read(path, limits.ANY))
    except (FileNotFoundError, CorruptCheckpointError):  # rotated away by its owner, or damaged
        return False
    return True


def _was_handed_over(store: Store, pack: int, record: Mapping[str, Any], cell: Cell) -> bool:
    """By the attempt's report, which is taken back where nothing counts; by its record where the report is empty."""
    report = store.paths.progress_file(pack)
    named = store.progress(pack) or record.get("handed_over", ())
    return cell.name in named and report.name in directories.entries(report.parent)


def _was_stopped(store: Store, pack: int) -> bool:
    return bool(store.progress_record(pack).get("ended"))


def _only_repeated(store: Store, pack: int, record: Mapping[str, Any]) -> bool:
    """Whether all that an attempt saved is what it had restored; False where it does not say."""
    return (store.progress_record(pack) or record).get("repeats") is True


def _width(record: Mapping[str, Any]) -> int:
    """Cells that were trained at once where this attempt was: one of them may have taken the memory of all."""
    return max(len(record.get("cells", ())), int(record.get("side_by_side", 1)))


def _was_requeued(job: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    ids = ("array_job_id", "array_task_id") if "array_job_id" in job else ("job_id",)
    if not all(name in job and job[name] == after.get(name) for name in ids):
        return False
    return int(after.get("restarts", 0)) > int(job.get("restarts", 0))


def _how_it_ended(store: Store, record: Mapping[str, Any]) -> str:
    """In words for people, from what the task's shell or its starter noted in the task's log; nothing rests on it."""
    try:
        array, index = record["task"]
        text = logs.tail(store.paths.task_log(record["submission"], array, index))
    except (OSError, KeyError, TypeError, ValueError):
        return _NO_WORD
    for line in reversed(text.splitlines()):
        found = _KILLED.search(line)
        if found and str(record.get("pid")) in line.split():
            return _WORDS.get(found[1], found[1])
    return _NO_WORD
