"""A sweep directory -> tables, statistics, figures and a report, each file written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aggregate.analysis import Analysis
from aggregate.curves import Curves, curves
from aggregate.declaration import Metric, metrics_of
from aggregate.documents import aggregated_results, encode, statistics_document
from aggregate.evidence import planned_levels, weigh
from aggregate.findings import cell_lines, doubts, limited
from aggregate.gather import Gathered, gather
from aggregate.histories import Histories, read_histories
from aggregate.report import Material, Picture, render
from aggregate.summary import Summary, summarise
from aggregate.tables import cell_table, curve_table, parquet
from hpc.files import make_directory, publish
from hpc.store import COMPLETED, Store

_MOST_LINES = 40


@dataclass(frozen=True)
class Outcome:
    """What became of an aggregation.

    complete: every planned cell is COMPLETED or DIVERGED. counts: cells by state. problems: what a user should be told,
    one line each. report: path of report.html.
    """

    complete: bool
    counts: dict[str, int]
    problems: list[str]
    report: Path


def aggregate(root: Path, *, figures: bool = True) -> Outcome:
    """Aggregate a sweep directory, complete or not, and write everything that is made of its results.

    figures: whether to draw; tables, statistics and report are written anyway.
    Raises hpc.store.SweepError if ``root`` holds no sweep, OSError naming the path if it cannot be read or written.
    """
    store = Store(root)
    manifest = store.manifest()
    gathered = gather(store, store.sweep())
    summary = summarise(gathered)
    evidence = weigh(summary, Analysis.of(gathered.sweep.analysis), planned_levels(manifest))
    histories = read_histories(store, gathered.records)
    publish(store.aggregated_file, encode(aggregated_results(gathered, summary)))
    publish(store.statistics_file, encode(statistics_document(summary, evidence)))
    publish(store.table_file, parquet(cell_table(gathered, summary)))
    publish(store.curves_file, parquet(curve_table(gathered, summary, histories)))
    pictures = list(_pictures(store, gathered, summary, histories)) if figures else []
    cells, remarks = cell_lines(gathered), doubts(gathered, summary, evidence, histories.faults, manifest)
    lines = limited(cells, _MOST_LINES), limited(remarks, _MOST_LINES)
    publish(store.report_file, render(Material(summary, gathered.counts, *lines, pictures, manifest)))
    return Outcome(gathered.complete, gathered.counts, limited([*cells, *remarks], _MOST_LINES), store.report_file)


def _pictures(store: Store, gathered: Gathered, summary: Summary, histories: Histories) -> Iterator[Picture]:
    """Draw, encode and write every figure."""
    # Imported here: matplotlib takes longer to load than a small sweep to aggregate.
    from aggregate.canvas import encoded, house_style
    from aggregate.plots import plots

    with house_style():
        for plot in plots(summary, _curves(gathered, summary, histories)):
            png = encoded(plot.figure)
            path = store.plots_directory / f"{plot.name}.png"
            make_directory(path.parent)
            publish(path, png)
            yield Picture(plot.name, plot.metric, plot.caption, png)


def _curves(gathered: Gathered, summary: Summary, histories: Histories) -> Iterator[tuple[Metric, Curves]]:
    completed = summary.states == COMPLETED
    for metric in metrics_of(gathered.sweep, histories.columns):
        values = histories.columns[metric.name]
        if np.isfinite(values).any():
            yield metric, curves(histories.position, histories.epoch, values, completed)
