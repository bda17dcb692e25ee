"""A number of a paper's table, and how many digits of it its interval bears."""

from __future__ import annotations

import math
from dataclasses import dataclass

_MOST_DECIMALS = 8


@dataclass(frozen=True)
class Estimate:
    """A mean and its interval, in the metric's unit; NaN where there is none. n: seeds. best: by a declared test."""

    centre: float
    low: float
    high: float
    n: int
    best: bool = False


def rounded(centre: float, low: float, high: float, plus_minus: str = " ± ", before_interval: str = " ") -> str:
    """``0.934 ± 0.012``, or ``0.93 [0.88, 0.96]`` where the two halves differ; the smaller one has two digits."""
    below, above = centre - low, high - centre
    half = min(below, above)
    if not (math.isfinite(half) and half > 0):
        return f"{centre:.6g}"
    decimals = max(0, 1 - math.floor(math.log10(half)))
    form = f".{decimals}f" if decimals <= _MOST_DECIMALS else ".1e"
    if max(below, above) - half < 10.0**-decimals:
        return f"{centre:{form}}{plus_minus}{half:{form}}"
    return f"{centre:{form}}{before_interval}[{low:{form}}, {high:{form}}]"
