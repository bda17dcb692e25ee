"""The history.csv of every cell with a result, read as columns.

Files are joined and parsed a chunk at a time: a parser call for each file costs twenty times as much. That happens
beside the caller, who goes on reading files meanwhile: the parser leaves Python to others while it works. What it
finds goes to its place in the table at once, so that all chunks are parsed in the same memory.
"""

from __future__ import annotations

import csv
import itertools
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from aggregate.arrays import Floats, Integers
from hpc.errors import SweepError
from hpc.files.limits import HISTORY, MOST_EPOCHS, MOST_METRICS, MOST_NUMBERS, too_many
from hpc.files.reading import read
from hpc.storage.named_files import HISTORY as FILE_NAME
from hpc.storage.named_files import is_named
from hpc.storage.store import Store

CHUNK = 64  # files: few enough to stay in the processor's cache until they are parsed
_LARGEST_BLOCK = 1 << 24  # bytes
_MOST_AT_ONCE = 1 << 24  # bytes of files that are parsed together; one alone may be as large as a history can be
_WAITING = 4  # chunks that have been read and wait for the parser
_LINE_END = ord("\n")
_MORE = 1.5  # times the rows that there are room for, where a table turns out to be longer
EPOCH = "epoch"
Fault = tuple[str, str]


class ReplacedError(SweepError):
    """A cell was trained anew between the reading of its result and that of its history."""


@dataclass(frozen=True)
class Histories:
    """All epochs of all cells, one row an epoch, in the order of the grid and of each file.

    position: index of the cell in the grid, shape (rows,). epoch: counted from 1, shape (rows,).
    columns: metric name -> values, shape (rows,), NaN where an epoch has none.
    faults: name of each cell whose history is missing or damaged, and why; it has no rows.
    """

    position: Integers
    epoch: Integers
    columns: dict[str, Floats]
    faults: list[Fault]

    @cached_property
    def runs(self) -> tuple[Integers, Integers, Integers]:
        """(cells that have a history, the first row of each, its number of rows), each of shape (cells,)."""
        first = np.flatnonzero(np.diff(self.position, prepend=-1))
        return self.position[first], first, np.diff(first, append=len(self.position))

    def of(self, positions: Sequence[int], names: Sequence[str]) -> Histories:
        """Those of some cells alone, as read_histories would give them. names: of all cells of the grid."""
        rows, own = np.isin(self.position, positions), {names[i] for i in positions}
        columns = {name: column[rows] for name, column in self.columns.items()}
        faults = [fault for fault in self.faults if fault[0] in own]
        return Histories(self.position[rows], self.epoch[rows], _measured(columns), faults)


class Ended(NamedTuple):
    """Position in the grid, name and result of a cell that has ended; its history, if it was read with the result."""

    position: int
    name: str
    result: Mapping[str, Any]
    history: bytes | None = None


class _File(NamedTuple):
    position: int
    name: str
    header: bytes
    body: memoryview


@dataclass(frozen=True)
class HistoryBlock:
    """Rows of some cells: from how many files, position of each row's cell, names of the columns (the epoch first) and
    their values."""

    files: int
    position: Integers
    names: list[str]
    values: list[Floats]


_PlacedFault = tuple[int, Fault]  # with the position of its cell


