"""The tables of the report as rows of text: claims, comparisons, statistics of every condition, completeness."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aggregate.analysis.claims import NOT_SHOWN, SHOWN, WITHHELD, Claim, InNats, Worst
from aggregate.analysis.comparisons import Comparison
from aggregate.analysis.last_epochs import LastEpochs
from aggregate.analysis.questions import COMPARISON, RETENTION, SLOPE, Question
from aggregate.analysis.study import Evidence
from aggregate.analysis.summary import MetricSummary, Summary, T
from aggregate.report.estimates import numbers, places, plain_size, unit
from aggregate.wording import better_text, counted, listed, p_equals, p_text, percent, short, value_text, with_interval
from hpc.sweep.states import COMPLETED, STATES

MOST_ROWS = 200
_KINDS = {SLOPE: "slope on", COMPARISON: "difference over", RETENTION: "retention over"}
_VERDICTS = {SHOWN: "detected", NOT_SHOWN: "not detected", WITHHELD: "no verdict"}
_IMPRESSIONS = {SHOWN: "stands out", NOT_SHOWN: "does not stand out", WITHHELD: "left open"}  # exploratory


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


def claims(summary: Summary, made: Sequence[Claim], adjusted: str) -> Table:
    """adjusted: how p values were adjusted. Columns that would say nothing of any claim are left out."""
    labels = {factor.name: factor.label for factor in summary.factors}
    head = ["verdict", "contrast", "levels", "averaged over", "unit", "estimate and interval", "interval's level", "p"]
    head += [f"p {adjusted}", "detectable", "seeds"]
    rows = [_claim(claim, labels) for claim in made]
    if any(claim.in_nats for claim in made):
        head.append("in nats")
        for row, claim in zip(rows, made, strict=True):
            row.append(_other(claim, claim.in_nats))
    if any(claim.worst for claim in made):
        head.append("failed as worst")
        for row, claim in zip(rows, made, strict=True):
            row.append(_other(claim, claim.worst))
    return Table(head, rows, words=5)


def _claim(claim: Claim, labels: Mapping[str, str]) -> list[str]:
    asked = claim.question
    verdict = (_VERDICTS if claim.confirmatory else _IMPRESSIONS).get(claim.status, claim.status)
    return [
        f"{verdict}: {claim.reason}" if claim.reason else verdict,
        f"{asked.metric.label}: {_KINDS[asked.kind]} {listed([labels.get(name, name) for name in asked.factors])}",
        ", ".join(map(value_text, asked.levels)),
        _over(asked),
        unit(asked),
        numbers(asked, claim.estimate, claim.low, claim.high),
        percent(round(claim.level, 4)) if claim.level == claim.level else "-",
        p_text(claim.test.p),
        p_text(claim.adjusted),
        plain_size(asked, claim.detectable),
        f"{claim.test.seeds} of {claim.planned}",
    ]


def _other(claim: Claim, other: Worst | InNats | None) -> str:
    """The same test, made otherwise: its estimate and p, which no correction is due to."""
    if other is None:
        return "-"
    cells = f"{counted(other.cells, 'cell')}, " if isinstance(other, Worst) else ""
    return f"{numbers(claim.question, other.estimate, math.nan, math.nan)} ({cells}{p_equals(other.p)})"


def _over(asked: Question) -> str:
    """The combinations of the other factors that count, and those of which nothing is said."""
    used = [part.where for part in asked.parts if not part.why]
    left_out = [part.where for part in asked.parts if part.why]
    told = ([places(used)] if used else []) + ([f"left out: {places(left_out)}"] if left_out else [])
    return "; ".join(told) or "-"


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
    row = [with_interval(*difference.tolist()), str(test.n[i]), short(found.dz[i])]
    chance = with_interval(found.improvement[i], found.improvement_low[i], found.improvement_high[i])
    row += [chance, p_text(test.p[i]), p_text(found.adjusted[i])]
    return row if found.margin is None else [*row, p_text(found.equivalence[i])]


def pairings(evidence: Evidence) -> Table:
    """What pairing by seed was worth, by metric."""
    rows = [[p.metric.label, short(p.correlation), str(p.seeds), short(p.ratio)] for p in evidence.pairings]
    return Table(["metric", "correlation", "seeds", "relative width"], rows, words=1)


def methods(entries: Sequence[MetricSummary]) -> str:
    """Which interval each metric has, in words."""
    return ", ".join(dict.fromkeys(f"{entry.method} for {entry.metric.label}" for entry in entries))


def headline(summary: Summary, ends: LastEpochs) -> Table:
    """The primary metrics of every condition, each beside its mean over the last epochs where there is one."""
    head, shown = _factors(summary), list[MetricSummary]()
    for entry in summary.primary_metrics():
        head += [_with_direction(entry), *(["runs at chance"] if entry.at_chance.any() else [])]
        shown.append(entry)
        if (last := ends.beside(entry.metric)) is not None:
            head.append(f"{last.metric.label}, mean of {ends.span}")
            shown.append(last)
    return Table([*head, "completed"], [_headline(summary, shown, i) for i in _first(summary)])


def _headline(summary: Summary, shown: Sequence[MetricSummary], i: int) -> list[str]:
    cells: list[str] = []
    for entry in shown:
        cells.append(with_interval(entry.centre[i], entry.suited[0][i], entry.suited[1][i]))
        if entry.at_chance.any():
            cells.append(f"{entry.at_chance[i].sum()} of {entry.description.n[i]}")
    return [*_levels(summary, i), *cells, f"{summary.completed[i]} of {len(summary.seeds)}"]


def _with_direction(entry: MetricSummary) -> str:
    direction = better_text(entry.metric)
    return f"{entry.metric.label} ({direction})" if direction else entry.metric.label


def statistics(summary: Summary, entry: MetricSummary) -> Table:
    """All statistics of one metric."""
    d = entry.description
    intervals = {T: entry.t, entry.method: entry.suited}  # one and the same where plain t suits
    ends = [end for interval in intervals.values() for end in interval]
    columns = [d.mean, d.std, d.sem, *ends, d.minimum, d.median, d.maximum, *entry.median]
    head = [*_factors(summary), "n", "mean", "std", "sem"]
    head += [f"{method} {side}" for method in intervals for side in ("low", "high")]
    head += ["min", "median", "max", "median low", "median high"]
    rows = [[*_levels(summary, i), str(d.n[i]), *(short(column[i]) for column in columns)] for i in _first(summary)]
    return Table(head, rows)


def any_failed(evidence: Evidence) -> bool:
    return any(m.failed.any() for m in evidence.missingness)


def failures(evidence: Evidence) -> Table:
    """Failed of finished cells by level of every factor, and whether they depend on it."""
    rows = []
    for m in evidence.missingness:
        levels = zip(m.factor.values, m.failed.tolist(), m.ended.tolist(), strict=True)
        told = ", ".join(f"{value_text(value)}: {failed} of {ended}" for value, failed, ended in levels)
        rows.append([m.factor.label, p_text(m.p), m.method, told])
    return Table(["factor", "p (uncorrected)", "test", "failed"], rows, words=1)


def completeness(summary: Summary) -> Table:
    """Cells of every condition by state, with the exact interval of the completion rate."""
    states = [state for state in STATES if state == COMPLETED or (summary.states == state).any()]
    counts = [summary.count(state) for state in states]
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
