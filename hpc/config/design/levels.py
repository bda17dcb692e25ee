"""The levels of one factor, from what a configuration or a command line says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hpc.config.schema.values import read_number
from hpc.faults import Faults, several
from hpc.sweep.cell import FactorValue, check_value
from hpc.sweep.grid import Axis
from hpc.yaml_files import Unquoted

# What faults call the values of these axes.
_VALUE_NOUNS = {"dim": "a workspace dimension", "scale": "a loss scale"}


def axis_values(
    key: str,
    name: str,
    values: list[Any],
    factor: Mapping[str, Any],
    faults: Faults,
    truths: bool,
    *,
    repeated: bool = False,
) -> tuple[FactorValue, ...]:
    """The values of a factor that are listed under a key; of faults, one each. repeated: a value may be there twice."""
    checked: list[FactorValue] = []
    seen: set[object] = set()
    for i, raw in enumerate(values):
        try:
            value = factor_value(raw, name, factor, truths)
        except ValueError as error:
            more = f"; write each of several, as in {written}" if (written := several(raw)) else ""
            faults.value(f"{key}[{i}]", raw, f"{error}{more}")
            continue
        if value in seen and not repeated:
            faults.value(f"{key}[{i}]", raw, "this value is given twice; remove one")
        seen.add(value)
        checked.append(value)
    return tuple(checked)


def factor_value(raw: Any, name: str, factor: Mapping[str, Any], truths: bool) -> FactorValue:
    """One level of a factor that is declared so. Raises ValueError saying why it cannot be one.

    truths: true and false are words, as for a command; in Python the text false would count as true.
    """
    kind, minimum = factor["kind"], factor.get("minimum")
    noun = _VALUE_NOUNS.get(name, f"{name!r}")
    if kind == "word":
        if isinstance(raw, bool) and truths:
            return check_value("true" if raw else "false")
        if not isinstance(raw, str):
            raise ValueError(f"{noun} must be a word; put it in quotes")
        return check_value(str(raw))
    try:
        value = read_number(raw)
    except ValueError as error:
        raise ValueError(str(error) if isinstance(raw, Unquoted) else f"{noun} must be a number") from None
    if not isinstance(value, int | float):
        raise ValueError(f"{noun} must be a number")
    if not math.isfinite(value if isinstance(value, float) else 0):
        raise ValueError(f"{noun} must be finite")
    # Tables hold factors as 64-bit integers.
    if abs(value) >= 2**63 and (kind == "integer" or isinstance(value, int)):
        raise ValueError(f"{noun} must be below 2^63")
    if kind == "integer" and (isinstance(value, float) and not value.is_integer()):
        raise ValueError(f"{noun} must be a whole number")
    if minimum is not None and value < minimum:
        raise ValueError(f"{noun} must be {minimum} or more")
    return check_value(int(value) if kind == "integer" else float(value))


def longer(axis: Axis, added: Sequence[FactorValue]) -> Axis:
    """An axis with more values: in order if it was in order, else at its end."""
    values = [*axis.values, *dict.fromkeys(value for value in added if value not in axis.values)]
    numeric = not any(isinstance(value, str) for value in values)
    if numeric and list(axis.values) == sorted(axis.values):
        values.sort()
    return Axis(axis.name, tuple(values))
