"""A sweep directory -> tables, statistics, figures and a report, each file written whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aggregate.analysis.fixed import Analysis
from aggregate.analysis.study import Study, study
from aggregate.documents.aggregated_results import aggregated_results, encode
from aggregate.documents.statistics import statistics_document
from aggregate.documents.tables import cell_table, curve_table, parquet
from aggregate.figures.draw import Drawn, draw
from aggregate.reading.predecessor import read_any
from aggregate.reading.sweep import Reading
from aggregate.reading.unchanged import written_before
from aggregate.report.caveats import cell_lines, doubts, limited
from aggregate.report.page import Material, render
from hpc.storage.files import make_directory, publish, remove
from hpc.storage.results import paused_collector

_MOST_LINES = 40


@dataclass(frozen=True)
class Outcome:
    """What became of an aggregation.

    complete: every planned cell is COMPLETED or DIVERGED. counts: cells by state. problems: what a user should be told,
    one line each. report, plots: path of report.html and of the directory of figures.
    """

    complete: bool
    counts: dict[str, int]
    problems: list[str]
    report: Path
    plots: Path


def aggregate(root: Path, *, figures: bool = True) -> Outcome:
    """Aggregate a sweep directory, complete or not, and write everything that is made of its results.

    Cells that have not changed since the last time are not read again, and if nothing has, nothing is written. A
    directory of the predecessor's is read too; what is made of it goes to a directory inside.
    figures: whether to draw; tables, statistics and report are written anyway.
    Raises hpc.errors.SweepError if ``root`` holds no sweep, OSError naming the path if it cannot be read or written.
    """
    reading = read_any(root)
    make_directory(reading.store.root)
    before = reading.told_before(figures=figures)
    if before is not None and not (figures and Analysis.of(reading.sweep.analysis).figures):
        store = reading.store
        return Outcome(
            before["complete"],
            before["counts"],
            before["problems"],
            store.paths.report_file,
            store.paths.plots_directory,
        )
    found = study(reading)
    with paused_collector():
        return _publish_all(reading, found, figures)


def _publish_all(reading: Reading, found: Study, figures: bool) -> Outcome:
    store, gathered = reading.store, found.gathered
    stale = set(written_before(store))
    metrics = [entry.metric.name for entry in found.summary.metrics]
    document = encode(aggregated_results(found))
    publish(store.paths.aggregated_file, document)
    publish(store.paths.statistics_file, encode(statistics_document(found)))
    publish(store.paths.table_file, parquet(cell_table(gathered, metrics)))
    publish(store.paths.curves_file, parquet(curve_table(gathered, found.histories)))
    written = [
        store.paths.aggregated_file,
        store.paths.statistics_file,
        store.paths.table_file,
        store.paths.curves_file,
        store.paths.report_file,
    ]
    drawn = draw(store.paths.plots_directory, found, document) if figures else Drawn()
    written += drawn.files
    cells, remarks = cell_lines(gathered), [*doubts(found), *drawn.faults]
    lines = limited(cells, _MOST_LINES), limited(remarks, _MOST_LINES)
    publish(store.paths.report_file, render(Material(found, *lines, drawn.pictures, store.certificates())))
    if figures:
        for path in stale.difference(written):
            remove(path)
    problems = limited([*cells, *remarks], _MOST_LINES)
    told = {"complete": gathered.complete, "counts": gathered.counts, "problems": problems}
    reading.remember(gathered, found.histories, metrics, written, told | {"options": {"figures": figures}})
    return Outcome(gathered.complete, gathered.counts, problems, store.paths.report_file, store.paths.plots_directory)
