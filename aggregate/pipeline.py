"""A sweep directory -> tables, statistics, figures and a report, each file written whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aggregate.analysis import Analysis
from aggregate.cache import written_before
from aggregate.documents import aggregated_results, encode, statistics_document
from aggregate.drawing import Drawn, draw
from aggregate.findings import cell_lines, doubts, limited
from aggregate.predecessor import read_any
from aggregate.reading import Reading
from aggregate.report import Material, render
from aggregate.study import Study, study
from aggregate.tables import cell_table, curve_table, parquet
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
            before["complete"], before["counts"], before["problems"], store.report_file, store.plots_directory
        )
    found = study(reading)
    with paused_collector():
        return _publish_all(reading, found, figures)


def _publish_all(reading: Reading, found: Study, figures: bool) -> Outcome:
    store, gathered = reading.store, found.gathered
    stale = set(written_before(store))
    metrics = [entry.metric.name for entry in found.summary.metrics]
    document = encode(aggregated_results(found))
    publish(store.aggregated_file, document)
    publish(store.statistics_file, encode(statistics_document(found)))
    publish(store.table_file, parquet(cell_table(gathered, metrics)))
    publish(store.curves_file, parquet(curve_table(gathered, found.histories)))
    written = [store.aggregated_file, store.statistics_file, store.table_file, store.curves_file, store.report_file]
    drawn = draw(store.plots_directory, found, document) if figures else Drawn()
    written += drawn.files
    cells, remarks = cell_lines(gathered), [*doubts(found), *drawn.faults]
    lines = limited(cells, _MOST_LINES), limited(remarks, _MOST_LINES)
    publish(store.report_file, render(Material(found, *lines, drawn.pictures, store.certificates())))
    if figures:
        for path in stale.difference(written):
            remove(path)
    problems = limited([*cells, *remarks], _MOST_LINES)
    told = {"complete": gathered.complete, "counts": gathered.counts, "problems": problems}
    reading.remember(gathered, found.histories, metrics, written, told | {"options": {"figures": figures}})
    return Outcome(gathered.complete, gathered.counts, problems, store.report_file, store.plots_directory)
