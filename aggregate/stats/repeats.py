"""Whether two metrics are the same numbers: then a test of the second says nothing new."""

from __future__ import annotations

import numpy as np

from aggregate.arrays import Floats

_A_FEW = 50  # runs
_CLOSE = 1e-9


def repeats(values: Floats, of: Floats, *, bounded: bool) -> tuple[bool, bool]:
    """(whether one metric is a linear function of another in every run, whether it was clipped to [0, 1] beyond that).

    values, of: same shape, NaN where unknown. bounded: values may have been clipped.
    """
    known = np.isfinite(values)
    if not np.array_equal(known, np.isfinite(of)):
        return False, False
    x, y = of[known], values[known]
    inside = (y > 0) & (y < 1) if bounded else np.ones(len(y), dtype=bool)
    if not _differ(x[inside]):
        return bool(np.array_equal(x, y)), False
    low, high = (int(np.flatnonzero(inside)[i]) for i in (np.argmin(x[inside]), np.argmax(x[inside])))
    if y[high] == y[low]:
        return False, False
    for some in (slice(_A_FEW), slice(None)):  # a few runs are enough to tell most metrics apart
        with np.errstate(all="ignore"):
            line = y[low] + (y[high] - y[low]) * ((x[some] - x[low]) / (x[high] - x[low]))
            line = np.clip(line, 0, 1) if bounded else line
            if not np.allclose(line, y[some], rtol=_CLOSE, atol=_CLOSE * float(np.ptp(y))):
                return False, False
    return True, not bool(inside.all())


def _differ(values: Floats) -> bool:
    """Whether there are three different values or more: through any two points there is a line."""
    return bool(values.size and np.any((values > values.min()) & (values < values.max())))
