"""How levels, directions and coverages are put into words, in figures and in the report alike."""

from __future__ import annotations

from collections.abc import Sequence

from aggregate.reading.declared import Metric
from hpc.sweep.cell import FactorValue


def value_text(value: FactorValue) -> str:
    """A factor's value as people read it: whole numbers without a fraction, all others as in cell names."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e6:
        return str(int(value))
    return value if isinstance(value, str) else repr(value)


def better_text(metric: Metric) -> str:
    """What a reader needs to know of a metric's direction."""
    return f"{metric.better} is better" if metric.better else ""


def percent(level: float) -> str:
    """A coverage as people write it: 0.95 -> ``95 %``."""
    return f"{100 * level:g} %"


def short(value: float) -> str:
    """A number in a table or a sentence: four digits, a dash where there is none."""
    return "-" if value != value else f"{value:#.4g}".rstrip(".")


def p_text(value: float) -> str:
    """A p value in a table: two digits, never 0."""
    return "-" if value != value else "< 1e-6" if value < 1e-6 else f"{value:.2g}"


def p_equals(value: float) -> str:
    """A p value in a sentence: ``p = 0.03``, ``p < 1e-6``."""
    if value != value:
        return "no p"
    return f"p {p_text(value)}" if value < 1e-6 else f"p = {p_text(value)}"


def counted(number: int, noun: str) -> str:
    """``1 cell``, ``12,000 cells``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def with_interval(mean: float, low: float, high: float) -> str:
    """``0.93 [0.91, 0.95]``, or as much of it as is known."""
    if mean != mean:
        return "-"
    return short(mean) if low != low else f"{short(mean)} [{short(low)}, {short(high)}]"


def listed(words: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
