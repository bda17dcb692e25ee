"""The history.csv of every cell with a result, read as columns.

Files are joined and parsed a chunk at a time: a parser call for each file costs twenty times as much. That happens
beside the caller, who goes on reading results meanwhile: the parser leaves Python to others while it works.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from aggregate.arrays import Floats, Integers
from hpc.storage.files import read
from hpc.storage.opening import HISTORY, MOST_EPOCHS, too_many
from hpc.storage.store import Store

CHUNK = 128  # files: few enough to stay in the processor's cache until they are parsed
_LARGEST_BLOCK = 1 << 24  # bytes
EPOCH = "epoch"
Fault = tuple[str, str]


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


@dataclass(frozen=True)
class _File:
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


def read_histories(store: Store, ended: Iterable[tuple[int, str]]) -> Histories:
    """Read the histories of cells that have a result. Damaged files are named, never guessed at.

    ended: position in the grid and name of each; files are read while this goes on naming more.
    Raises OSError naming the path if a file that is there cannot be read.
    """
    with ThreadPoolExecutor(1) as beside:
        remaining = iter(ended)
        chunks = iter(lambda: list(islice(remaining, CHUNK)), [])
        parts = [part.result() for part in [beside.submit(_read_chunk, store, chunk) for chunk in chunks]]
    return joined(
        [block for blocks, _ in parts for block in blocks], [fault for _, faults in parts for fault in faults]
    )


def _read_chunk(store: Store, ended: Sequence[tuple[int, str]]) -> tuple[list[HistoryBlock], list[Fault]]:
    faults: list[Fault] = []
    blocks = _parse_all(_files(store, ended, faults), faults)
    order = {name: place for place, (_, name) in enumerate(ended)}
    return blocks, sorted(faults, key=lambda fault: order[fault[0]])


def _files(store: Store, ended: Iterable[tuple[int, str]], faults: list[Fault]) -> Iterator[_File]:
    for position, name in ended:
        try:
            data = read(store.paths.history_path(name), HISTORY)
        except FileNotFoundError:
            faults.append((name, "history.csv is missing"))
            continue
        if not data.endswith(b"\n"):
            faults.append((name, "history.csv is cut short"))
        else:
            end = data.index(b"\n")
            rows = data.count(b"\n", end + 1)
            if fault := too_many(rows, MOST_EPOCHS, "rows"):
                faults.append((name, f"history.csv has {fault}"))
                continue
            yield _File(position, name, data[:end].rstrip(b"\r"), memoryview(data)[end + 1 :], rows)


def _parse_all(files: Iterable[_File], faults: list[Fault]) -> list[HistoryBlock]:
    groups: dict[bytes, list[_File]] = defaultdict(list)
    for file in files:
        groups[file.header].append(file)
    return [block for group in groups.values() for block in _parse(group, faults)]


def _parse(group: list[_File], faults: list[Fault]) -> list[HistoryBlock]:
    """Parse files of one header together; if one of them is damaged, each alone, to name it."""
    try:
        return [_block(group)]
    except (ValueError, csv.Error) as error:
        if len(group) == 1:
            faults.append((group[0].name, f"history.csv is damaged ({str(error).splitlines()[0]})"))
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
    columns = {name: column for name, column in columns.items() if not np.isnan(column).all()}
    if np.any(position[1:] < position[:-1]):
        order = np.argsort(position, kind="stable")
        position, epoch = position[order], epoch[order]
        columns = {name: column[order] for name, column in columns.items()}
    return Histories(position, epoch, columns, list(faults))
