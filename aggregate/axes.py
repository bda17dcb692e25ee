"""Where levels and values lie on an axis: one rule for the figures and for the report's charts. No matplotlib."""

from __future__ import annotations

import numpy as np

from aggregate.declaration import POSITIVE, Factor, Metric
from aggregate.statistics import Floats

_LOG_RANGE = 10.0


def positions(factor: Factor) -> Floats:
    """Where a factor's values lie on its axis: by value, by logarithm if declared so, words side by side."""
    if not factor.numeric:
        return np.arange(len(factor.values), dtype=np.float64)
    values = np.array([float(value) for value in factor.values])
    if not factor.log:
        return values
    # A logarithmic axis has no place for 0 (a loss switched off is a usual level): then the levels stand side by side.
    return np.log10(values) if np.all(values > 0) else np.argsort(np.argsort(values)).astype(np.float64)


def spans_magnitudes(metric: Metric, values: Floats) -> bool:
    """Whether a positive metric's values lie so far apart that only a logarithmic axis shows the small ones."""
    finite = values[np.isfinite(values)]
    wide = finite.size and finite.min() > 0 and finite.max() / _LOG_RANGE >= finite.min()
    return metric.kind == POSITIVE and bool(wide)
