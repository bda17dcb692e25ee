"""The claims of the report as rows of text, and what stands behind each: its levels, earlier epochs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from aggregate.analysis.claims import NOT_SHOWN, SHOWN, WITHHELD, Claim, InNats, Worst
from aggregate.analysis.questions import COMPARISON, RETENTION, SLOPE, Question
from aggregate.analysis.summary import Summary
from aggregate.answers.estimates import between, numbers, places, plain_size, unit
from aggregate.answers.sentences import upper
from aggregate.described.earlier import Earlier
from aggregate.described.levels import AtLevel, by_level
from aggregate.reading.declared import Factor
from aggregate.report.tables import MOST_ROWS, Table
from aggregate.stats.weighted import WeightedTest
from aggregate.wording import listed, p_equals, p_text, percent, value_text
from hpc.units import counted

_KINDS = {SLOPE: "slope on", COMPARISON: "difference over", RETENTION: "over"}
_VERDICTS = {SHOWN: "detected", NOT_SHOWN: "not detected", WITHHELD: "no verdict"}
_IMPRESSIONS = {SHOWN: "stands out", NOT_SHOWN: "does not stand out", WITHHELD: "left open"}  # exploratory


@dataclass(frozen=True)
class Detail:
    """A table behind a heading that opens it. note: what it shows."""

    heading: str
    note: str
    table: Table


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
