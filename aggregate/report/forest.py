"""The estimates of a claim as rows to be drawn: the average that was tested, and every combination that it is made of.

Places are percentages of the drawing's width, so that it fits any screen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from aggregate.analysis.claims import NOT_SHOWN, SHOWN, Claim, Piece
from aggregate.analysis.fixed_analysis import Compared
from aggregate.analysis.questions import RETENTION, Question
from aggregate.answers.estimates import bracketed, places, ticks, unit
from aggregate.arrays import Floats
from aggregate.figures.axes import Span, limits
from aggregate.reading.declared import REAL, Metric
from aggregate.stats.weighted import weighted_test
from aggregate.wording import percent, span, value_text

_MOST = 8  # combinations
_BEYOND = " An arrow: the interval goes on beyond the drawing; its ends are in the numbers."
ANY = Metric("", "", "", REAL, "", None)


@dataclass(frozen=True)
class Row:
    """One estimate. label, detail: what it is of. number: it and its interval, in words. tested: or described only.
    low, high, at, seeds: places of the interval's ends, of the estimate and of each seed's own; at is None where
    nothing is known. beyond: whether the interval goes on below and above what is drawn."""

    label: str
    detail: str
    number: str
    tested: bool
    low: float = 0.0
    high: float = 0.0
    at: float | None = None
    seeds: tuple[float, ...] = ()
    beyond: tuple[bool, bool] = (False, False)


@dataclass(frozen=True)
class Forest:
    """zero: its place. less, more: what lies on either side of it. note: what is drawn. ticks: places of round numbers
    and their texts; unit: what they are in."""

    rows: list[Row]
    zero: float
    less: str
    more: str
    note: str
    ticks: list[tuple[float, str]]
    unit: str


def forest(claim: Claim, not_normal: str = "") -> Forest | None:
    """None where nothing is estimated. not_normal: where its seeds do not vary normally, in words."""
    if not math.isfinite(claim.estimate) or not math.isfinite(claim.test.error):
        return None
    pieces, nats, asked = claim.pieces[:_MOST], claim.in_nats, claim.question
    in_nats = np.empty(0) if asked.in_nats is None else weighted_test(asked.in_nats, asked.weights).per_seed
    seeds = np.concatenate([claim.test.per_seed, in_nats, *(piece.per_seed for piece in pieces), [0.0, claim.estimate]])
    ends = np.array([claim.low, claim.high, *(end for piece in pieces for end in (piece.low, piece.high))])
    if nats is not None:
        ends = np.append(ends, (nats.low, nats.high))
    axis = limits(ANY, [seeds], [ends])
    question = claim.question
    known = [piece.where for piece in claim.pieces if not piece.why]
    label = (
        f"average over {places(known, question.combinations)}" if len(known) > 1 else known[0] if known else "estimate"
    )
    detail = "" if len(claim.pieces) > 1 else _detail(question, 0)
    first = _row(axis, question, (label, detail), (claim.estimate, claim.low, claim.high), claim.test.per_seed)
    rows = [Row(**vars(first) | {"tested": True})]
    if nats is not None and math.isfinite(nats.low):
        words = "the same, counted in nats", ""
        rows.append(_row(axis, question, words, (nats.estimate, nats.low, nats.high), in_nats))
    if len(claim.pieces) > 1:
        for c, piece in enumerate(pieces):
            words = piece.where, piece.why or _detail(question, c) + _nats(question, piece)
            rows.append(_row(axis, question, words, (piece.estimate, piece.low, piece.high), piece.per_seed))
    less, more = _ways(question)
    note = _note(claim, len(known), not_normal)
    note += _BEYOND if any(any(row.beyond) for row in rows) else ""
    marks = [(place(axis, value), text) for value, text in ticks(question, axis.low, axis.high)]
    return Forest(rows, place(axis, 0.0), less, more, note, marks, _unit(claim))


def _row(
    axis: Span, question: Question, words: tuple[str, str], numbers: tuple[float, float, float], per_seed: Floats
) -> Row:
    estimate, low, high = numbers
    label, detail = words
    if not math.isfinite(estimate):
        return Row(label, detail, "left out", tested=False)
    seeds = per_seed[np.isfinite(per_seed)].tolist()
    number = bracketed(question, estimate, low, high)
    if not math.isfinite(low):
        low = high = estimate
    return Row(
        label,
        detail,
        number,
        tested=False,
        low=place(axis, low),
        high=place(axis, high),
        at=place(axis, estimate),
        seeds=tuple(place(axis, value) for value in seeds),
        beyond=(low < axis.low, high > axis.high),
    )


def place(axis: Span, value: float) -> float:
    return round(100 * min(max((value - axis.low) / (axis.high - axis.low), 0.0), 1.0), 2)


def _unit(claim: Claim) -> str:
    """What the numbers below the axis are in; both units of information have one axis, but not one meaning."""
    told = unit(claim.question)
    both = claim.in_nats is not None and math.isfinite(claim.in_nats.low)
    return f"{told}, counted in shares or, where it is said, in nats" if both else told


def _detail(question: Question, combination: int) -> str:
    """What a retention is a share of."""
    if question.retained is None:
        return ""
    told = [f"{span(low, high)} for {name}" for name, low, high in question.retained.ranges(combination)]
    return f"information at {question.retained.widest}: {' and '.join(told)}"


def _nats(question: Question, piece: Piece) -> str:
    """How a combination's estimate would be in nats."""
    nats = piece.in_nats
    if nats is None or not math.isfinite(nats.low):
        return ""
    return f"; counted in nats, {bracketed(question, nats.estimate, nats.low, nats.high)}"


