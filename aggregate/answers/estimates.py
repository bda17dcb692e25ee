"""Estimates, intervals and places as words: units, percentages, combinations of factors."""

from __future__ import annotations

import math
from collections.abc import Sequence

from aggregate.analysis.questions import RETENTION, SLOPE, Question
from aggregate.wording import decimals, listed, percent

_MOST_TICKS = 5
_MOST, _MOST_OF_SEVERAL = 6, 2  # combinations, or steps, told in one sentence; combinations of several factors


def places(names: Sequence[str], of: int = 0) -> str:
    """Combinations in words, a factor that they share named once: ``scale 0.1, 1 and 10``. Of those of several factors,
    whose names have commas, two can be read in one sentence; of more it is said how many they are, and of how many."""
    several = ", " in names[0]
    if len(names) > (_MOST_OF_SEVERAL if several else _MOST):
        return f"{len(names)} of {of} combinations" if of > len(names) else f"{len(names)} combinations"
    if several:
        return "; ".join(names)
    heads = {name.rpartition(" ")[0] for name in names}
    if len(heads) > 1:
        return listed(names)
    return f"{heads.pop()} {listed([name.rpartition(' ')[2] for name in names])}"


def limited(told: Sequence[str], of: str) -> str:
    """The first of them, and how many more there are. of: what they are, or where else they stand."""
    more = len(told) - _MOST
    return "; ".join(told[:_MOST]) + (f"; and {more} more {of}" if more > 0 else "")


def unit(question: Question) -> str:
    """What estimates and intervals of a question are counted in, as a column of a table says it; a dash of a question
    for which nothing was found."""
    if not question.unit:
        return "-"
    if question.kind == RETENTION:
        return f"percentage points of the {question.unit.removeprefix('share of the ')}"
    per_unit = f"per {question.unit}" if question.kind == SLOPE else question.unit
    return f"% {per_unit}" if question.log else per_unit


def numbers(question: Question, estimate: float, low: float, high: float) -> str:
    """An estimate and its interval without a unit, or as much as is known: ``-18 [-32, -6]``."""
    if not math.isfinite(estimate):
        return "-"
    told = _texts(question, (estimate,), low, high)[0]
    return f"{told} {bracket(question, low, high)}" if math.isfinite(low) else told


def bracket(question: Question, low: float, high: float) -> str:
    """An interval: ``[-32, -6]``."""
    return f"[{', '.join(_texts(question, (low, high), low, high))}]"


def bracketed(question: Question, estimate: float, low: float, high: float) -> str:
    """An estimate with its unit, and its interval where there is one: seeds that do not differ have none."""
    told = amount(question, estimate, low, high)
    return f"{told} {bracket(question, low, high)}" if math.isfinite(low) else told


def with_level(
    question: Question, estimate: float, low: float, high: float, level: float, per: str = "", more: str = ""
) -> str:
    """An estimate with its unit, and its interval with the level of that where there is one: ``+2 (95 % interval [+1,
    +3])``. per: what a slope is per. more: what else stands within the brackets."""
    told = f"{amount(question, estimate, low, high)}{per}"
    if not math.isfinite(low):
        return told
    return f"{told} ({percent(round(level, 4))} interval {bracket(question, low, high)}{more})"


def amount(question: Question, value: float, low: float = math.nan, high: float = math.nan) -> str:
    """An estimate with its unit, and with the decimals of its interval if there is one: ``-18 percentage points``."""
    unit = " percentage points" if question.kind == RETENTION else " %" if question.log else ""
    return _texts(question, (value,), low, high)[0] + unit


def _texts(question: Question, values: Sequence[float], low: float, high: float) -> list[str]:
    """Estimates or ends of an interval, with the decimals that suit the interval; three digits without one."""
    places = decimals(_shown(question, low), _shown(question, high))
    shown = (_shown(question, value) for value in values)
    # A sum with 0.0, since what is rounded to nothing has no sign.
    return [f"{value:+.3g}" if places is None else f"{round(value, places) + 0.0:+.{places}f}" for value in shown]


def round_numbers(low: float, high: float) -> list[float]:
    """A few round numbers between two others, ascending."""
    width = high - low
    if not 0 < width < math.inf:
        return []
    step = 10.0 ** math.floor(math.log10(width))
    step *= next(part for part in (0.2, 0.5, 1, 2, 5) if width / (step * part) <= _MOST_TICKS)
    return [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def ticks(question: Question, low: float, high: float) -> list[tuple[float, str]]:
    """Round numbers on an axis of estimates, in the unit in which they are told: where they lie, and their texts."""
    shown = round_numbers(_shown(question, low), _shown(question, high))
    return [(_told(question, value), tick(value)) for value in shown]


def tick(value: float) -> str:
    return f"{value:+.3g}" if value else "0"


def _told(question: Question, shown: float) -> float:
    """The opposite of _shown."""
    if question.kind == RETENTION:
        return shown / 100
    return math.log1p(shown / 100) if question.log else shown


def _shown(question: Question, value: float) -> float:
    """Points of retention, a change in per cent on a logarithmic scale."""
    if question.kind == RETENTION:
        return 100 * value
    return 100 * math.expm1(min(value, 700.0)) if question.log else value


def size(question: Question, value: float) -> str:
    """A size without a sign, such as the detectable effect."""
    return bare_size(question, value) + per(question)


def bare_size(question: Question, value: float) -> str:
    """The same without what a slope is per."""
    unit = " percentage points" if question.kind == RETENTION else " %" if question.log else ""
    return plain_size(question, value) + unit


def plain_size(question: Question, value: float) -> str:
    """A size without a sign and a unit: in percent a rise and a fall of one size differ."""
    if not math.isfinite(value):
        return "-"
    if question.kind == RETENTION:
        return f"{100 * value:.2g}"
    if question.log:
        return f"-{100 * -math.expm1(-value):.2g} or +{100 * math.expm1(min(value, 700.0)):.2g}"
    return f"{value:.2g}"


def between(question: Question, low: float, high: float) -> str:
    """A range of sizes."""
    if question.log and question.kind != RETENTION:
        return f"+{100 * math.expm1(min(low, 700.0)):.2g} % to +{100 * math.expm1(min(high, 700.0)):.2g} %"
    return f"{100 * low:.2g} to {100 * high:.2g} points" if question.kind == RETENTION else f"{low:.2g} to {high:.2g}"


def per(question: Question) -> str:
    """What a slope is per, and what it is averaged over."""
    if question.kind != SLOPE:
        return ""
    over = (
        f", averaged over {places([p.where for p in question.parts], question.combinations)},"
        if len(question.parts) > 1
        else ""
    )
    return f" per {question.unit}{over}"


def only_shares(question: Question) -> str:
    """What must be said of every answer to a retention whose unit nobody could check."""
    unchecked = question.retained is not None and question.retained.unit_unchecked
    return ", counted in shares (no other unit was checked)" if unchecked else ""
