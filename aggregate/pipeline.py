"""A sweep directory -> tables, statistics, figures and a report, each file written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aggregate.documents import aggregated_results, encode, statistics_document
from aggregate.findings import cell_lines, doubts, limited
from aggregate.reading import Reading, paused_collector, read
from aggregate.report import Material, Picture, render
from aggregate.study import Study, study
from aggregate.tables import cell_table, curve_table, parquet
from hpc.files import make_directory, publish
from hpc.store import Store

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

    Cells that have not changed since the last time are not read again, and if nothing has, nothing is written.
    figures: whether to draw; tables, statistics and report are written anyway.
    Raises hpc.store.SweepError if ``root`` holds no sweep, OSError naming the path if it cannot be read or written.
    """
    store = Store(root)
    reading = read(store)
    before = reading.told_before(figures=figures)
    if before is not None:
        return Outcome(before["complete"], before["counts"], before["problems"], store.report_file)
    found = study(reading)
    with paused_collector():
        return _publish_all(store, reading, found, figures)


def _publish_all(store: Store, reading: Reading, found: Study, figures: bool) -> Outcome:
    metrics = [entry.metric.name for entry in found.summary.metrics]
    publish(store.aggregated_file, encode(aggregated_results(found)))
    publish(store.statistics_file, encode(statistics_document(found)))
    publish(store.table_file, parquet(cell_table(found.gathered, metrics)))
    publish(store.curves_file, parquet(curve_table(found.gathered, found.histories)))
    pictures = list(_pictures(store, found)) if figures else []
    cells, remarks = cell_lines(found.gathered), doubts(found)
    lines = limited(cells, _MOST_LINES), limited(remarks, _MOST_LINES)
    publish(store.report_file, render(Material(found, *lines, pictures, store.certificates())))
    problems = limited([*cells, *remarks], _MOST_LINES)
    written = [store.aggregated_file, store.statistics_file, store.table_file, store.curves_file, store.report_file]
    written += [store.plots_directory / f"{picture.name}.png" for picture in pictures]
    complete, counts = found.gathered.complete, found.gathered.counts
    told = {"complete": complete, "counts": counts, "problems": problems, "options": {"figures": figures}}
    reading.remember(found.gathered, found.histories, metrics, written, told)
    return Outcome(complete, counts, problems, store.report_file)


def _pictures(store: Store, found: Study) -> Iterator[Picture]:
    """Draw, encode and write every figure."""
    # Imported here: matplotlib takes longer to load than a small sweep to aggregate.
    from aggregate.canvas import encoded, house_style
    from aggregate.plots import plots

    with house_style():
        for plot in plots(found.summary, found.curves()):
            png = encoded(plot.figure)
            path = store.plots_directory / f"{plot.name}.png"
            make_directory(path.parent)
            publish(path, png)
            yield Picture(plot.name, plot.metric, plot.caption, png)
