"""The tables of the report as rows of text: claims, comparisons, statistics of every condition, completeness."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aggregate.analysis.claims import NOT_SHOWN, SHOWN, WITHHELD, Claim, InNats, Worst
from aggregate.analysis.comparisons import Comparison
from aggregate.analysis.last_epochs import LastEpochs
from aggregate.analysis.missingness import Missingness
from aggregate.analysis.questions import COMPARISON, RETENTION, SLOPE, Question
from aggregate.analysis.reliability import Flag, mixed
from aggregate.analysis.study import Evidence
from aggregate.analysis.summary import DELTA_LOGIT, LOG_T, MetricSummary, Summary, T
from aggregate.answers.estimates import between, numbers, places, plain_size, unit
from aggregate.answers.sentences import upper
from aggregate.arrays import Floats
from aggregate.described.earlier import Earlier
from aggregate.described.levels import AtLevel, by_level
from aggregate.reading.declared import Factor
from aggregate.stats.weighted import WeightedTest
from aggregate.wording import better_text, counted, listed, p_equals, p_text, percent, short, value_text, with_interval
from hpc.sweep.states import COMPLETED, STATES

MOST_ROWS = 200
MIXED, _MOST_MIXED = "†", 4
_METHODS = {
    T: "Student's t",
    DELTA_LOGIT: "delta-logit t (Student's t carried to the logit, so that it stays between 0 and 1)",
    LOG_T: "t of logarithms",
}
_KINDS = {SLOPE: "slope on", COMPARISON: "difference over", RETENTION: "over"}
_VERDICTS = {SHOWN: "detected", NOT_SHOWN: "not detected", WITHHELD: "no verdict"}
_IMPRESSIONS = {SHOWN: "stands out", NOT_SHOWN: "does not stand out", WITHHELD: "left open"}  # exploratory


@dataclass(frozen=True)
class Table:
    """head: shape (columns,). rows: shape (rows, columns). words: leading columns of words; the others hold numbers."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 0


@dataclass(frozen=True)
class Detail:
    """A table behind a heading that opens it. note: what it shows."""

    heading: str
    note: str
    table: Table


def rows_shown(summary: Summary) -> str:
    """What to say of a table that does not show every condition."""
    if len(summary.conditions) <= MOST_ROWS:
        return ""
    shown = f"The first {MOST_ROWS} of {len(summary.conditions):,} conditions"
    return f"{shown}; every condition is in aggregated_results.json, every cell in table.parquet."


def claims(summary: Summary, made: Sequence[Claim], adjusted: str) -> Table:
    """adjusted: how p values were adjusted. Columns that would say nothing of any claim are left out."""
    labels = {factor.name: factor.label for factor in summary.factors}
    head = ["contrast", "estimate and interval", "verdict", "unit", "levels", "averaged over", "interval's level", "p"]
    head += [f"p {adjusted}", "detectable", "seeds"]
    rows = [_claim(claim, labels) for claim in made]
    checks = _others(made)  # beside the estimate, since a narrow screen shows the first columns
    for at, (name, _, of) in enumerate(checks, start=2):
        head.insert(at, name)
        for row, claim in zip(rows, made, strict=True):
            row.insert(at, _other(claim, of(claim)))
    return Table(head, rows, words=6 + len(checks))


def others(made: Sequence[Claim]) -> str:
    """What those of the last columns are that the table has; empty without any."""
    told = [f"{name.capitalize()}: the estimate if {means}" for name, means, _ in _others(made)]
    return f"{'; '.join(told)}, with an uncorrected p; a verdict needs it to agree." if told else ""


def _others(made: Sequence[Claim]) -> list[tuple[str, str, Callable[[Claim], Worst | InNats | None]]]:
    """Of the same test made otherwise, as far as some claim has it: the column, what it means, what it holds."""
    known: list[tuple[str, str, Callable[[Claim], Worst | InNats | None]]] = [
        ("in nats", "information is counted in nats", lambda claim: claim.in_nats),
        ("failed as worst", "every failed cell had the worst value seen", lambda claim: claim.worst),
    ]
    return [(name, means, of) for name, means, of in known if any(of(claim) for claim in made)]


def _claim(claim: Claim, labels: Mapping[str, str]) -> list[str]:
    asked = claim.question
    verdict = (_VERDICTS if claim.confirmatory else _IMPRESSIONS).get(claim.status, claim.status)
    return [
        f"{asked.metric.label}: {_KINDS[asked.kind]} {listed([labels.get(name, name) for name in asked.factors])}",
        numbers(asked, claim.estimate, claim.low, claim.high),
        f"{verdict}: {claim.reason}" if claim.reason else verdict,
        unit(asked),
        ", ".join(map(value_text, asked.levels)),
        _over(asked),
        percent(round(claim.level, 4)) if math.isfinite(claim.low) else "-",
        p_text(claim.test.p),
        p_text(claim.adjusted),
        _detectable(claim),
        f"{claim.test.seeds} of {claim.planned}",
    ]


