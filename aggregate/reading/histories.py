"""The history.csv of every cell with a result, read as columns.

Files are joined and parsed a chunk at a time: a parser call for each file costs twenty times as much. That happens
beside the caller, who goes on reading files meanwhile: the parser leaves Python to others while it works.
"""

from __future__ import annotations

import csv
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
    rows: int


@dataclass(frozen=True)
class HistoryBlock:
    """Rows of some cells: position of each row's cell, names of the columns (the epoch first) and their values."""

    position: Integers
    names: list[str]
    values: list[Floats]


# A fault with the position of its cell; what becomes of a chunk.
_PlacedFault = tuple[int, Fault]
_Parsed = tuple[list[HistoryBlock], list[_PlacedFault]]


@dataclass
class _Total:
    """What the histories have together, counted as they are parsed. Its table has a row per epoch and a column per
    metric, whichever cells have them."""

    names: set[str] = field(default_factory=set)
    epochs: int = 0

    def has_room_for(self, block: HistoryBlock) -> bool:
        """Count a block; whether it can be held with all before. What cannot is counted on: the whole number is what a
        user must allow."""
        self.names.update(block.names)
        self.epochs += len(block.position)
        return not self.too_much()

    def too_much(self) -> str:
        """Why the table would be too large; empty if it would not."""
        metrics = len(self.names)
        return too_many(metrics - 1, MOST_METRICS, "metrics") or too_many(
            metrics * self.epochs, MOST_NUMBERS, "values, one per metric and epoch of every cell"
        )


def read_histories(store: Store, ended: Iterable[Ended]) -> Histories:
    """Read the histories of cells that have a result. Damaged files are named, never guessed at.

    ended: files are read while this goes on naming more.
    Raises OSError naming the path if a file that is there cannot be read, SweepError if they hold too much together,
    ReplacedError if a file is not the one any more that was there when its cell's result was read.
    """
    total, faults, parts = _Total(), list[_PlacedFault](), list[_Parsed]()
    waiting = deque[Future[_Parsed]]()
    with ThreadPoolExecutor(1) as beside:
        for chunk in _chunks(_files(store, ended, faults)):
            waiting.append(beside.submit(_parse_chunk, chunk, total))
            if len(waiting) > _WAITING:
                parts.append(waiting.popleft().result())
        parts += [part.result() for part in waiting]
    if fault := total.too_much():
        raise SweepError(f"{store.root}: its histories have {fault}")
    faults += [fault for _, some in parts for fault in some]
    return joined([block for blocks, _ in parts for block in blocks], [fault for _, fault in sorted(faults)])


def _files(store: Store, ended: Iterable[Ended], faults: list[_PlacedFault]) -> Iterator[_File]:
    for position, name, result, data in ended:
        if data is None:
            try:
                data = read(store.paths.history_path(name), HISTORY)
            except FileNotFoundError:
                faults.append((position, (name, "history.csv is missing")))
                continue
            if not is_named(data, result, FILE_NAME):
                path = store.paths.history_path(name)
                raise ReplacedError(f"{path}: replaced while the sweep was read; read it again")
        if not data.endswith(b"\n"):
            faults.append((position, (name, "history.csv is cut short")))
        else:
            end = data.index(b"\n")
            rows = int(
                np.count_nonzero(np.frombuffer(data, np.uint8, offset=end + 1) == _LINE_END)
            )  # not data.count: slow
            columns = data.count(b",", 0, end)
            if fault := too_many(rows, MOST_EPOCHS, "rows") or too_many(columns, MOST_METRICS, "metrics"):
                faults.append((position, (name, f"history.csv has {fault}")))
                continue
            yield _File(position, name, data[:end].rstrip(b"\r"), memoryview(data)[end + 1 :], rows)


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


def _parse_chunk(files: Iterable[_File], total: _Total) -> _Parsed:
    groups, faults = defaultdict[bytes, list[_File]](list), list[_PlacedFault]()
    for file in files:
        groups[file.header].append(file)
    blocks = [block for group in groups.values() for block in _parse(group, faults)]
    return [block for block in blocks if total.has_room_for(block)], faults


def _parse(group: list[_File], faults: list[_PlacedFault]) -> list[HistoryBlock]:
    """Parse files of one header together; if one of them is damaged, each alone, to name it."""
    try:
        return [_block(group)]
    except (ValueError, csv.Error) as error:
        if len(group) == 1:
            why = f"history.csv is damaged ({str(error).splitlines()[0]})"
            faults.append((group[0].position, (group[0].name, why)))
            return []
    return [block for file in group for block in _parse([file], faults)]


def _block(group: list[_File]) -> HistoryBlock:
    """Raises ValueError (pyarrow's is one) if the files are no histories."""
    names = next(csv.reader([group[0].header.decode()]), [])
    if names[:1] != [EPOCH] or len(set(names)) != len(names):
        raise ValueError("its first line is not epoch and metric names")
    position = np.repeat([file.position for file in group], [file.rows for file in group])
    body = b"".join(file.body for file in group)
    if not body:
        return HistoryBlock(position.astype(np.int64), names, [np.empty(0) for _ in names])
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
    return HistoryBlock(position.astype(np.int64), names, values)


def _measured(columns: dict[str, Floats]) -> dict[str, Floats]:
    """The columns that have any value: others are no metric."""
    return {name: column for name, column in columns.items() if not np.isnan(column).all()}


def joined(blocks: Sequence[HistoryBlock], faults: Sequence[Fault]) -> Histories:
    """One set of columns from blocks that may differ in theirs, rows in the order of the grid. A column without any
    value is no metric."""
    ends = np.cumsum([0, *(len(block.position) for block in blocks)])
    names = list(dict.fromkeys(name for block in blocks for name in block.names))
    position = np.empty(ends[-1], dtype=np.int64)
    values = np.empty((len(names), ends[-1]))
    for block, start, end in zip(blocks, ends, ends[1:], strict=False):
        position[start:end] = block.position
        own = dict(zip(block.names, block.values, strict=True))
        for row, name in zip(values, names, strict=True):
            row[start:end] = own.get(name, np.nan)
    columns = dict(zip(names, values, strict=True))
    epoch = columns.pop(EPOCH, np.empty(0)).astype(np.int64)
    columns = _measured(columns)
    if np.any(position[1:] < position[:-1]):
        order = np.argsort(position, kind="stable")
        position, epoch = position[order], epoch[order]
        columns = {name: column[order] for name, column in columns.items()}
    return Histories(position, epoch, columns, list(faults))
