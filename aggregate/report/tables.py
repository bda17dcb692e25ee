"""The tables of the report as rows of text: comparisons, completeness, primary metrics and statistics by condition."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aggregate.analysis.comparisons import Comparison
from aggregate.analysis.last_epochs import LastEpochs
from aggregate.analysis.missingness import Missingness
from aggregate.analysis.reliability import Flag, mixed
from aggregate.analysis.study import Evidence
from aggregate.analysis.summary import DELTA_LOGIT, LOG_T, MetricSummary, Summary, T
from aggregate.arrays import Floats
from aggregate.wording import p_text, short, value_text, with_direction, with_interval
from hpc.sweep.states import COMPLETED, STATES

MOST_ROWS = 200
MIXED, _MOST_MIXED = "†", 4
_METHODS = {
    T: "Student's t",
    DELTA_LOGIT: "delta-logit t (Student's t carried to the logit, so that it stays between 0 and 1)",
    LOG_T: "t of logarithms",
}


@dataclass(frozen=True)
class Table:
    """head: shape (columns,). rows: shape (rows, columns). words: leading columns of words; the others hold numbers."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 0


def rows_shown(summary: Summary) -> str:
    """What to say of a table that does not show every condition."""
    if len(summary.conditions) <= MOST_ROWS:
        return ""
    shown = f"The first {MOST_ROWS} of {len(summary.conditions):,} conditions"
    return f"{shown}; every condition is in aggregated_results.json, every cell in table.parquet."


def comparison(summary: Summary, found: Comparison) -> Table:
    """Every condition against the reference."""
    difference = "difference and interval" + (" (%)" if found.log else "")
    head = [*_factors(summary), difference, "n", "d_z", "improvement", "p", "p after Benjamini-Hochberg"]
    head += [] if found.margin is None else ["p equivalence"]
    shown = [i for i in _first(summary) if found.test.n[i] or not found.metric.scaled_by]
    shown = [i for i in shown if i != found.reference]
    return Table(head, [_levels(summary, i) + _compared(found, i) for i in shown])


def _compared(found: Comparison, i: int) -> list[str]:
    test = found.test
    difference = np.array([test.mean[i], test.low[i], test.high[i]])
    if found.log:  # of logarithms: the change in percent
        difference = 100 * np.expm1(np.minimum(difference, 700.0))
    row = [with_interval(*difference.tolist()), str(test.n[i]), "-" if np.isnan(found.dz[i]) else f"{found.dz[i]:.2f}"]
    chance = _probability(found.improvement[i], found.improvement_low[i], found.improvement_high[i])
    row += [chance, p_text(test.p[i]), p_text(found.adjusted[i])]
    return row if found.margin is None else [*row, p_text(found.equivalence[i])]


def _probability(mean: float, low: float, high: float) -> str:
    """Of a few pairs of runs: more than two decimals would be made up."""
    return "-" if math.isnan(mean) else f"{mean:.2f}" + ("" if math.isnan(low) else f" [{low:.2f}, {high:.2f}]")


def pairings(evidence: Evidence) -> Table:
    """What pairing by seed was worth, by metric."""
    rows = [
        [p.metric.label, short(p.correlation), short(p.by_chance), str(p.seeds), short(p.ratio)]
        for p in evidence.pairings
    ]
    return Table(["metric", "mean correlation", "its SD if unrelated", "seeds", "relative width"], rows, words=1)


def methods(entries: Sequence[MetricSummary]) -> str:
    """Which interval each metric has, in words."""
    return ", ".join(dict.fromkeys(f"{_METHODS[entry.method]} for {entry.metric.label}" for entry in entries))


def headline(summary: Summary, ends: LastEpochs, found: Sequence[Flag]) -> Table:
    """The primary metrics of every condition, each beside its mean over the last epochs where there is one. found:
    flags, which mark the conditions whose mean describes no seed."""
    marked = set(mixed(summary, found))
    head, shown = _factors(summary), list[MetricSummary]()
    for entry in summary.primary_metrics():
        head += [with_direction(entry.metric), *(["runs at chance"] if entry.at_chance.any() else [])]
        shown.append(entry)
        if (last := ends.beside(entry.metric)) is not None:
            head.append(f"{last.metric.label}, {ends.span}")
            shown.append(last)
    return Table([*head, "completed"], [_headline(summary, shown, i, i in marked) for i in _first(summary)])


def mixed_line(summary: Summary, found: Sequence[Flag]) -> str:
    """What the mark in that table means, and the seeds that it stands for; empty where nothing is marked."""
    conditions = mixed(summary, found)
    if not conditions:
        return ""
    entries = summary.primary_metrics()
    told = []
    for i in conditions[:_MOST_MIXED]:
        own = [f"{entry.metric.label} {_sorted(entry.values[i])}" for entry in entries if entry.description.n[i]]
        told.append(f"{summary.place(i)}: {'; '.join(own)}")
    more = f" And {len(conditions) - _MOST_MIXED} more conditions." if len(conditions) > _MOST_MIXED else ""
    return (
        f"{MIXED}: in some metric, the seeds of the condition lie in two groups, or some are at chance and others not. "
        "A mean of them describes neither, and its interval may reach beyond every seed. Seeds: "
        f"{'. '.join(told)}.{more}"
    )


