"""table.parquet and curves.parquet: one row for every planned cell, one row for every epoch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from aggregate.gather import Gathered, Record
from aggregate.histories import EPOCH, Histories
from aggregate.summary import Summary

_COLUMNS = {"best_epoch": pa.int64(), "epochs": pa.int64(), "config_digest": pa.string(), "outcome_digest": pa.string()}


def cell_table(gathered: Gathered, summary: Summary) -> pa.Table:
    """One row for every planned cell, whatever became of it."""
    records = gathered.records
    results = [record.result or {} for record in records]
    columns: dict[str, Any] = {
        **_cell_columns(summary, records),
        "state": [record.state for record in records],
        "attempts": pa.array([record.status.attempts for record in records], pa.int64()),
        "cause": [record.status.cause for record in records],
        **{key: pa.array([result.get(key) for result in results], kind) for key, kind in _COLUMNS.items()},
    }
    for name in (entry.metric.name for entry in summary.metrics):
        values = [result.get("metrics", {}).get(name) for result in results]
        columns[_free(name, columns)] = pa.array([None if v is None else float(v) for v in values], pa.float64())
    return pa.table(columns)


def curve_table(gathered: Gathered, summary: Summary, histories: Histories) -> pa.Table:
    """One row for every epoch of every cell that ended."""
    cells = pa.table({**_cell_columns(summary, gathered.records), "state": [r.state for r in gathered.records]})
    rows = cells.take(pa.array(histories.position))
    columns = dict(zip(rows.column_names, rows.columns, strict=True)) | {EPOCH: histories.epoch}
    for name, values in histories.columns.items():
        columns[_free(name, columns)] = pa.array(values, from_pandas=True)
    return pa.table(columns)


def parquet(table: pa.Table) -> bytes:
    """A table as the bytes of a Parquet file."""
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())


def _cell_columns(summary: Summary, records: Sequence[Record]) -> dict[str, Any]:
    cells = [record.cell for record in records]
    seeds = len(summary.seeds)
    return {
        "cell": [cell.name for cell in cells],
        "condition": [name for name in summary.conditions for _ in range(seeds)],
        **{
            factor.field: _factor_column(cell.point[i][1] for cell in cells) for i, factor in enumerate(summary.factors)
        },
        "run_id": pa.array([cell.run_id for cell in cells], pa.int64()),
        "seed": pa.array([cell.seed for cell in cells], pa.int64()),
    }


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
        name = f"metric.{name}"
    return name
