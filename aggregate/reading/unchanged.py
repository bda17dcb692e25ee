"""Whether a sweep directory is as an earlier aggregation found it and left it, so that there is nothing to do.

An aggregation remembers, in one small file, what it read and which files it wrote. The memory is believed only if it
was made by this very code for this very plan, and if every file that it names is still the one that was written. In any
other case everything is read and written again, so that a memory that is lost, damaged or out of date costs time and
never a wrong number. A finished cell is known by its time stamps; one that changed just before it was read may change
again under the same stamps, and is read each time.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from aggregate.arrays import Integers
from aggregate.reading.cell_stamps import TIMES, cell_stamps
from aggregate.reading.histories import Fault, Histories, ReplacedError
from aggregate.reading.records import Record, names_of
from aggregate.reading.sweep import Reading, read_cells
from aggregate.together import Stamp, stamp_of
from hpc.checkout import PROJECT_ROOT
from hpc.files.atomic import publish
from hpc.files.reading import read
from hpc.storage.store import Store
from hpc.sweep.cell import digest
from hpc.sweep.definition import Sweep
from hpc.sweep.states import FINAL

_CODE = (".py", ".js", ".css", ".html")


@dataclass(frozen=True)
class Told:
    """What an aggregation reports. complete: every planned cell is COMPLETED or DIVERGED. counts: cells by state.
    problems: what a user should know, one line each."""

    complete: bool
    counts: dict[str, int]
    problems: list[str]


@dataclass(frozen=True)
class Memory:
    """What is remembered of an aggregation.

    stamps: digest of the plan and of the time stamps of all finished cells. unfinished: positions in the grid of the
    others, which have to be read to know whether they are the same. records: digest of what they were, with their
    histories.
    files: stamp of every file that was written, by its path below the sweep directory.
    """

    stamps: str
    unfinished: list[int]
    records: str
    files: dict[str, Stamp]
    told: Told


@dataclass(frozen=True)
class DirectoryState:
    """A sweep directory just before it is read; what changes later is noticed by the next look.

    manifest: the content of sweep.json. plan: digest of it, of the certificates, of our code and of the options.
    stamps: of every cell, see cell_stamps. strays: names of directories that are no planned cell.
    """

    store: Store
    manifest: Mapping[str, Any]
    plan: str
    sweep: Sweep
    names: list[str]
    stamps: Integers
    strays: list[str]

    def stamps_but(self, unfinished: Sequence[int]) -> str:
        """Digest of everything that is compared without reading a cell."""
        stamps = np.delete(self.stamps, unfinished, axis=0)
        return digest([self.plan, self.strays, list(unfinished), hashlib.sha256(stamps.tobytes()).hexdigest()])


def look(store: Store, **options: object) -> DirectoryState:
    """Look at a sweep directory without reading a result. options: all else that decides what is written.

    Raises hpc.errors.SweepError if the directory holds no sweep, OSError naming the path if it cannot be read.
    """
    manifest = store.manifest()
    sweep = store.sweep(manifest)
    names = names_of(sweep)
    plan = json.dumps([manifest, store.certificates(), _code_digest(), options])
    strays = sorted(store.present() - set(names))
    return DirectoryState(store, manifest, digest(plan), sweep, names, cell_stamps(store, names), strays)


def told_before(seen: DirectoryState) -> Told | None:
    """What the last aggregation reported, if another one would change no file; else None."""
    memory = _load(seen.store)
    if memory is None or not _ascending([-1, *memory.unfinished, len(seen.names)]):
        return None
    if memory.stamps != seen.stamps_but(memory.unfinished) or not _intact(seen.store, memory.files):
        return None
    cells = list(seen.sweep.grid) if memory.unfinished else []
    try:
        read_again = read_cells(seen.store, seen.sweep, cells, seen.names, memory.unfinished)
    except ReplacedError:
        return None
    return memory.told if memory.records == _digest(*read_again) else None


def remember(seen: DirectoryState, reading: Reading, files: Mapping[Path, Stamp], told: Told, settled: int) -> None:
    """Remember an aggregation. seen: the look before it read anything. files: what it wrote.

    settled: see hpc.files.directories.settled_before, from before anything was read. Raises OSError naming the path.
    """
    unfinished = _unfinished(seen.stamps, settled, reading.gathered.records, seen.names, reading.histories.faults)
    histories = reading.histories.of(unfinished, seen.names)
    root = seen.store.root
    memory = Memory(
        stamps=seen.stamps_but(unfinished),
        unfinished=unfinished,
        records=_digest([reading.gathered.records[i] for i in unfinished], histories),
        files={path.relative_to(root).as_posix(): stamp for path, stamp in files.items()},
        told=told,
    )
    publish(seen.store.paths.cache_file, msgspec.json.encode(memory))


def _unfinished(
    stamps: Integers, settled: int, records: Sequence[Record], names: Sequence[str], faults: Sequence[Fault]
) -> list[int]:
    """Cells whose stamps do not tell whether they are the same: a new attempt leaves a cell's directory as it was."""
    damaged = {name for name, _ in faults}
    ended = [r.state in FINAL and name not in damaged for r, name in zip(records, names, strict=True)]
    known = (stamps > 0).all(axis=1) & (stamps[:, TIMES] < settled).all(axis=1)
    return np.flatnonzero(~(np.array(ended, dtype=bool) & known)).tolist()


def _digest(records: Iterable[Record], histories: Histories) -> str:
    """Digest of all that cells bring into the outputs."""
    columns = {name: hashlib.sha256(column.tobytes()).hexdigest() for name, column in histories.columns.items()}
    rows = [hashlib.sha256(own.tobytes()).hexdigest() for own in (histories.position, histories.epoch)]
    told = [[r.state, r.status.attempts, r.status.cause, r.result] for r in records]
    return digest([told, columns, rows, histories.faults])


def _load(store: Store) -> Memory | None:
    """The memory, unless it is missing or is none: empty, cut short, or of another version."""
    try:
        return msgspec.json.decode(read(store.paths.cache_file), type=Memory)
    except (OSError, ValueError, RecursionError):
        return None


def _intact(store: Store, files: Mapping[str, Stamp]) -> bool:
    """Whether every file is the one that was written, and none of those that are always written is missing."""
    always = (
        store.paths.aggregated_file,
        store.paths.statistics_file,
        store.paths.table_file,
        store.paths.curves_file,
        store.paths.report_file,
    )
    return {path.name for path in always} <= set(files) and all(
        ".." not in Path(name).parts and stamp_of(store.root / name) == stamp for name, stamp in files.items()
    )


def _ascending(positions: Sequence[int]) -> bool:
    """Whether no position is named twice, so that no cell is read more than once."""
    return all(a < b for a, b in itertools.pairwise(positions))


@lru_cache(maxsize=1)
def _code_digest() -> str:
    """Of the code that reads, computes, draws and lays out the report."""
    total = hashlib.sha256()
    for folder in ("aggregate", "hpc"):
        for path in sorted((PROJECT_ROOT / folder).rglob("*")):
            if path.suffix in _CODE:
                total.update(path.relative_to(PROJECT_ROOT).as_posix().encode() + path.read_bytes())
    return total.hexdigest()
