"""Cells and histories of an earlier aggregation, taken back from table.parquet and curves.parquet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from aggregate.documents.tables import RESULT_COLUMNS, curve_columns, metric_columns
from aggregate.reading.histories import EPOCH, Block
from aggregate.reading.records import Record
from aggregate.reading.unchanged import Cache, intact
from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep
from hpc.sweep.states import CellStatus


def unchanged(store: Store, cache: Cache | None, stamps: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which cells are as they were when the tables were written, shape (cells,)."""
    if cache is None or cache.stamps.shape != stamps.shape:
        return np.zeros(len(stamps), dtype=bool)
    if not intact(store, cache, [store.paths.table_file, store.paths.curves_file]):
        return np.zeros(len(stamps), dtype=bool)
    return np.asarray(cache.whole & (cache.stamps == stamps).all(axis=1))


def recall_records(
    store: Store, sweep: Sweep, cells: Sequence[Cell], metrics: Sequence[str], kept: NDArray[np.bool_]
) -> Mapping[int, Record]:
    """The records of the cells that are kept, by position."""
    names = metric_columns(sweep, metrics)
    positions = np.flatnonzero(kept)
    columns = ["state", "attempts", *RESULT_COLUMNS, *names.values()]
    table = pa.parquet.read_table(store.paths.table_file, columns=columns).take(pa.array(positions))
    plain = {name: table[name].to_pylist() for name in columns}
    values = zip(*(plain[column] for column in names.values()), strict=True) if names else ([()] * len(positions))
    rows = zip(
        positions.tolist(),
        plain["state"],
        plain["attempts"],
        *(plain[key] for key in RESULT_COLUMNS),
        values,
        strict=True,
    )
    return {row[0]: _record(cells[row[0]], list(names), row) for row in rows}


def _record(cell: Cell, metrics: list[str], row: tuple[Any, ...]) -> Record:
    _, state, attempts, *columns, values = row
    result = dict(zip(RESULT_COLUMNS, columns, strict=True))
    result |= {"status": state, "metrics": dict(zip(metrics, values, strict=True))}
    epochs = int(result["epochs"])
    return Record(CellStatus(cell, state, attempts, epochs, epochs), result)


def recall_histories(store: Store, sweep: Sweep, names: Sequence[str], kept: NDArray[np.bool_]) -> list[Block]:
    """The histories of the cells that are kept, as one block."""
    file = pa.parquet.ParquetFile(store.paths.curves_file)
    columns = curve_columns(sweep, file.schema_arrow.names)
    table = file.read(columns=["cell", EPOCH, *columns.values()])
    cells = table["cell"].combine_chunks().dictionary_encode()
    position = {name: i for i, name in enumerate(names)}
    places = np.array([position[name] for name in cells.dictionary.to_pylist()], dtype=np.int64)
    owner = places[cells.indices.to_numpy()] if len(places) else np.empty(0, dtype=np.int64)
    rows = kept[owner]
    values = [table[column].to_numpy().astype(np.float64, copy=False)[rows] for column in (EPOCH, *columns.values())]
    return [Block(owner[rows], [EPOCH, *columns], values)]
