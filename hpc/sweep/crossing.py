"""One factor of a design against all others: where a level can be compared with another under the same circumstances.

The product of all factors has every level of each in every combination of the others; another design has some of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hpc.sweep.cell import FactorValue, Point

Indices = NDArray[np.int64]
ABSENT = -1


@dataclass(frozen=True)
class Crossing:
    """combinations: of the levels of the other factors that occur, in the order of their product. conditions: position
    of each condition, shape (levels, combinations), ABSENT where the design has none."""

    combinations: tuple[tuple[FactorValue, ...], ...]
    conditions: Indices

    def whole(self, levels: Iterable[int]) -> NDArray[np.bool_]:
        """In which combinations all of these levels are present, shape (combinations,)."""
        return np.asarray((self.conditions[list(levels)] != ABSENT).all(axis=0))


@dataclass(frozen=True)
class Crossings:
    """Of every factor of a design. levels: of each factor; points: the conditions, in the order of the product."""

    levels: tuple[tuple[FactorValue, ...], ...]
    points: Sequence[Point]

    @property
    def full(self) -> bool:
        """Whether every combination of levels is a condition."""
        return len(self.points) == math.prod(map(len, self.levels))

    @cached_property
    def places(self) -> Indices:
        """Of the levels of each condition among those of their factor, shape (conditions, factors)."""
        if self.full:
            return np.indices([len(values) for values in self.levels]).reshape(len(self.levels), -1).T
        known = [{value: i for i, value in enumerate(values)} for values in self.levels]
        rows = [[place[value] for place, (_, value) in zip(known, point, strict=True)] for point in self.points]
        return np.array(rows, dtype=np.int64).reshape(len(rows), len(self.levels))

    def of(self, axis: int) -> Crossing:
        """The factor at a position against the others."""
        return self._each[axis]

    def of_several(self, axes: Sequence[int]) -> tuple[Indices, Crossing]:
        """Factors that move together against the others: the places of their levels in each combination of theirs that
        occurs, shape (combinations of theirs, axes), and the crossing, in which these combinations are the levels."""
        rows, row = np.unique(self.places[:, list(axes)], axis=0, return_inverse=True)
        names, column = self._combinations(axes)
        conditions = np.full((len(rows), len(names)), ABSENT)
        conditions[row.ravel(), column] = np.arange(len(self.points))
        return rows, Crossing(names, conditions)

    @cached_property
    def _each(self) -> tuple[Crossing, ...]:
        return tuple(self._of(axis) for axis in range(len(self.levels)))

    def _of(self, axis: int) -> Crossing:
        names, column = self._combinations([axis])
        conditions = np.full((len(self.levels[axis]), len(names)), ABSENT)
        conditions[self.places[:, axis], column] = np.arange(len(self.points))
        return Crossing(names, conditions)

    def _combinations(self, axes: Sequence[int]) -> tuple[tuple[tuple[FactorValue, ...], ...], Indices]:
        """Combinations of the levels of all factors but these that occur, and which of them each condition has."""
        kept, column = np.unique(np.delete(self.places, list(axes), axis=1), axis=0, return_inverse=True)
        values = [levels for axis, levels in enumerate(self.levels) if axis not in axes]
        return tuple(tuple(values[k][i] for k, i in enumerate(row)) for row in kept.tolist()), column.ravel()
