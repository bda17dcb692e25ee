"""How levels, directions and coverages are put into words, in figures and in the report alike."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

from aggregate.reading.declared import Metric
from hpc.sweep.cell import FactorValue

_LONGEST_NAME = 300  # characters of a setting in dotted words
_LARGE, _MOST_DECIMALS = 1e6, 8  # beyond them, numbers are written with an exponent
_EXACT = 5  # digits of a p value that are no rounding
_TWO_DIGITS = 3.55  # first digits of a width up to this are worth a second one


def value_text(value: FactorValue) -> str:
    """A factor's value as people read it: whole numbers without a fraction, all others as in cell names."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e6:
        return str(int(value))
    return value if isinstance(value, str) else repr(value)


def dotted(name: str, key: str) -> str:
    """The name of an entry in a setting. What is too long to be read ends with a digest, and stays a name of its own.

    Uncut, each of thousands of entries would repeat a name that may be as long as a document.
    """
    whole = f"{name}.{key}" if name else key
    if len(whole) <= _LONGEST_NAME:
        return whole
    return f"{whole[:_LONGEST_NAME]}...{hashlib.sha256(whole.encode(errors='surrogatepass')).hexdigest()[:12]}"


def better_text(metric: Metric) -> str:
    """What a reader needs to know of a metric's direction."""
    return f"{metric.better} is better" if metric.better else ""


def with_direction(metric: Metric) -> str:
    """A metric's label and, where it has one, its direction: ``error (lower is better)``."""
    direction = better_text(metric)
    return f"{metric.label} ({direction})" if direction else metric.label


def percent(level: float) -> str:
    """A coverage as people write it: 0.95 -> ``95 %``."""
    return f"{100 * level + 0.0:g} %"  # what is rounded to nothing has no sign


def short(value: float) -> str:
    """A number in a table or a sentence: four digits, a dash where there is none."""
    return "-" if value != value else f"{value:#.4g}".rstrip(".")


def p_text(value: float) -> str:
    """A p value in a table: two digits, never 0. One that ends after a few more, as of a test by changing signs, is
    written whole: rounded, 0.0625 would seem less than the least that there is."""
    if value != value:
        return "-"
    whole = f"{value:.{_EXACT}g}"
    return "< 1e-6" if value < 1e-6 else whole if float(whole) == value else f"{value:.2g}"


def p_equals(value: float) -> str:
    """A p value in a sentence: ``p = 0.03``, ``p < 1e-6``."""
    if value != value:
        return "no p"
    return f"p {p_text(value)}" if value < 1e-6 else f"p = {p_text(value)}"


def decimals(low: float, high: float) -> int | None:
    """How many decimals an estimate and its interval are written with: two digits of half the interval's width, or one
    if that begins with more than 3.5 (the rule of the Particle Data Group), and as many more as it takes to show on
    which side of 0 either end lies. None where fixed decimals do not suit: no width, or numbers of very many digits."""
    half = (high - low) / 2
    if not 0 < half < math.inf or max(abs(low), abs(high)) >= _LARGE:
        return None
    places = math.floor(math.log10(half))
    found = max(0, (1 if half / 10**places < _TWO_DIGITS else 0) - places)
    while found <= _MOST_DECIMALS and any(end and not round(end, found) for end in (low, high)):
        found += 1
    return found if found <= _MOST_DECIMALS else None


def with_interval(mean: float, low: float, high: float, digits: int = 1) -> str:
    """``0.93 [0.91, 0.95]``, all with the same decimals, or as much as is known. digits: of the mean, at least."""
    if mean != mean:
        return "-"
    if low != low:
        return short(mean)
    places = decimals(low, high)
    if places is not None and mean:
        places = max(places, digits - 1 - math.floor(math.log10(abs(mean))))
    mean_text, *ends = (short(value) if places is None else f"{value:.{places}f}" for value in (mean, low, high))
    return f"{mean_text} [{', '.join(ends)}]"


def span(low: float, high: float) -> str:
    """``0.70 to 0.84``: two decimals, and more where both ends would look alike."""
    decimals = next((d for d in (2, 3, 4) if f"{low:.{d}f}" != f"{high:.{d}f}"), 2)
    return f"{low:.{decimals}f} to {high:.{decimals}f}"


def listed(words: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