@dataclass
class _Table:
    """All histories, a row per epoch and a column per metric, whichever cells have them; filled as they are parsed.

    cells: how many there are; room is made for all as soon as the first few have been seen. files: that have been
    seen. names, epochs: what the histories have together, also those that are too much to be held. rows: filled.
    """

    cells: int
    files: int = 0
    names: set[str] = field(default_factory=set)
    epochs: int = 0
    rows: int = 0
    position: Integers = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    columns: dict[str, Floats] = field(default_factory=dict)

    def add(self, block: HistoryBlock) -> None:
        """Count a block, and hold it if that can be done with all before. What cannot is counted on: the whole number
        is what a user must allow."""
        self.names.update(block.names)
        self.epochs += len(block.position)
        self.files += block.files
        if self.too_much():
            return
        start, self.rows = self.rows, self.rows + len(block.position)
        if self.rows > len(self.position):
            self._make_room(start)
        self.position[start : self.rows] = block.position
        for name in block.names:
            if name not in self.columns:
                self.columns[name] = np.empty(len(self.position))
                self.columns[name][:start] = np.nan
        own = dict(zip(block.names, block.values, strict=True))
        for name, column in self.columns.items():
            column[start : self.rows] = own.get(name, np.nan)

    def _make_room(self, filled: int) -> None:
        """Memory that is never written costs nothing; but no more than a table may have."""
        expected = min(self.rows * self.cells // self.files, MOST_NUMBERS // len(self.names))
        room = max(self.rows, expected if not filled else int(self.rows * _MORE))
        self.position = _longer(self.position, filled, room)
        self.columns = {name: _longer(column, filled, room) for name, column in self.columns.items()}

    def histories(self, faults: list[Fault]) -> Histories:
        """The whole table, rows in the order of the grid. A column without any value is no metric."""
        position = self.position[: self.rows]
        columns = {name: column[: self.rows] for name, column in self.columns.items()}
        epoch = columns.pop(EPOCH, np.empty(0)).astype(np.int64)
        columns = _measured(columns)
        if np.any(position[1:] < position[:-1]):
            order = np.argsort(position, kind="stable")
            position, epoch = position[order], epoch[order]
            columns = {name: column[order] for name, column in columns.items()}
        return Histories(position, epoch, columns, faults)

    def too_much(self) -> str:
        """Why the table would be too large; empty if it would not."""
        metrics = len(self.names)
        return too_many(metrics - 1, MOST_METRICS, "metrics") or too_many(
            metrics * self.epochs, MOST_NUMBERS, "values, one per metric and epoch of every cell"
        )


def no_histories() -> Histories:
    return _Table(0).histories([])


def read_histories(store: Store, ended: Iterable[Ended], cells: int) -> Histories:
    """Read the histories of cells that have a result. Damaged files are named, never guessed at.

    ended: files are read while this goes on naming more. cells: how many it will name, at most.
    Raises OSError naming the path if a file that is there cannot be read, SweepError if they hold too much together,
    ReplacedError if a file is not the one any more that was there when its cell's result was read.
    """
    table, faults = _Table(cells), list[_PlacedFault]()
    waiting = deque[Future[list[_PlacedFault]]]()
    with ThreadPoolExecutor(1) as beside:
        for chunk in _chunks(_files(store, ended, faults)):
            waiting.append(beside.submit(_parse_chunk, chunk, table))
            if len(waiting) > _WAITING:
                faults += waiting.popleft().result()
        faults += [fault for part in waiting for fault in part.result()]
    if fault := table.too_much():
        raise SweepError(f"{store.root}: its histories have {fault}")
    return table.histories([fault for _, fault in sorted(faults)])


def _files(store: Store, ended: Iterable[Ended], faults: list[_PlacedFault]) -> Iterator[_File]:
    for position, name, result, content in ended:
        if content is None:
            try:
                content = read(store.paths.history_path(name), HISTORY)
            except FileNotFoundError:
                faults.append((position, (name, "history.csv is missing")))
                continue
            if not is_named(content, result, FILE_NAME):
                path = store.paths.history_path(name)
                raise ReplacedError(f"{path}: replaced while the sweep was read; read it again")
        if why := _why_unread(content):
            faults.append((position, (name, why)))
            continue
        end = content.index(b"\n")
        yield _File(position, name, content[:end].rstrip(b"\r"), memoryview(content)[end + 1 :])


def _chunks(files: Iterable[_File]) -> Iterator[list[_File]]:
    """A few at a time: all of them may be more than the memory holds."""
    chunk, size = list[_File](), 0
    for file in files:
        if chunk and (len(chunk) == CHUNK or size + len(file.body) > _MOST_AT_ONCE):
            yield chunk
            chunk, size = [], 0
        chunk.append(file)
        size += len(file.body)
    if chunk:
        yield chunk


def _parse_chunk(files: Iterable[_File], table: _Table) -> list[_PlacedFault]:
    groups, faults = defaultdict[bytes, list[_File]](list), list[_PlacedFault]()
    for file in files:
        groups[file.header].append(file)
    for group in groups.values():
        for block in _parse(group, faults):
            table.add(block)
    return faults


def _why_unread(content: bytes) -> str:
    """Why a history is not parsed; empty if it is."""
    if not content.endswith(b"\n"):
        return "history.csv is cut short"
    fault = too_many(content.count(b",", 0, content.index(b"\n")), MOST_METRICS, "metrics")
    return f"history.csv has {fault}" if fault else ""


def _parse(group: list[_File], faults: list[_PlacedFault]) -> list[HistoryBlock]:
    """Parse files of one header together; if one of them is damaged, each alone, to name it."""
    body = b"".join(file.body for file in group)
    rows = _rows(group, body)
    why = f"history.csv has {many}" if (many := too_many(int(rows.max()), MOST_EPOCHS, "rows")) else ""
    if not why:
        try:
            return [_block(group, rows, body)]
        except (ValueError, csv.Error) as error:
            why = f"history.csv is damaged ({str(error).splitlines()[0]})"
    if len(group) == 1:
        faults.append((group[0].position, (group[0].name, why)))
        return []
    return [block for file in group for block in _parse([file], faults)]


def _rows(group: Sequence[_File], body: bytes) -> Integers:
    """Number of rows of each file, shape (files,). body: all files joined; bytes.count would be slow."""
    ends = np.frombuffer(body, np.uint8) == _LINE_END
    starts = [0, *itertools.accumulate(len(file.body) for file in group)]
    return np.array([np.count_nonzero(ends[start:end]) for start, end in itertools.pairwise(starts)])


def _block(group: Sequence[_File], rows: Integers, body: bytes) -> HistoryBlock:
    """rows: of each file, shape (files,). Raises ValueError (pyarrow's is one) if the files are no histories."""
    names = next(csv.reader([group[0].header.decode()]), [])
    if names[:1] != [EPOCH] or len(set(names)) != len(names):
        raise ValueError("its first line is not epoch and metric names")
    position = np.repeat(np.array([file.position for file in group], dtype=np.int64), rows)
    if not body:
        return HistoryBlock(len(group), position, names, [np.empty(0) for _ in names])
    table = pa_csv.read_csv(
        pa.BufferReader(body),
        # One thread: blocks stay in its cache, and that takes half the processor time of two. One block: no copies.
        read_options=pa_csv.ReadOptions(
            column_names=names, use_threads=False, block_size=min(len(body) + 1, _LARGEST_BLOCK)
        ),
        parse_options=pa_csv.ParseOptions(ignore_empty_lines=False, quote_char=False),
        convert_options=pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.float64()), null_values=[""]),
    )
    values = [column.to_numpy().astype(np.float64, copy=False) for column in table.columns]
    if len(values[0]) != len(position) or not np.all((values[0] >= 1) & (values[0] < 2**53)):
        raise ValueError("a row has no epoch")
    return HistoryBlock(len(group), position, names, values)


def _measured(columns: dict[str, Floats]) -> dict[str, Floats]:
    """The columns that have any value: others are no metric."""
    return {name: column for name, column in columns.items() if not _is_empty(column)}


def _is_empty(column: Floats) -> bool:
    """Whether no row has a value; mostly the first one has."""
    return bool(np.isnan(column[:1]).all() and np.isnan(column).all())


def _longer(values: Any, filled: int, room: int) -> Any:
    """An array of another length that begins alike."""
    longer = np.empty(room, dtype=values.dtype)
    longer[:filled] = values[:filled]
    return longer
