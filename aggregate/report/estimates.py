"""Estimates, intervals and places as words: units, percentages, combinations of factors."""

from __future__ import annotations

import math
from collections.abc import Sequence

from aggregate.analysis.questions import RETENTION, SLOPE, Question
from aggregate.wording import listed, short

_MOST = 6  # combinations, or steps, told in one sentence


def places(names: Sequence[str]) -> str:
    """Combinations in words, a factor that they share named once: ``scale 0.1, 1 and 10``."""
    if len(names) > _MOST:
        return f"{len(names)} combinations"
    heads = {name.rpartition(" ")[0] for name in names}
    if len(heads) > 1 or ", " in names[0]:
        return listed(names)
    return f"{heads.pop()} {listed([name.rpartition(' ')[2] for name in names])}"


def limited(told: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = len(told) - _MOST
    return "; ".join(told[:_MOST]) + (f"; and {more} more (statistics.json)" if more > 0 else "")


def unit(question: Question) -> str:
    """What estimates and intervals of a question are counted in, as a column of a table says it."""
    if question.kind == RETENTION:
        return f"percentage points of the {question.unit.removeprefix('share of the ')}"
    per_unit = f"per {question.unit}" if question.kind == SLOPE else question.unit
    return f"% {per_unit}" if question.log else per_unit


def numbers(question: Question, estimate: float, low: float, high: float) -> str:
    """An estimate and its interval without a unit, or as much as is known: ``-18 [-32, -6.5]``."""
    if not math.isfinite(estimate):
        return "-"
    return _number(question, estimate) + (f" {bracket(question, low, high)}" if math.isfinite(low) else "")


def bracket(question: Question, low: float, high: float) -> str:
    """An interval: ``[-32, -6.5]``."""
    return f"[{_number(question, low)}, {_number(question, high)}]"


def _number(question: Question, value: float) -> str:
    """An estimate or an end of its interval: points of retention, a change in per cent on a logarithmic scale."""
    if question.kind == RETENTION:
        return _whole(100 * value)
    return _whole(100 * math.expm1(min(value, 700.0))) if question.log else f"{value:+.3g}"


def amount(question: Question, value: float) -> str:
    """An estimate with its unit: ``-18 percentage points``."""
    unit = " percentage points" if question.kind == RETENTION else " %" if question.log else ""
    return _number(question, value) + unit


def size(question: Question, value: float) -> str:
    """A size without a sign, such as the detectable effect."""
    if question.log and question.kind != RETENTION:
        return f"{plain_size(question, value)} %{per(question)}"
    unit = " percentage points" if question.kind == RETENTION else per(question)
    return plain_size(question, value) + unit


def plain_size(question: Question, value: float) -> str:
    """A size without a sign and a unit: in percent a rise and a fall of one size differ."""
    if not math.isfinite(value):
        return "-"
    if question.kind == RETENTION:
        return f"{100 * value:.2g}"
    if question.log:
        return f"-{100 * -math.expm1(-value):.2g} or +{100 * math.expm1(min(value, 700.0)):.2g}"
    return short(value)


def between(question: Question, low: float, high: float) -> str:
    """A range of sizes."""
    if question.log and question.kind != RETENTION:
        return f"+{100 * math.expm1(min(low, 700.0)):.2g} % to +{100 * math.expm1(min(high, 700.0)):.2g} %"
    return f"{100 * low:.2g} to {100 * high:.2g} points" if question.kind == RETENTION else f"{low:.2g} to {high:.2g}"


def per(question: Question) -> str:
    """What a slope is per, and what it is averaged over."""
    if question.kind != SLOPE:
        return ""
    over = f", averaged over {places([part.where for part in question.parts])}," if len(question.parts) > 1 else ""
    return f" per {question.unit}{over}"


def _whole(value: float) -> str:
    return f"{value:+.0f}" if abs(value) >= 10 else f"{value:+.2g}"
