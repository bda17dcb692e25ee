"""Types of values that several sections have, and how YAML's are read."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from hpc.errors import shown
from hpc.units import slurm_seconds
from hpc.yaml_files import Unquoted, read_truth


def read_number(value: object) -> object:
    """YAML 1.1 and JSON users write 1e-3 as text; it is read as the number it is."""
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            raise ValueError(value.choice if isinstance(value, Unquoted) else "must be a number") from None
        if isinstance(value, Unquoted) and math.isfinite(number):  # 010
            raise ValueError(value.choice)
        return number
    return value


def read_seconds(value: object) -> object:
    """A number of seconds, or a time as Slurm writes it."""
    seconds = slurm_seconds(value) if isinstance(value, str) else None
    return read_number(value) if seconds is None else seconds


Truth = Annotated[bool, BeforeValidator(read_truth)]
Real = Annotated[float, BeforeValidator(read_number)]
NotNegative = Annotated[Real, Field(ge=0)]
Positive = Annotated[Real, Field(gt=0)]
Count = Annotated[int, Field(ge=1, le=10**12)]
# Options are walked by recursion, here and in json. No configuration comes near this depth.
_DEEPEST = 50


def _plain(value: Any, name: str = "", depth: int = 0) -> Any:
    """Options go to sweep.json and into digests: they must come back from JSON as they went in."""
    if depth > _DEEPEST:
        raise ValueError(f"must be nested less than {_DEEPEST} deep")
    if isinstance(value, dict):
        for key, entry in value.items():
            if not isinstance(key, str):
                raise ValueError(f"key {key!r:.40} of {name or 'the section'} must be text; put it in quotes")
            _plain(entry, f"{name}.{key}" if name else key, depth + 1)
    elif isinstance(value, list):
        for i, entry in enumerate(value):
            _plain(entry, f"{name}[{i}]", depth + 1)
    elif isinstance(value, Unquoted):
        raise ValueError(f"{name} is {value}; {value.choice}")
    elif not isinstance(value, str | int | float | None):
        raise ValueError(f"{name} must be text, a number, a list or a section; put it in quotes")
    elif isinstance(value, int | float) and not -(2**63) < value < 2**63:
        raise ValueError(f"{name} must be a finite number below 2^63")
    return value


Options = Annotated[dict[str, Any], AfterValidator(_plain)]


def entries(value: object, most: int, otherwise: str) -> object:
    """Entries of a design. Raises ValueError unless they are a list, and not too long."""
    if not isinstance(value, list):
        raise ValueError(f"must be a list, such as [{shown(value) if isinstance(value, dict) else '{width: 4}'}]")
    if len(value) > most:
        raise ValueError(f"has {len(value):,} entries, where at most {most:,} are read; {otherwise}")
    return value
