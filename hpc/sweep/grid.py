"""The grid: the conditions of a design, times seeds."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hpc.sweep.cell import Cell, FactorValue, Point, check_factor_name, check_value, value_text
from hpc.sweep.design import FULL, Axis, Rules, places, point_at, position

__all__ = ["FIRST_SEED", "Axis", "Grid", "Rules", "levels_text"]

# Of a sweep that names no seeds: 42, 43, ... as the predecessor counted them, so that its runs and ours are comparable.
FIRST_SEED = 42
# A directory's name has at most 255 bytes; the rest is for the number of the run.
_LONGEST_NAME = 240
# Levels that a sentence names; of more, the first of them and how many follow.
_MOST_TOLD, _TOLD = 12, 8


def levels_text(values: Sequence[FactorValue]) -> str:
    """Levels as a sentence names them; drawn ones may be thousands."""
    told = values if len(values) <= _MOST_TOLD else values[:_TOLD]
    more = f" and {len(values) - len(told):,} more" if len(told) < len(values) else ""
    return ", ".join(map(value_text, told)) + more


@dataclass(frozen=True)
class Grid(Sequence[Cell]):
    """All cells of a sweep: conditions in the order of the axes, seeds fastest. Every combination of levels is a
    condition, counted without being made, unless rules say otherwise.

    axes: all levels of every factor, also those that only single conditions have.
    """

    axes: tuple[Axis, ...]
    seeds: tuple[int, ...]
    rules: Rules = FULL

    def __len__(self) -> int:
        return self.size

    @property
    def size(self) -> int:
        """Number of cells, however many; len() ends at 2^63."""
        return self.n_conditions * len(self.seeds)

    @property
    def most(self) -> int:
        """Number of cells at most, however many; known without making conditions."""
        return (self.rules.most(self.axes) if self.rules else self.combinations) * len(self.seeds)

    @property
    def combinations(self) -> int:
        """Number of combinations of levels, whether or not they are conditions."""
        return math.prod(len(axis.values) for axis in self.axes)

    @cached_property
    def n_conditions(self) -> int:
        return len(self._positions) if self.rules else self.combinations

    @cached_property
    def _positions(self) -> Sequence[int]:
        """Of the conditions among all combinations, rising."""
        return self.rules.positions(self.axes) if self.rules else range(self.combinations)

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
        return self.has(cell.point)

    def has(self, point: Point) -> bool:
        """Whether this is a condition; 1 and 1.0 are different levels."""
        try:
            wanted = position(self.axes, places(self.axes, point))
        except ValueError:
            return False
        if not self.rules:
            return True
        at = bisect.bisect_left(self._positions, wanted)
        return at < len(self._positions) and self._positions[at] == wanted

    def conditions(self) -> Iterator[tuple[str, Point]]:
        """Name and point of every condition, in order."""
        for condition in range(self.n_conditions):
            point = self._point(condition)
            yield Cell(point, 0, 0).condition, point

    def _point(self, condition: int) -> Point:
        return point_at(self.axes, self._positions[condition])

    def covers(self, other: Grid) -> bool:
        """Whether every cell of ``other`` is a cell of this grid, under the same name."""
        return (
            [axis.name for axis in self.axes] == [axis.name for axis in other.axes]
            and self.seeds[: len(other.seeds)] == other.seeds
            and (self._covers_product(other) if not self.rules else all(self.has(p) for _, p in other.conditions()))
        )

    def _covers_product(self, other: Grid) -> bool:
        return all(theirs.typed_values <= axis.typed_values for axis, theirs in zip(self.axes, other.axes, strict=True))

    def summary(self) -> str:
        """The axes, how many of their combinations are conditions, and the seeds in one line."""
        axes = [f"{axis.name} {levels_text(axis.values)}" for axis in self.axes]
        return "; ".join(
            [*axes, *([self.share] if self.rules else []), f"{len(self.seeds)} seeds from {self.seeds[0]}"]
        )

    @property
    def share(self) -> str:
        """How many combinations of levels are conditions, in words."""
        return f"{self.n_conditions:,} of {self.combinations:,} combinations"

    def to_json(self) -> dict[str, Any]:
        axes = [[axis.name, list(axis.values)] for axis in self.axes]
        return {"axes": axes, "seeds": list(self.seeds), **self.rules.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Grid:
        """Raises KeyError, TypeError or ValueError if this was not written by to_json."""
        axes = tuple(Axis(str(name), tuple(check_value(v) for v in values)) for name, values in data["axes"])
        grid = cls(axes, tuple(int(seed) for seed in data["seeds"]), Rules.from_json(data))
        grid._check_names()
        grid.rules.check(axes)
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