def _sorted(values: Floats) -> str:
    return ", ".join(f"{value:.3g}" for value in np.sort(values[np.isfinite(values)]))


def _headline(summary: Summary, shown: Sequence[MetricSummary], i: int, mixed: bool) -> list[str]:
    cells: list[str] = []
    for entry in shown:
        told = with_interval(entry.centre[i], entry.suited[0][i], entry.suited[1][i], digits=2)
        cells.append(f"{told} {MIXED}" if mixed and entry.description.n[i] else told)
        if entry.at_chance.any():
            cells.append(f"{entry.at_chance[i].sum()} of {entry.description.n[i]}")
    return [*_levels(summary, i), *cells, f"{summary.completed[i]} of {len(summary.seeds)}"]


def metrics(summary: Summary, value_of: Mapping[str, str]) -> Table:
    """What every metric on the page is. value_of: which epoch its value is of, by name."""
    rows = [
        [
            entry.metric.label,
            entry.metric.name,
            value_of[entry.metric.name],
            entry.metric.better or "-",
            "-" if entry.metric.chance is None else short(entry.metric.chance),
            entry.metric.about or "the trainer declares no more",
        ]
        for entry in summary.metrics
    ]
    head = ["metric", "name in the files", "value of", "better", "guessing gives", "what it is"]
    return Table(head, rows, words=len(head))


def statistics(summary: Summary, entry: MetricSummary) -> Table:
    """All statistics of one metric."""
    d = entry.description
    intervals = {T: entry.t, entry.method: entry.suited}  # one and the same where plain t suits
    # Without any spread, the t interval of the files has no width: on a page it would be read as one that covers.
    ends = [np.where(d.zero_spread, np.nan, end) for interval in intervals.values() for end in interval]
    geometric = [entry.centre] if entry.log else []  # what the second interval is of
    columns = [d.mean, *geometric, d.std, d.sem, *ends, d.minimum, d.median, d.maximum, *entry.median]
    head = [*_factors(summary), "n", "mean", *(["geometric mean"] if entry.log else []), "std", "sem"]
    head += [f"{method} {side}" for method in intervals for side in ("low", "high")]
    head += ["min", "median", "max", "median low", "median high"]
    rows = [[*_levels(summary, i), str(d.n[i]), *(short(column[i]) for column in columns)] for i in _first(summary)]
    return Table(head, rows)


def any_failed(summary: Summary) -> bool:
    return bool((summary.ended > summary.completed).any())


def failures(evidence: Evidence) -> Table:
    """Failed of finished cells by level of every factor, and whether they depend on it."""
    rows = [[m.factor.label, p_text(m.p), *_failed(m)] for m in evidence.missingness]
    return Table(["factor", "p (uncorrected)", "test", "failed"], rows, words=1)


def _failed(found: Missingness) -> tuple[str, str]:
    """(the test, failed of finished cells by level), where the levels can be compared."""
    if not found.compared:
        return "not compared", "no combination of the other factors has every level"
    levels = zip(found.factor.values, found.failed.tolist(), found.ended.tolist(), strict=True)
    told = ", ".join(f"{value_text(value)}: {failed} of {ended}" for value, failed, ended in levels)
    some = f", in the {found.compared:,} of {found.combinations:,} combinations of the other factors with every level"
    return found.method, told + some * (found.compared < found.combinations)


def completeness(summary: Summary) -> Table:
    """Cells of every condition by state, how many of the completed ones were stopped early, and the exact interval of
    the completion rate."""
    states = [state for state in STATES if state == COMPLETED or (summary.states == state).any()]
    counts = [summary.count(state) for state in states]
    if summary.early is not None:
        states, counts = [*states, "stopped early"], [*counts, summary.early.sum(axis=1)]
    low, high = summary.completion
    # Incomplete conditions are what a reader looks for.
    order = np.argsort(summary.completed, kind="stable")[:MOST_ROWS].tolist()
    rows = [
        [
            *_levels(summary, i),
            *(str(count[i]) for count in counts),
            _rate(summary.completed[i], summary.ended[i], low[i], high[i]),
        ]
        for i in order
    ]
    return Table([*_factors(summary), *(state.lower() for state in states), "completion rate"], rows)


def _rate(completed: int, ended: int, low: float, high: float) -> str:
    return f"{completed / ended:.2f} [{low:.2f}, {high:.2f}]" if ended else "-"


def _factors(summary: Summary) -> list[str]:
    return [factor.label for factor in summary.factors]


def _levels(summary: Summary, condition: int) -> list[str]:
    return [value_text(value) for _, value in summary.points[condition]]


def _first(summary: Summary) -> range:
    """The conditions that a table shows."""
    return range(min(len(summary.conditions), MOST_ROWS))
