"""Types of arrays, and arrays as plain JSON data: what is not finite is null."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
# Lower and upper bounds, of one shape.
Interval = tuple[Floats, Floats]


def number(value: float) -> float | None:
    """A number as JSON has it."""
    return value if math.isfinite(value) else None


def column(values: NDArray[Any]) -> list[Any]:
    """One array as a list."""
    plain = values.tolist()
    if values.dtype.kind != "f":
        return list(plain)
    finite = np.isfinite(values)
    return (
        plain if finite.all() else [value if keep else None for value, keep in zip(plain, finite.tolist(), strict=True)]
    )


def rows(columns: Mapping[str, NDArray[Any]]) -> list[dict[str, Any]]:
    """Arrays of one shape (n,) as n dictionaries."""
    names = list(columns)
    return [dict(zip(names, row, strict=True)) for row in zip(*map(column, columns.values()), strict=True)]
