"""Cells: the only identity a result has.

A cell is a point of the grid (named factor values, in the order of the axes) and a seed. Its name, its directory and
its place in every table follow from these alone; a task ID is only its address inside one submission.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FactorValue = int | float | str
Point = tuple[tuple[str, FactorValue], ...]

# No underscore in a value: names join factors and values by underscores, and two cells must never share a name.
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9.+-]{0,39}")
_FACTOR = re.compile(r"[a-z][a-z0-9_]{0,39}")
# Columns and keys of results, tables and aggregated_results.json, which a factor must not hide.
_RESERVED = {
    "aggregated_metrics",
    "attempts",
    "best_epoch",
    "cause",
    "cell",
    "cell_digest",
    "completeness",
    "condition",
    "condition_id",
    "config_digest",
    "epoch",
    "epochs",
    "individual_results",
    "metrics",
    "n_runs",
    "outcome_digest",
    "provenance",
    "run",
    "run_id",
    "seed",
    "state",
    "status",
}


def check_factor_name(name: str) -> None:
    """Raise ValueError unless ``name`` can stand in cell names and table columns."""
    if not _FACTOR.fullmatch(name):
        raise ValueError("a factor's name is lower-case letters, digits and underscores, beginning with a letter")
    if name in _RESERVED:
        raise ValueError("this name is taken by a column of the results; choose another")


def check_value(value: object) -> FactorValue:
    """The value itself if it can stand in a cell name; raise ValueError saying why not otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("a factor's value must be a plain number or word")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a factor's value must be finite")
    if isinstance(value, int) and abs(value) >= 2**63:
        raise ValueError("a factor's value must be below 2^63")
    if isinstance(value, str) and not _WORD.fullmatch(value):
        raise ValueError("a word is a letter, then up to 39 letters, digits, '.', '+' or '-'")
    return 0.0 if isinstance(value, float) and value == 0 else value


def canonical_json(value: Any) -> str:
    """The one text of a plain JSON value: sorted keys, no spaces, numbers by repr, never NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def digest(value: Any) -> str:
    """SHA-256 of a plain JSON value, 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Cell:
    """One training run: factor values in the order of the axes, the seed, and the seed's position in the list of seeds.

    The position (run_id) stands in the name in place of the seed, as users of numbered runs expect; the list of seeds
    only ever grows, so it never changes.
    """

    point: Point
    seed: int
    run_id: int

    @property
    def condition(self) -> str:
        """Name of the condition, shared by all seeds: ``dim_8_scale_1.0``."""
        return "_".join(f"{name}_{value_text(value)}" for name, value in self.point)

    @property
    def name(self) -> str:
        """Name of the cell and of its directory: ``dim_8_scale_1.0_run_0``."""
        return f"{self.condition}_run_{self.run_id}"

    @property
    def factors(self) -> dict[str, FactorValue]:
        return dict(self.point)

    def to_json(self) -> dict[str, Any]:
        return {"point": [list(pair) for pair in self.point], "seed": self.seed, "run_id": self.run_id}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Cell:
        return cls(tuple((str(n), check_value(v)) for n, v in data["point"]), int(data["seed"]), int(data["run_id"]))


def value_text(value: FactorValue) -> str:
    return value if isinstance(value, str) else repr(value)
