"""Counts, lists, lengths of time and sizes as people read them."""

from __future__ import annotations

import re
from collections.abc import Sequence

_UNITS = (("d", 86400), ("h", 3600), ("min", 60))


def counted(number: int, noun: str) -> str:
    """`1 cell`, `1,234 cells`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def first_few(names: Sequence[str], most: int, apart: str = ", ") -> str:
    """`a, b and 1,234 more`."""
    more = len(names) - most
    return apart.join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


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


# Slurm's notations beside plain minutes: MM:SS, HH:MM:SS, D-HH, D-HH:MM and D-HH:MM:SS.
_SLURM_TIME = re.compile(r"(?:(\d{1,6}):)?(\d{1,6}):(\d{1,2})|(\d{1,6})-(\d{1,2})(?::(\d{1,2})(?::(\d{1,2}))?)?")
_SLURM_SIZE = re.compile(r"(\d{1,12}(?:\.\d+)?) ?([kmgt])b?", re.IGNORECASE)


def slurm_seconds(text: str) -> int | None:
    """Seconds of a time with colons or a dash, as Slurm reads it: 4:00:00, 90:00, 1-12. None for other text."""
    found = _SLURM_TIME.fullmatch(text.strip())
    if found is None:
        return None
    hours, minutes, seconds, days, *rest = (int(group or 0) for group in found.groups())
    clock = rest if found[4] else (hours, minutes, seconds)
    return 86400 * days + sum(count * unit for count, unit in zip(clock, (3600, 60, 1), strict=True))


def slurm_gigabytes(text: str) -> float | None:
    """Gigabytes, as Slurm counts them, of a size with a unit: 16G, 4000M, 1T. None for other text."""
    found = _SLURM_SIZE.fullmatch(text.strip())
    return float(found[1]) * 1024.0 ** ("kmgt".index(found[2].lower()) - 2) if found else None
