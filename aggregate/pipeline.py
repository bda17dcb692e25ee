"""A sweep directory -> tables, statistics, figures and a report, published together."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aggregate.analysis.fixed_analysis import Analysis
from aggregate.analysis.study import Study, study
from aggregate.answers.caveats import limited
from aggregate.documents.aggregated_results import aggregated_results, encode
from aggregate.documents.paper_tables import kept_up, paper_tables, reworded
from aggregate.documents.stamp import stamp_of, stamped
from aggregate.documents.statistics import statistics_document
from aggregate.documents.tables import cell_table, curve_table, parquet
from aggregate.figures.encoded import Drawn, draw, superseded
from aggregate.figures.own.stamps import outdated
from aggregate.reading.predecessor import is_predecessor, read_any
from aggregate.reading.sweep import Reading
from aggregate.reading.unchanged import DirectoryState, Told, look, remember, told_before
from aggregate.report.findings import problems
from aggregate.report.page import Material, render
from aggregate.together import Stamp, Together
from hpc.errors import ConfigError, one_line, unknown_key
from hpc.files.atomic import remove
from hpc.files.directories import make_directory, settled_before
from hpc.storage.permissions import untrusted
from hpc.storage.results import paused_collector
from hpc.storage.store import Store

_MOST_LINES = 40
_TRIES = 5


@dataclass(frozen=True)
class Aggregated(Told):
    """What became of an aggregation. report, plots: path of report.html and of the directory of figures."""

    report: Path
    plots: Path


@dataclass(frozen=True)
class Asked:
    """targets: functions of users that are to draw. remark: of those that are not run, and why; empty if all are.
    named: those among the targets that nobody but sweep.json names.
    presentation: formats and labels of this aggregation alone, as in the analysis section. tables: kinds of them.
    column: width of figures, points; None for a screen's."""

    targets: tuple[str, ...] = ()
    remark: str = ""
    named: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    column: float | None = None
    presentation: Mapping[str, Any] = field(default_factory=dict)


def aggregate(
    root: Path,
    *,
    figures: bool = True,
    own: Sequence[str] = (),
    trust: bool = False,
    formats: Sequence[str] = (),
    labels: Mapping[str, str] | None = None,
    tables: Sequence[str] = (),
    column: float | None = None,
) -> Aggregated:
    """Aggregate a sweep directory, complete or not, and write everything that is made of its results.

    If nothing has changed since the last time, nothing is written. Any number of processes may do this at once: the
    files that are left are those of one of them, and what that one returns is what they say. A directory of the
    predecessor's is read too; what is made of it goes to a directory inside.
    figures: whether to draw; tables, statistics and report are written anyway. own: functions that draw figures of the
    caller's, as in analysis.figures. trust: also run those that sweep.json names where that is another user's.
    formats, labels: for this aggregation, in place of those of the analysis section: of figures, among png, pdf and
    svg; and of metrics and factors, by name. tables: for papers, in ``tables/``, among csv, latex and markdown.
    column: width of the figures in ``plots/``, points, with text of the size that it has in print; None for a screen.
    Raises hpc.errors.ConfigError for a label of what the sweep does not have, SweepError if ``root`` holds no sweep,
    OSError naming the path if it cannot be read or written, or if other processes keep replacing what this one writes.
    """
    store = Store(root)
    presentation = {**({"formats": list(formats)} if formats else {}), **({"labels": labels} if labels else {})}
    tables = kept_up(store.paths.tables_directory, tables)
    for _ in range(_TRIES):
        options = {"figures": figures, "tables": tables, "column": column, **presentation}
        seen = None if is_predecessor(root) else look(store, **options)
        asked = _asked(store, seen, own, trust) if figures and seen is not None else Asked(tuple(own))
        asked = replace(asked, presentation=presentation, tables=tables, column=column)
        # A user's figures are always drawn: who knows what they depend on?
        always = asked.targets or asked.remark
        if seen is not None and not always and (told := told_before(seen)) is not None:
            return _outcome(store, told)
        if (outcome := _aggregate(root, seen, figures, asked)) is not None:
            return outcome
    reason = "replaced again and again by other aggregations while this one wrote it; wait for them and run it again"
    raise OSError(errno.EBUSY, reason, str(store.paths.report_file))


