"""The grid: named factors with their levels, crossed, times seeds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hpc.sweep.cell import Cell, FactorValue, Point, check_factor_name, check_value, value_text

# Of a sweep that names no seeds: 42, 43, ... as the predecessor counted them, so that its runs and ours are comparable.
FIRST_SEED = 42
# A directory's name has at most 255 bytes; the rest is for the number of the run.
_LONGEST_NAME = 240


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
        return self.size

    @property
    def size(self) -> int:
        """Number of cells, however many; len() ends at 2^63."""
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
        axes = [f"{axis.name} {', '.join(value_text(value) for value in axis.values)}" for axis in self.axes]
        return "; ".join([*axes, f"{len(self.seeds)} seeds from {self.seeds[0]}"])

    def to_json(self) -> dict[str, Any]:
        return {"axes": [[axis.name, list(axis.values)] for axis in self.axes], "seeds": list(self.seeds)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Grid:
        """Raises KeyError, TypeError or ValueError if this was not written by to_json."""
        axes = tuple(Axis(str(name), tuple(check_value(v) for v in values)) for name, values in data["axes"])
        grid = cls(axes, tuple(int(seed) for seed in data["seeds"]))
        grid._check_names()
        return grid

    def _check_names(self) -> None:
        """Raise ValueError unless every cell has a name of its own, which can be that of a directory."""
        for axis in self.axes:
            check_factor_name(axis.name)
            if len(set(axis.values)) < len(axis.values):
                raise ValueError(f"axis {axis.name!r} has a value twice")
        if len({axis.name for axis in self.axes}) < len(self.axes) or len(set(self.seeds)) < len(self.seeds):
            raise ValueError("the grid has an axis or a seed twice")
        longest = [max(len(value_text(value)) for value in axis.values) + len(axis.name) + 2 for axis in self.axes]
        if sum(longest) > _LONGEST_NAME:
            raise ValueError(f"names of cells have up to {sum(longest)} characters, where {_LONGEST_NAME} can be used")


def _same(a: FactorValue, b: FactorValue) -> bool:
    return type(a) is type(b) and a == b
