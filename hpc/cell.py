"""Cells: the only identity a result has.

A cell is a point of the grid (named factor values, in the order of the axes) and a seed. Its name, its directory and
its place in every table follow from these alone; a task ID is only its address inside one submission.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
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
        return "_".join(f"{name}_{_value_text(value)}" for name, value in self.point)

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


def _value_text(value: FactorValue) -> str:
    return value if isinstance(value, str) else repr(value)


@dataclass(frozen=True)
class Axis:
    """One factor and the values it takes, in order."""

    name: str
    values: tuple[FactorValue, ...]


@dataclass(frozen=True)
class Grid(Sequence[Cell]):
    """All cells of a sweep, counted without being made: conditions in the order of the axes, seeds fastest."""

    axes: tuple[Axis, ...]
    seeds: tuple[int, ...]

    def __len__(self) -> int:
        return self.n_conditions * len(self.seeds)

    @cached_property
    def n_conditions(self) -> int:
        return math.prod(len(axis.values) for axis in self.axes)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        condition, run_id = divmod(index % len(self), len(self.seeds))
        return Cell(self._point(condition), self.seeds[run_id], run_id)

    def __iter__(self) -> Iterator[Cell]:
        for condition in range(self.n_conditions):
            point = self._point(condition)
            for run_id, seed in enumerate(self.seeds):
                yield Cell(point, seed, run_id)

    def __contains__(self, cell: object) -> bool:
        if not isinstance(cell, Cell) or not 0 <= cell.run_id < len(self.seeds):
            return False
        if self.seeds[cell.run_id] != cell.seed:
            return False
        return len(cell.point) == len(self.axes) and all(
            name == axis.name and any(_same(value, v) for v in axis.values)
            for (name, value), axis in zip(cell.point, self.axes, strict=True)
        )

    def conditions(self) -> Iterator[tuple[str, Point]]:
        """Name and point of every condition, in order."""
        for condition in range(self.n_conditions):
            point = self._point(condition)
            yield Cell(point, 0, 0).condition, point

    def _point(self, condition: int) -> Point:
        pairs: list[tuple[str, FactorValue]] = []
        for axis in reversed(self.axes):
            condition, position = divmod(condition, len(axis.values))
            pairs.append((axis.name, axis.values[position]))
        return tuple(reversed(pairs))

    def covers(self, other: Grid) -> bool:
        """Whether every cell of ``other`` is a cell of this grid, under the same name."""
        return (
            [axis.name for axis in self.axes] == [axis.name for axis in other.axes]
            and self.seeds[: len(other.seeds)] == other.seeds
            and all(
                {(type(value), value) for value in theirs.values} <= {(type(value), value) for value in axis.values}
                for axis, theirs in zip(self.axes, other.axes, strict=True)
            )
        )

    def summary(self) -> str:
        """The axes and seeds in one line."""
        axes = [f"{axis.name} {', '.join(_value_text(value) for value in axis.values)}" for axis in self.axes]
        return "; ".join([*axes, f"{len(self.seeds)} seeds from {self.seeds[0]}"])

    def to_json(self) -> dict[str, Any]:
        return {"axes": [[axis.name, list(axis.values)] for axis in self.axes], "seeds": list(self.seeds)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Grid:
        axes = tuple(Axis(str(name), tuple(check_value(v) for v in values)) for name, values in data["axes"])
        return cls(axes, tuple(int(seed) for seed in data["seeds"]))


def _same(a: FactorValue, b: FactorValue) -> bool:
    return type(a) is type(b) and a == b