def _asked(store: Store, seen: DirectoryState, own: Sequence[str], trust: bool) -> Asked:
    """Whose functions draw. What a directory names is run if it is the user's own, or trusted; else it is reported."""
    named = Analysis.of(seen.sweep.analysis).figures
    if not named:
        return Asked(tuple(own))
    if trust or not (why := untrusted(store, named)):
        return Asked((*named, *own), named=named)
    return Asked(
        tuple(own), f"{why}; not drawn: {', '.join(named)}; --figure names one of your own, --trust runs these"
    )


def _aggregate(root: Path, seen: DirectoryState | None, figures: bool, asked: Asked) -> Aggregated | None:
    """Read, compute and publish. None if another process published at the same time, so that the files may be a
    mixture: then what it read may be newer, and all is done again. Also if the sweep was changed since the look."""
    settled = settled_before(root)  # what is younger may change under its time stamps while it is read, and after
    reading = read_any(root)
    if seen is not None and reading.manifest != seen.manifest:
        return None
    reading = _shown_as(reading, asked.presentation)
    with paused_collector():
        told, made = _make(reading, study(reading), figures, asked)
        stamps = _publish(reading.store, made, figures)
    if stamps is None:
        return None
    if seen is not None:
        remember(seen, reading, stamps, told, settled)
    return _outcome(reading.store, told)


def _shown_as(reading: Reading, presentation: Mapping[str, Any]) -> Reading:
    """The same results under these formats and labels. Raises ConfigError for a label of nothing in the sweep."""
    sweep = reading.sweep
    known = [*sweep.trainer.metrics, *(axis.name for axis in sweep.grid.axes)]
    faults = [
        unknown_key(f"--label {name}", name, known) for name in presentation.get("labels", ()) if name not in known
    ]
    if faults:
        raise ConfigError([f"command line: {fault}" for fault in faults])
    return replace(reading, gathered=replace(reading.gathered, sweep=sweep.shown_as(presentation)))


def _make(reading: Reading, found: Study, figures: bool, asked: Asked) -> tuple[Told, dict[Path, bytes]]:
    """What is to be reported, and the content of every file."""
    store, gathered = reading.store, found.gathered
    document, statistics = encode(aggregated_results(found)), statistics_document(found)
    stamp = stamp_of(document, encode(statistics), found.histories)
    drawn = draw(found, document, stamp, asked.targets, asked.column) if figures else Drawn()
    remarks = [*drawn.faults, *filter(None, [asked.remark])]
    told = [*problems(found), *remarks, *filter(None, [drawn.remark])]
    if asked.named:
        names = ", ".join(asked.named)
        told.append(f"{store.paths.sweep_file} names code of users, which was run to draw figures: {names}")
    plots = store.paths.plots_directory
    if figures and (old := outdated(plots, [plots / name for name in drawn.files], stamp)):
        names = ", ".join(path.relative_to(plots).as_posix() for path in old)
        verb = "is" if len(old) == 1 else "are"
        told.append(f"{plots}: {names} {verb} of an earlier aggregation; --figure draws again, analysis.figures always")
    metrics = [entry.metric.name for entry in found.summary.metrics]
    tables = paper_tables(found, asked.tables, stamp)
    if not asked.presentation.get("labels") and (other := reworded(store.paths.tables_directory, tables)):
        told.append(
            f"{store.paths.tables_directory}: the headings of {', '.join(sorted(other))} have changed: --label holds "
            "for one call, labels in the configuration's analysis section last"
        )
    told = [one_line(line) for line in told]  # names of folders may be bytes that are no text
    files = {plots / name: content for name, content in drawn.files.items()} | {
        store.paths.curves_file: parquet(curve_table(gathered, found.histories), stamp),
        store.paths.table_file: parquet(cell_table(gathered, metrics), stamp),
        store.paths.statistics_file: encode(stamped(statistics, document, stamp)),
        store.paths.aggregated_file: document,
        store.paths.report_file: render(Material(found, remarks, drawn.pictures, reading.certificates, stamp)),
        **{store.paths.tables_directory / name: content for name, content in tables.items()},
    }
    return Told(gathered.complete, gathered.counts, limited(told, _MOST_LINES)), files


def _publish(store: Store, made: Mapping[Path, bytes], figures: bool) -> dict[Path, Stamp] | None:
    """Write all files. Returns their stamps if all of them are on disk as they were made."""
    with Together() as together:
        for path, content in made.items():
            make_directory(path.parent)
            together.add(path, content)
        together.publish()
        for path in superseded(store.paths.plots_directory, made) if figures else ():
            remove(path)
        return together.standing()


def _outcome(store: Store, told: Told) -> Aggregated:
    return Aggregated(**vars(told), report=store.paths.report_file, plots=store.paths.plots_directory)
