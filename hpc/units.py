"""Lengths of time and sizes as people read them."""

from __future__ import annotations

_UNITS = (("d", 86400), ("h", 3600), ("min", 60))


def duration(seconds: float, *, days: bool = True) -> str:
    """A length of time: 0.25 s, 45 s, 2.6 min, 4 h, 3.5 d.

    A unit is used from two of it on. days: False for an amount of computing, which is counted in hours however long.
    """
    for unit, size in _UNITS if days else _UNITS[1:]:
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f}".removesuffix(".0") + f" {unit}"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"


def size(count: float) -> str:
    """A number of bytes in decimal units: 512 B, 1.5 kB, 25 MB, 1.2 GB, 340 GB."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            value = count / factor
            return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.1f}".removesuffix(".0") + f" {unit}"
    return f"{count:.0f} B"
