"""A sweep as pandas tables, for notebooks: ``from holdfast import load``, or ``from aggregate.frames import load``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pandas as pd

from aggregate.analysis.study import Study, study
from aggregate.documents.aggregated_results import aggregated_results
from aggregate.documents.tables import cell_table, curve_table
from aggregate.reading.predecessor import read_any
from hpc.files import opening

# Above aggregation, which knows nothing of Slurm.
_ELSEWHERE = ("submit", "status", "wait")
_NOT_FACTORS = ("n_runs", "completeness", "aggregated_metrics", "individual_results")


@dataclass(frozen=True)
class Frames:
    """A sweep at one moment, as three tidy tables.

    cells: one row per planned cell: ``cell``, ``condition``, the factors, ``run_id``, ``seed``, ``state``,
        ``attempts``, ``cause`` and one column per metric. Cells without a result have rows too; their metrics are NaN.
    curves: one row per epoch of every cell with a result: the same first columns, ``epoch`` (from 1) and one column per
        metric of history.csv.
    conditions: one row per condition and metric: the factors, ``n_runs`` (COMPLETED cells), ``metric``, and ``n``,
        ``mean``, ``std``, ``sem``, ``ci_lower``, ``ci_upper`` (t interval), ``min``, ``max``, ``median``, ``centre``,
        ``centre_lower``, ``centre_upper`` (the report's, which suits the metric) as in aggregated_results.json.

    Metrics keep the units in which the trainer reported them.
    """

    cells: pd.DataFrame
    curves: pd.DataFrame
    conditions: pd.DataFrame


def load(directory: str | os.PathLike[str]) -> Frames:
    """Read a sweep directory as it is now, finished or not.

    The numbers come from the results of the cells, never from the tables that an aggregation left: they cannot be out
    of date. Nothing is written, and Slurm is not asked. Directories of the previous tool can be read too.

    >>> from aggregate.frames import load
    >>> sweep = load("out")
    >>> done = sweep.cells.query("state == 'COMPLETED'")
    >>> done.groupby("workspace_dim")["best_val_loss"].agg(["count", "mean"])
    >>> sweep.conditions.query("metric == 'best_val_loss'")[["workspace_dim", "centre", "centre_lower", "centre_upper"]]
    >>> sweep.curves.pivot_table(index="epoch", columns="condition", values="val_loss")

    directory: of the sweep, as given by ``--output-dir``, or what ``holdfast.submit`` returned.
    Raises hpc.errors.SweepError if it holds no sweep, OSError naming the path if it cannot be read.
    """
    with opening.for_one_call():
        return _frames(Path(directory).absolute())


def _frames(directory: Path) -> Frames:
    found = study(read_any(directory))
    metrics = [entry.metric.name for entry in found.summary.metrics]
    cells = cell_table(found.gathered, metrics).to_pandas()
    return Frames(cells, curve_table(found.gathered, found.histories).to_pandas(), _conditions(found))


def _conditions(found: Study) -> pd.DataFrame:
    rows = []
    for name, entry in aggregated_results(found).items():
        factors = {key: value for key, value in entry.items() if key not in _NOT_FACTORS}
        for metric, numbers in entry["aggregated_metrics"].items():
            rows.append({"condition": name, **factors, "n_runs": entry["n_runs"], "metric": metric, **numbers})
    return pd.DataFrame(rows)


def __getattr__(name: str) -> NoReturn:
    if name in _ELSEWHERE:
        raise ImportError(f"{name} is beside load in holdfast: from holdfast import load, {', '.join(_ELSEWHERE)}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