def _ways(question: Question) -> tuple[str, str]:
    if question.kind == RETENTION:
        kept, other = question.sides
        return f"larger share of {other} retained", f"larger share of {kept} retained"
    if isinstance(question.test, Compared):
        a, b = map(value_text, question.test.levels)
        return f"lower with {a} than with {b}", f"higher with {a} than with {b}"
    return "falls", "rises"


def _note(claim: Claim, known: int, not_normal: str) -> str:
    parts = [_thick(claim)]
    if claim.in_nats is not None and math.isfinite(claim.in_nats.low):
        parts.append(f"counted in nats: {percent(round(claim.in_nats.level, 4))} interval, uncorrected")
    if len(claim.pieces) > 1:
        parts.append(_single(claim, known, not_normal))
    more = len(claim.pieces) - _MOST
    parts += ["dots: the same of each seed", "dashed: 0"]
    parts += [f"{more} more combinations in statistics.json"] if more > 0 else []
    return f"{'; '.join(parts)}."


def _thick(claim: Claim) -> str:
    """What the interval of the average is."""
    if not math.isfinite(claim.low):
        return "Every seed gave the same number, so there is no interval"
    decided = claim.status in (SHOWN, NOT_SHOWN)
    which = "it leaves out 0 exactly if the test detects, after Holm's correction" if decided else "without a verdict"
    return f"Thick: {percent(round(claim.level, 4))} interval ({which})"


def _single(claim: Claim, known: int, not_normal: str) -> str:
    """What those of single combinations are, and how often they all hold: of those that have one."""
    drawn = sum(math.isfinite(piece.low) for piece in claim.pieces)
    bare = sum(math.isfinite(piece.estimate) for piece in claim.pieces) - drawn
    without = f"; {bare} without an interval, since the seeds do not differ or are too few" if bare else ""
    if not drawn:
        return f"single combinations: described and not tested{without}"
    single = percent(round(1 - (1 - claim.level) / max(known, 1), 4))
    wider = (
        f", each so wide (Bonferroni) that all {drawn} of them contain their own true values with a probability of "
        f"at least {percent(round(claim.level, 4))} if seeds vary normally"
        f"{f', as they do not {not_normal}' if not_normal else ''}"
        if drawn > 1
        else ""
    )
    return f"single combinations: {single} intervals{wider}, described and not tested{without}"
