"""table.parquet and curves.parquet: one row for every planned cell, one row for every epoch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from aggregate.arrays import Integers
from aggregate.documents.stamp import AGGREGATION
from aggregate.reading.declared import metrics_of
from aggregate.reading.histories import EPOCH, Histories
from aggregate.reading.records import Gathered

_PREFIX = "metric."
_RESULT_COLUMNS = {
    "best_epoch": pa.int64(),
    "epochs": pa.int64(),
    "config_digest": pa.string(),
    "outcome_digest": pa.string(),
}


def cell_table(gathered: Gathered, metrics: Sequence[str]) -> pa.Table:
    """One row for every planned cell, whatever became of it. metrics: names of those that get a column."""
    records = gathered.records
    results = [record.result or {} for record in records]
    columns: dict[str, Any] = {
        **_cell_columns(gathered),
        "state": [record.state for record in records],
        "attempts": pa.array([record.status.attempts for record in records], pa.int64()),
        "cause": [record.status.cause for record in records],
        **{key: pa.array([result.get(key) for result in results], kind) for key, kind in _RESULT_COLUMNS.items()},
    }
    # Only where there is such a cell: the table of any other sweep stays as it is.
    if any(parts := [record.trained_by for record in records]):
        columns["trained_by"] = pa.array([json.dumps(part) if part else None for part in parts], pa.string())
    if any(redone := [len(record.redone) for record in records]):
        columns["redone"] = pa.array(redone, pa.int64())
    if gathered.sweep.stop_rule is not None:
        early = [None if record.result is None else record.stopped_early for record in records]
        columns["stopped_early"] = pa.array(early, pa.bool_())
    measured = [result.get("metrics", {}) for result in results]
    for name in metrics:
        values = [entry.get(name) for entry in measured]
        columns[_free(name, columns)] = pa.array([None if v is None else float(v) for v in values], pa.float64())
    return pa.table(columns)


def curve_table(gathered: Gathered, histories: Histories) -> pa.Table:
    """One row for every epoch of every cell that ended. Words are kept once and referred to."""
    cells = {**_cell_columns(gathered), "state": [record.state for record in gathered.records]}
    columns = {name: _repeated(values, histories.position) for name, values in cells.items()}
    columns[EPOCH] = pa.array(histories.epoch)
    for metric in metrics_of(gathered.sweep, histories.columns):
        columns[_free(metric.name, columns)] = pa.array(histories.columns[metric.name], from_pandas=True)
    return pa.table(columns)


def parquet(table: pa.Table, stamp: str) -> bytes:
    """A table as the bytes of a Parquet file, with the stamp of the aggregation in its metadata.

    Measurements hardly repeat: a dictionary of them doubles the time, and bytes of one place side by side take a fifth
    less room.
    """
    measured = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    others = [name for name in table.column_names if name not in measured]
    sink = pa.BufferOutputStream()
    stamped = table.replace_schema_metadata({AGGREGATION: stamp})
    pa.parquet.write_table(
        stamped, sink, compression="zstd", use_dictionary=others, use_byte_stream_split=measured or False
    )
    return bytes(sink.getvalue())


def _cell_columns(gathered: Gathered) -> dict[str, Any]:
    sweep, cells = gathered.sweep, [record.cell for record in gathered.records]
    factors = {
        sweep.trainer.field_of(axis.name): _factor_column(cell.point[i][1] for cell in cells)
        for i, axis in enumerate(sweep.grid.axes)
    }
    return {
        "cell": pa.array(gathered.names),
        "condition": pa.array([name.rpartition("_run_")[0] for name in gathered.names]),
        **factors,
        "run_id": pa.array([cell.run_id for cell in cells], pa.int64()),
        "seed": pa.array([cell.seed for cell in cells], pa.int64()),
    }


def _repeated(values: Any, position: Integers) -> pa.Array:
    """The values of cells at every epoch."""
    array = values if isinstance(values, pa.Array) else pa.array(values)
    if not pa.types.is_string(array.type):
        return array.take(pa.array(position))
    words = array.dictionary_encode()
    return pa.DictionaryArray.from_arrays(words.indices.take(pa.array(position)), words.dictionary)


def _factor_column(values: Iterable[Any]) -> pa.Array:
    """Values of one type as they are; a mixture of numbers as floats, of numbers and words as words."""
    found = list(values)
    kinds = {type(value) for value in found}
    if len(kinds) > 1:
        found = [str(value) for value in found] if str in kinds else [float(value) for value in found]
    return pa.array(found)


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """A metric may be called like a column of ours."""
    while name in taken:
        name = f"{_PREFIX}{name}"
    return name
