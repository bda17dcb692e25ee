"""A sweep as pandas tables, for notebooks: `from aggregate.frames import load`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from aggregate.documents import aggregated_results
from aggregate.predecessor import read_any
from aggregate.study import Study, study
from aggregate.tables import cell_table, curve_table

_NOT_FACTORS = ("n_runs", "completeness", "aggregated_metrics", "individual_results")


@dataclass(frozen=True)
class Frames:
    """A sweep at one moment, tidy.

    cells: one row for every planned cell, with its state; metrics are NaN where it has none.
    curves: one row for every epoch of every cell that ended.
    conditions: one row for every metric of every condition: n, mean, std, ci_lower, ci_upper, ...
    """

    cells: pd.DataFrame
    curves: pd.DataFrame
    conditions: pd.DataFrame


def load(directory: str | Path) -> Frames:
    """Read a sweep directory as it is now, finished or not; nothing is written and Slurm is not asked.

    Raises hpc.errors.SweepError if there is no sweep, OSError naming the path if it cannot be read.
    """
    found = study(read_any(Path(directory).absolute()))
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