def _detectable(claim: Claim) -> str:
    """With what the seeds know of it; a dash beside what was detected."""
    if claim.sign or not math.isfinite(claim.detectable):
        return "-"
    known = between(claim.question, *claim.detectable_between).removesuffix(" points")
    return f"{plain_size(claim.question, claim.detectable)} ({known})"


def _other(claim: Claim, other: Worst | InNats | None) -> str:
    """The same test, made otherwise: its estimate and p, which no correction is due to."""
    if other is None:
        return "-"
    cells = f"{counted(other.cells, 'cell')}, " if isinstance(other, Worst) else ""
    return f"{numbers(claim.question, other.estimate, math.nan, math.nan)} ({cells}{p_equals(other.p)})"


def levels(claim: Claim, factor: Factor) -> list[Detail]:
    """A retention level by level; nothing where it has one narrower level in one combination only."""
    found = by_level(claim)
    if len(found) < 2:
        return []
    kept, other = claim.question.sides
    combined, nats = any(one.where for one in found), any(one.in_nats for one in found)
    head = [factor.label, *(["combination"] if combined else [])]
    head += ["difference (points)", *(["in nats (points)"] if nats else [])]
    head += [f"retained of {kept}", f"retained of {other}"]
    rows = [
        [
            value_text(one.at),
            *([one.where] if combined else []),
            *(_at_level(claim.question, test, one.level) for test in (one.test, one.in_nats) if test is not None),
            *(percent(round(share, 2)) for share in (one.kept, one.other)),
        ]
        for one in found[:MOST_ROWS]
    ]
    return [Detail(f"By {factor.label}", _level_note(claim, found), Table(head, rows, words=2 if combined else 1))]


def _level_note(claim: Claim, found: Sequence[AtLevel]) -> str:
    wide, together = percent(round(found[0].level, 4)), percent(round(claim.level, 4))
    more = f" The first {MOST_ROWS} of {len(found):,} rows." if len(found) > MOST_ROWS else ""
    return (
        f"{upper(claim.question.unit)} that is retained, mean over seeds, and the difference of the two within seeds, "
        f"in percentage points, with {wide} intervals, each so wide (Bonferroni) that all {len(found)} of a unit hold "
        f"together with a probability of at least {together} if seeds vary normally. Described, not tested. The claim "
        f"is about the mean of these differences, in which every row counts alike.{more}"
    )


def _at_level(question: Question, test: WeightedTest, level: float) -> str:
    return numbers(question, test.estimate, *test.interval(level))


def epochs(claim: Claim, found: Sequence[Earlier]) -> list[Detail]:
    """What the claim would have been after fewer epochs, and what it is."""
    if not found:
        return []
    question, nats = claim.question, claim.in_nats
    head = ["after", f"estimate ({unit(question)}) and interval", *(["in nats"] if nats else [])]
    rows = [[at.after, *_then(claim, at)] for at in found]
    now = [numbers(question, claim.estimate, claim.low, claim.high)]
    now += [numbers(question, nats.estimate, nats.low, nats.high)] if nats else []
    note = (
        "The same question, had the same runs been looked at earlier, with intervals at the level of the claim's own. "
        "Described, not tested. No run was trained for a shorter time: where the learning rate follows a schedule, "
        "that could give another result."
    )
    return [Detail("At earlier epochs", note, Table(head, [*rows, ["the end (the claim)", *now]], words=1))]


def _then(claim: Claim, at: Earlier) -> list[str]:
    told = [at.why] if at.test is None else [_at_level(claim.question, at.test, claim.level)]
    if claim.in_nats is None:
        return told
    return [*told, "-" if at.in_nats is None else _at_level(claim.question, at.in_nats, claim.in_nats.level)]


def _over(asked: Question) -> str:
    """The combinations of the other factors that count, and those of which nothing is said."""
    used = [part.where for part in asked.parts if not part.why]
    left_out = [part.where for part in asked.parts if part.why]
    told = ([places(used, asked.combinations)] if used else []) + (
        [f"left out: {places(left_out)}"] if left_out else []
    )
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
        head += [_with_direction(entry), *(["runs at chance"] if entry.at_chance.any() else [])]
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


def _with_direction(entry: MetricSummary) -> str:
    direction = better_text(entry.metric)
    return f"{entry.metric.label} ({direction})" if direction else entry.metric.label


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
