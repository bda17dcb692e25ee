"""table.parquet and curves.parquet: one row for every planned cell, one row for every epoch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from aggregate.declaration import metrics_of
from aggregate.gather import Gathered
from aggregate.histories import EPOCH, Histories
from aggregate.statistics import Integers
from hpc.sweep.definition import Sweep

_PREFIX = "metric."
RESULT_COLUMNS = {
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
        **{key: pa.array([result.get(key) for result in results], kind) for key, kind in RESULT_COLUMNS.items()},
    }
    measured = [result.get("metrics", {}) for result in results]
    for name, column in metric_columns(gathered.sweep, metrics).items():
        values = [entry.get(name) for entry in measured]
        columns[column] = pa.array([None if v is None else float(v) for v in values], pa.float64())
    return pa.table(columns)


def curve_table(gathered: Gathered, histories: Histories) -> pa.Table:
    """One row for every epoch of every cell that ended. Words are kept once and referred to."""
    cells = {**_cell_columns(gathered), "state": [record.state for record in gathered.records]}
    columns = {name: _repeated(values, histories.position) for name, values in cells.items()}
    columns[EPOCH] = pa.array(histories.epoch)
    for metric in metrics_of(gathered.sweep, histories.columns):
        columns[_free(metric.name, columns)] = pa.array(histories.columns[metric.name], from_pandas=True)
    return pa.table(columns)


def metric_columns(sweep: Sweep, metrics: Sequence[str]) -> dict[str, str]:
    """The column of each metric in the table of cells."""
    taken = dict.fromkeys([*_cell_names(sweep), "state", "attempts", "cause", *RESULT_COLUMNS])
    found = {}
    for name in metrics:
        found[name] = _free(name, taken)
        taken[found[name]] = None
    return found


def curve_columns(sweep: Sweep, names: Sequence[str]) -> dict[str, str]:
    """The column of each metric in a table of curves. names: all columns of that table."""
    own = {*_cell_names(sweep), "state", EPOCH}
    found: dict[str, str] = {}
    for column in names:
        if column not in own:
            name = column
            while name.startswith(_PREFIX) and name.removeprefix(_PREFIX) in own | set(found.values()):
                name = name.removeprefix(_PREFIX)
            found[name] = column
    return found


def parquet(table: pa.Table) -> bytes:
    """A table as the bytes of a Parquet file.

    Measurements hardly repeat: a dictionary of them doubles the time, and bytes of one place side by side take a fifth
    less room.
    """
    measured = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    others = [name for name in table.column_names if name not in measured]
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(
        table, sink, compression="zstd", use_dictionary=others, use_byte_stream_split=measured or False
    )
    return bytes(sink.getvalue())


def _cell_names(sweep: Sweep) -> list[str]:
    return ["cell", "condition", *(sweep.trainer.field_of(axis.name) for axis in sweep.grid.axes), "run_id", "seed"]


def _cell_columns(gathered: Gathered) -> dict[str, Any]:
    sweep, cells = gathered.sweep, [record.cell for record in gathered.records]
    factors = [_factor_column(cell.point[i][1] for cell in cells) for i in range(len(sweep.grid.axes))]
    columns = [
        pa.array(gathered.names),
        pa.array([name.rpartition("_run_")[0] for name in gathered.names]),
        *factors,
        pa.array([cell.run_id for cell in cells], pa.int64()),
        pa.array([cell.seed for cell in cells], pa.int64()),
    ]
    return dict(zip(_cell_names(sweep), columns, strict=True))


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
