"""The tables of the report: claims, comparisons, statistics of every condition, completeness. Computes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from aggregate.claims import RATIO, Claim
from aggregate.comparisons import Comparison
from aggregate.contrasts import INTERACTION, SLOPE
from aggregate.markup import Html, element, folded, table
from aggregate.study import Study
from aggregate.summary import MetricSummary, Summary, T
from aggregate.wording import better_text, counted, p_equals, p_text, percent, short, value_text, with_interval
from hpc.sweep.states import COMPLETED, STATES

MOST_ROWS = 200
_KINDS = {SLOPE: "slope on", INTERACTION: "interaction", RATIO: "hypothesis: slope on"}
_ALL_ROWS = "; every condition is in aggregated_results.json, every cell in table.parquet"


def claims(study: Study) -> Html:
    """The confirmatory family open, everything exploratory folded and stamped."""
    found = study.evidence.claims
    parts: list[Html] = []
    if found.family:
        note = (
            f"Fixed before the first job; a family-wise error of {percent(found.alpha)} over "
            f"{counted(len(found.family), 'test')} ({found.correction.capitalize()}). Estimates are per doubling of "
            "factors on a logarithmic scale, else per unit. One-sample t over seeds; Page's L is a check on ranks. "
            "Failed as worst: the estimate if every failed cell had the worst value seen."
        )
        parts += [
            element("h2", "Claims"),
            element("p", note, class_="soft"),
            _claim_table(found.family, "after correction"),
        ]
    if found.exploratory:
        note = (
            "Not fixed beforehand: exploratory, to be confirmed on new seeds. False discovery rate, Benjamini-Hochberg."
        )
        rows = _claim_table(found.exploratory, "Benjamini-Hochberg")
        parts.append(
            folded("Exploratory: the same contrasts of other metrics", element("p", note, class_="soft"), rows)
        )
    parts += [
        folded(f"Exploratory: {c.metric.label} against the reference", *_comparison(study, c))
        for c in study.evidence.comparisons
    ]
    if study.evidence.pairings and len(study.summary.seeds) > 1:
        parts.append(folded("What pairing by seed was worth", *_pairing(study)))
    return element("section", parts)


def _claim_table(claims: Sequence[Claim], adjusted: str) -> Html:
    head = [
        "verdict",
        "metric",
        "contrast",
        "estimate and interval",
        "p",
        f"p {adjusted}",
        "Page's p",
        "seeds",
        "failed as worst",
    ]
    return table(head, map(_claim_row, claims), words=3)


def _claim_row(claim: Claim) -> list[str]:
    worst = claim.worst
    verdict = f"{claim.status}: {claim.reason}" if claim.reason else claim.status
    return [
        verdict,
        claim.metric.label,
        f"{_KINDS[claim.kind]} {' x '.join(claim.factors)}",
        with_interval(claim.estimate, claim.low, claim.high),
        p_text(claim.p),
        p_text(claim.adjusted),
        p_text(claim.page),
        f"{claim.seeds} of {claim.planned}",
        "-" if worst is None else f"{short(worst.estimate)} ({counted(worst.cells, 'cell')}, {p_equals(worst.p)})",
    ]


def _comparison(study: Study, found: Comparison) -> Iterator[Html]:
    summary, test = study.summary, found.test
    margin = "" if found.margin is None else f" Equivalence: within {short(found.margin)}, two one-sided tests."
    note = (
        f"Each condition minus {summary.conditions[found.reference]}, paired by seed; d_z is Hedges-corrected; "
        f"improvement: probability that a run beats one of the reference. Exploratory.{margin} {rows_shown(summary)}"
    )
    yield element("p", note, class_="soft")
    head = [factor.label for factor in summary.factors] + ["difference and interval", "n", "d_z", "improvement"]
    head += ["p", "p Benjamini-Hochberg"] + ([] if found.margin is None else ["p equivalence"])
    rows = []
    for i in range(min(len(summary.conditions), MOST_ROWS)):
        if i == found.reference:
            continue
        row = [value_text(value) for _, value in summary.points[i]]
        row += [with_interval(test.mean[i], test.low[i], test.high[i]), str(test.n[i]), short(found.dz[i])]
        row += [short(found.improvement[i]), p_text(test.p[i]), p_text(found.adjusted[i])]
        rows.append(row if found.margin is None else [*row, p_text(found.equivalence[i])])
    yield table(head, rows, words=0)


def _pairing(study: Study) -> Iterator[Html]:
    note = (
        "Correlation of two conditions under the same seed, measured over seeds that have every condition; width of an "
        "interval for a paired difference relative to an unpaired one of as many seeds: below 1, pairing narrowed it."
    )
    yield element("p", note, class_="soft")
    rows = ([p.metric.label, short(p.correlation), str(p.seeds), short(p.ratio)] for p in study.evidence.pairings)
    yield table(["metric", "correlation", "seeds", "relative width"], rows)


def headline(study: Study) -> Html:
    """The primary metrics of every condition."""
    summary = study.summary
    metrics = summary.primary_metrics()
    beside = [study.ends.beside(entry.metric) for entry in metrics]
    head = [factor.label for factor in summary.factors]
    for entry, last in zip(metrics, beside, strict=True):
        head.append(_metric_head(entry))
        head += [] if last is None else [f"{last.metric.label}, mean of {study.ends.span}"]
    rows = [_headline_row(summary, metrics, beside, i) for i in range(min(len(summary.conditions), MOST_ROWS))]
    methods = ", ".join(dict.fromkeys(f"{entry.method} for {entry.metric.label}" for entry in metrics))
    note = f"Mean over seeds and {percent(summary.level)} interval for it ({methods}). {rows_shown(summary)}"
    if not metrics:
        note = f"No result has a value of one yet. {rows_shown(summary)}"
    found = table([*head, "completed"], rows, words=0)
    return element("section", element("h2", "Primary metrics"), element("p", note, class_="soft"), found)


def _metric_head(entry: MetricSummary) -> str:
    direction = better_text(entry.metric)
    return f"{entry.metric.label} ({direction})" if direction else entry.metric.label


def rows_shown(summary: Summary) -> str:
    """What to say of a table that does not show every condition."""
    if len(summary.conditions) <= MOST_ROWS:
        return ""
    return f"The first {MOST_ROWS} of {len(summary.conditions):,} conditions{_ALL_ROWS}."


def _headline_row(
    summary: Summary, metrics: Sequence[MetricSummary], beside: Sequence[MetricSummary | None], i: int
) -> list[str]:
    row = [value_text(value) for _, value in summary.points[i]]
    for entry in (shown for pair in zip(metrics, beside, strict=True) for shown in pair if shown is not None):
        row.append(with_interval(entry.description.mean[i], entry.suited[0][i], entry.suited[1][i]))
    return [*row, f"{summary.completed[i]} of {len(summary.seeds)}"]


def statistics(summary: Summary) -> Html:
    """All statistics of every metric, folded."""
    parts = [folded(entry.metric.label, *_metric_table(summary, entry)) for entry in summary.metrics]
    return element("section", element("h2", "All statistics"), parts) if parts else Html()


def _metric_table(summary: Summary, entry: MetricSummary) -> Iterator[Html]:
    d = entry.description
    yield element("p", f"{entry.metric.name}; {percent(summary.level)} intervals. {rows_shown(summary)}", class_="soft")
    intervals = {T: entry.t, entry.method: entry.suited}  # one and the same where plain t suits
    ends = [end for interval in intervals.values() for end in interval]
    columns = [d.mean, d.std, d.sem, *ends, d.minimum, d.median, d.maximum, *entry.median]
    head = [factor.label for factor in summary.factors] + ["n", "mean", "std", "sem"]
    head += [f"{method} {side}" for method in intervals for side in ("low", "high")]
    head += ["min", "median", "max", "median low", "median high"]
    rows = [
        [value_text(v) for _, v in summary.points[i]] + [str(d.n[i])] + [short(column[i]) for column in columns]
        for i in range(min(len(summary.conditions), MOST_ROWS))
    ]
    yield table(head, rows, words=0)


def completeness(study: Study) -> Html:
    """Cells of every condition by state, with the exact interval of the completion rate; failures by factor."""
    summary = study.summary
    states = [state for state in STATES if state == COMPLETED or (summary.states == state).any()]
    counts = [summary.count(state) for state in states]
    low, high = summary.completion
    # Incomplete conditions are what a reader looks for.
    order = np.argsort(summary.completed, kind="stable")[:MOST_ROWS]
    rows = [
        [value_text(v) for _, v in summary.points[i]]
        + [str(count[i]) for count in counts]
        + [f"{summary.completed[i] / len(summary.seeds):.2f} [{low[i]:.2f}, {high[i]:.2f}]"]
        for i in order.tolist()
    ]
    head = [factor.label for factor in summary.factors] + [state.lower() for state in states] + ["completion rate"]
    tests = [
        [
            m.factor.label,
            p_text(m.p),
            m.method,
            ", ".join(
                f"{value_text(v)}: {b} of {n}"
                for v, b, n in zip(m.factor.values, m.failed.tolist(), m.ended.tolist(), strict=True)
            ),
        ]
        for m in study.evidence.missingness
    ]
    note = f"Rates with exact {percent(summary.level)} intervals (Clopper-Pearson). {rows_shown(summary)}"
    parts = [element("h2", "Completeness")]
    if any(m.failed.any() for m in study.evidence.missingness):
        parts.append(element("p", "Whether failures hang on a factor (failed of ended cells, by level):"))
        parts.append(table(["factor", "p", "test", "failed"], tests, words=1))
    parts.append(folded("Every condition", element("p", note, class_="soft"), table(head, rows, words=0)))
    return element("section", parts)
