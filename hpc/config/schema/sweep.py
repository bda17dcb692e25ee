"""The section sweep: which conditions there are, and with which seeds."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from hpc.config.schema.values import Count, Truth, entries, read_number
from hpc.errors import shown
from hpc.faults import Section


def _no_number(value: object) -> object:
    """One number could be how many seeds there are, or the only one."""
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueError(f"write runs_per_condition: {value} for so many seeds, or [{value}] for the only one")
    return value


# Every revision of sweep.json repeats these entries.
_MOST_PARTS, _MOST_SINGLES = 1000, 2000


def _parts(value: object) -> object:
    return entries(value, _MOST_PARTS, "one entry can name several levels, as in {width: [64, 256]}")


def _singles(value: object) -> object:
    return entries(value, _MOST_SINGLES, "cross levels in sweep.axes, and leave out with sweep.exclude")


def _groups(value: object) -> object:
    """Groups of factors. Raises ValueError for what is more likely one group, without the brackets around it."""
    if isinstance(value, list) and value and all(isinstance(name, str) for name in value):
        raise ValueError(f"each group of factors is a list of its own: [{shown(value)}]")
    if not isinstance(value, list):
        raise ValueError("must be a list of groups of factors, such as [[width, depth]]")
    return value


def _both_ends(value: object) -> object:
    """Raises ValueError for what is no section: a list may be two ends, or levels to choose from."""
    if not isinstance(value, dict | RangeSection):
        raise ValueError("write {min: 0.001, max: 0.1, log: true}; a list of levels stands in sweep.axes")
    return value


def _end(value: object) -> object:
    """A finite number, whole or not: that decides what is drawn."""
    number = read_number(value)
    if not isinstance(number, int | float):
        raise ValueError("must be a number")
    if not -(2**63) < number < 2**63 and not isinstance(number, float):
        raise ValueError("must be below 2^63")
    if not math.isfinite(number):
        raise ValueError("must be finite")
    return number


class RangeSection(Section):
    """What a factor is drawn from. log: evenly on a logarithmic scale; default: as the factor is declared."""

    min: Annotated[Any, AfterValidator(_end)]
    max: Annotated[Any, AfterValidator(_end)]
    log: Truth | None = None


class DrawSection(Section):
    """n conditions drawn from ranges by a seed."""

    n: Annotated[int, Field(ge=1, le=10_000)]
    method: Literal["random", "sobol"] = "sobol"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    ranges: Annotated[dict[str, Annotated[RangeSection, BeforeValidator(_both_ends)]], Field(min_length=1)]


class SweepSection(Section):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")] = "sweep"
    dims: list[Any] | None = None
    scales: list[Any] | None = None
    axes: dict[str, list[Any]] | None = None
    zip: Annotated[list[list[str]], BeforeValidator(_groups)] = Field(default_factory=list)
    draw: DrawSection | None = None
    when: dict[str, dict[str, Any]] = Field(default_factory=dict)
    exclude: Annotated[list[dict[str, Any]], BeforeValidator(_parts)] = Field(default_factory=list)
    include: Annotated[list[dict[str, Any]], BeforeValidator(_singles)] = Field(default_factory=list)
    runs_per_condition: Count | None = None
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**63)]] | None, BeforeValidator(_no_number)] = None
