"""The estimates of a claim as rows to be drawn: the average that was tested, and every combination that it is made of.

Places are percentages of the drawing's width, so that it fits any screen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from aggregate.analysis.claims import NOT_SHOWN, SHOWN, Claim
from aggregate.analysis.fixed import Compared
from aggregate.analysis.questions import RETENTION, Question
from aggregate.arrays import Floats
from aggregate.figures.axes import Span, limits
from aggregate.reading.declared import REAL, Metric
from aggregate.report.estimates import amount, bracket, places
from aggregate.wording import percent, value_text

_MOST = 8  # combinations
ANY = Metric("", "", "", REAL, "", None)


@dataclass(frozen=True)
class Row:
    """One estimate. label, detail: what it is of. number: it and its interval, in words. tested: or described only.
    low, high, at, seeds: places of the interval's ends, of the estimate and of each seed's own; at is None where
    nothing is known."""

    label: str
    detail: str
    number: str
    tested: bool
    low: float = 0.0
    high: float = 0.0
    at: float | None = None
    seeds: tuple[float, ...] = ()


@dataclass(frozen=True)
class Forest:
    """zero: its place. less, more: what lies on either side of it. note: what is drawn."""

    rows: list[Row]
    zero: float
    less: str
    more: str
    note: str


def forest(claim: Claim) -> Forest | None:
    """None where nothing is estimated."""
    if not math.isfinite(claim.estimate) or not math.isfinite(claim.low):
        return None
    pieces, nats = claim.pieces[:_MOST], claim.in_nats
    seeds = np.concatenate([claim.test.per_seed, *(piece.per_seed for piece in pieces), [0.0, claim.estimate]])
    ends = np.array([claim.low, claim.high, *(end for piece in pieces for end in (piece.low, piece.high))])
    if nats is not None:
        ends = np.append(ends, (nats.low, nats.high))
    span = limits(ANY, [seeds], [ends])
    question = claim.question
    known = [piece.where for piece in claim.pieces if not piece.why]
    label = f"average over {places(known)}" if len(known) > 1 else known[0] if known else "estimate"
    detail = "" if len(claim.pieces) > 1 else _detail(question, 0)
    first = _row(span, question, (label, detail), (claim.estimate, claim.low, claim.high), claim.test.per_seed)
    rows = [Row(**vars(first) | {"tested": True})]
    if nats is not None and math.isfinite(nats.low):
        words = "the same, counted in nats", ""
        rows.append(_row(span, question, words, (nats.estimate, nats.low, nats.high), np.empty(0)))
    if len(claim.pieces) > 1:
        for c, piece in enumerate(pieces):
            words = piece.where, piece.why or _detail(question, c, piece.in_nats)
            rows.append(_row(span, question, words, (piece.estimate, piece.low, piece.high), piece.per_seed))
    less, more = _ways(question)
    return Forest(rows, place(span, 0.0), less, more, _note(claim, len(known)))


def _row(
    span: Span, question: Question, words: tuple[str, str], numbers: tuple[float, float, float], per_seed: Floats
) -> Row:
    estimate, low, high = numbers
    label, detail = words
    if not math.isfinite(estimate):
        return Row(label, detail, "left out", tested=False)
    seeds = per_seed[np.isfinite(per_seed)].tolist()
    if not math.isfinite(low):
        low = high = estimate
    return Row(
        label,
        detail,
        f"{amount(question, estimate)} {bracket(question, low, high)}",
        tested=False,
        low=place(span, low),
        high=place(span, high),
        at=place(span, estimate),
        seeds=tuple(place(span, value) for value in seeds),
    )


def place(span: Span, value: float) -> float:
    return round(100 * min(max((value - span.low) / (span.high - span.low), 0.0), 1.0), 2)


def _detail(question: Question, combination: int, in_nats: float = math.nan) -> str:
    """What a retention is a share of, and how it would be in nats."""
    if question.retained is None:
        return ""
    told = [f"{low:.2f} to {high:.2f} for {name}" for name, low, high in question.retained.ranges(combination)]
    nats = f"; counted in nats, {amount(question, in_nats)}" if math.isfinite(in_nats) else ""
    return f"information at {question.retained.widest}: {' and '.join(told)}{nats}"


def _ways(question: Question) -> tuple[str, str]:
    if question.kind == RETENTION:
        kept, other = question.sides
        return f"larger share retained of {other}", f"larger share retained of {kept}"
    if isinstance(question.test, Compared):
        a, b = map(value_text, question.test.levels)
        return f"lower with {a} than with {b}", f"higher with {a} than with {b}"
    return "falls", "rises"


def _note(claim: Claim, known: int) -> str:
    level = percent(round(claim.level, 4))
    decided = claim.status in (SHOWN, NOT_SHOWN)
    which = "it leaves out 0 exactly if the test detects, after Holm's correction" if decided else "without a verdict"
    note = f"Thick: {level} interval ({which})"
    if claim.in_nats is not None and math.isfinite(claim.in_nats.low):
        note += f"; counted in nats: {percent(round(claim.in_nats.level, 4))} interval, uncorrected"
    if len(claim.pieces) > 1:
        single = percent(round(1 - (1 - claim.level) / max(known, 1), 4))
        wider = f", so wide that all {known} together hold as often as the thick one" if known > 1 else ""
        note += f"; single combinations: {single} intervals{wider}, described and not tested"
    more = len(claim.pieces) - _MOST
    rest = f"; {more} more combinations in statistics.json" if more > 0 else ""
    return f"{note}; dots: the same of each seed{rest}."
