"""Which combinations of the levels of some factors are conditions: all of them, or as a design's rules say."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from hpc.sweep.cell import FactorValue, Point, check_value

if TYPE_CHECKING:
    import numpy as np

# Combinations of which an array is made only to count the conditions, and those of all patterns that are marked in it:
# a second at most.
_MOST_COUNTED, _MOST_MARKED = 10_000_000, 200_000_000
# Levels that all patterns of a design may name together, and all its ties.
MOST_NAMED = 100_000
# A part of a condition: factors in the order of the axes, each with the levels that match.
Pattern = tuple[tuple[str, tuple[FactorValue, ...]], ...]
# Factors that are crossed with the others as one: their positions among the axes, and the places of their levels, a row
# for each combination. Most are one factor with its levels.
Unit = tuple[tuple[int, ...], list[tuple[int, ...]]]


@dataclass(frozen=True)
class Axis:
    """One factor and the values it takes, in order."""

    name: str
    values: tuple[FactorValue, ...]

    def place(self, value: FactorValue) -> int:
        """Where a level lies among the values; types count: 1 and 1.0 have different names. Raises ValueError."""
        try:
            return self._places[type(value), value]
        except KeyError:
            raise ValueError(f"the grid has no level {value} of {self.name}") from None

    @property
    def typed_values(self) -> Set[tuple[type, FactorValue]]:
        """Values as they are told apart: 1 and 1.0 give cells of different names."""
        return self._places.keys()

    @cached_property
    def _places(self) -> dict[tuple[type, FactorValue], int]:
        return {(type(value), value): i for i, value in enumerate(self.values)}


@dataclass(frozen=True)
class Tie:
    """Factors that move together: of the combinations of their levels, these alone are crossed with the other factors.

    factors: two or more, in the order of the axes. rows: a level of each, no two the same.
    """

    factors: tuple[str, ...]
    rows: tuple[tuple[FactorValue, ...], ...]

    def places(self, axes: Sequence[Axis]) -> list[tuple[int, ...]]:
        """The rows as places of the levels among those of their axes. Raises KeyError or ValueError for others."""
        named = {axis.name: axis for axis in axes}
        tied = [named[name] for name in self.factors]
        return [tuple(axis.place(value) for axis, value in zip(tied, row, strict=True)) for row in self.rows]


@dataclass(frozen=True)
class Rules:
    """How a design departs from the product of its axes: the factors of a tie are crossed as one, conditions that match
    a pattern of ``exclude`` are left out, then those of ``include`` are added. A level that only these have is left out
    of the product by a pattern, too.

    A condition is told by its position in the product, the last axis fastest.
    """

    exclude: tuple[Pattern, ...] = ()
    include: tuple[Point, ...] = ()
    ties: tuple[Tie, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.exclude or self.include or self.ties)

    def most(self, axes: Sequence[Axis]) -> int:
        """How many conditions there are at most; counted, not made. Exact, but for single ones of the product, unless
        there are so many combinations that none is looked at: then all of them."""
        units = self.units(axes)
        crossed = math.prod(len(rows) for _, rows in units)
        if crossed <= _MOST_COUNTED and self._marked(axes, units) <= _MOST_MARKED:
            crossed = int(_kept(self, tuple(axes)).sum())
        return crossed + len(self.include)

    @property
    def named(self) -> int:
        """How many levels the patterns name, all together."""
        return sum(len(values) for pattern in self.exclude for _, values in pattern)

    def tie_of(self, name: str) -> Tie | None:
        """The factors that a factor moves together with, and itself; None if it is crossed with all others."""
        return next((tie for tie in self.ties if name in tie.factors), None)

    def _marked(self, axes: Sequence[Axis], units: Sequence[Unit]) -> int:
        """How many combinations the patterns match at most, counted once for each."""
        total = 0
        for pattern in set(self.exclude):
            asked = {name: len(values) for name, values in pattern}
            total += math.prod(
                asked.get(axes[at[0]].name, len(rows)) if len(at) == 1 else len(rows) for at, rows in units
            )
        return total

    def positions(self, axes: Sequence[Axis]) -> tuple[int, ...]:
        """Positions of the conditions, rising."""
        single = (position(axes, places(axes, point)) for point in self.include)
        return tuple(sorted({*self._product(axes), *single}))

    def _product(self, axes: Sequence[Axis]) -> list[int]:
        """Positions of the conditions of the product that no pattern matches."""
        import numpy as np

        kept = _kept(self, tuple(axes))
        # In Python's whole numbers where the positions have more than 63 bits.
        kind = np.int64 if math.prod(len(axis.values) for axis in axes) < 2**63 else object
        strides = [math.prod(len(axis.values) for axis in axes[i + 1 :]) for i in range(len(axes))]
        found = np.zeros(int(kept.sum()), dtype=kind)
        for (at, rows), chosen in zip(self.units(axes), np.nonzero(kept), strict=True):
            steps = [sum(strides[axis] * place for axis, place in zip(at, row, strict=True)) for row in rows]
            found = found + np.array(steps, dtype=kind)[chosen]
        return list(found.tolist())

    def units(self, axes: Sequence[Axis]) -> list[Unit]:
        """What is crossed, in the order of the axes: every factor by its levels, or with those that it moves with."""
        crossed = self._crossed(axes)
        places = {axis.name: i for i, axis in enumerate(axes)}
        units: list[Unit] = []
        for name, at in places.items():
            tie = self.tie_of(name)
            if tie is None:
                units.append(((at,), [(place,) for place in crossed[at]]))
            elif tie.factors[0] == name:
                tied = tuple(places[other] for other in tie.factors)
                allowed = [set(crossed[axis]) for axis in tied]
                rows = [row for row in tie.places(axes) if all(map(set.__contains__, allowed, row))]
                units.append((tied, rows))
        return units

    def _crossed(self, axes: Sequence[Axis]) -> list[list[int]]:
        """Places of the levels of each factor that are crossed with those of the others."""
        never: dict[str, set[FactorValue]] = {}
        for name, values in (pattern[0] for pattern in self.exclude if len(pattern) == 1):
            never.setdefault(name, set()).update(values)
        return [[i for i, value in enumerate(axis.values) if value not in never.get(axis.name, ())] for axis in axes]

    def crossing(self, name: str, values: Sequence[FactorValue]) -> Rules:
        """The same rules where these levels of a factor are crossed with those of the others."""
        kept = (_without(pattern, name, values) if len(pattern) == 1 else pattern for pattern in self.exclude)
        return replace(self, exclude=tuple(pattern for pattern in kept if pattern))

    def check(self, axes: Sequence[Axis]) -> None:
        """Raise ValueError unless the rules name factors and levels of these axes."""
        named = {axis.name: axis for axis in axes}
        for name, values in itertools.chain(*self.exclude):
            if name not in named:
                raise ValueError(f"the grid has no factor {name}, of which it leaves out levels")
            for value in values:
                named[name].place(value)
        for point in self.include:
            places(axes, point)
        self._check_ties(axes)

    def _check_ties(self, axes: Sequence[Axis]) -> None:
        tied = [name for tie in self.ties for name in tie.factors]
        if len(set(tied)) < len(tied) or not set(tied) <= {axis.name for axis in axes}:
            raise ValueError("the factors that move together are not factors of the grid, or are named twice")
        for tie in self.ties:
            if list(tie.factors) != [axis.name for axis in axes if axis.name in tie.factors] or len(tie.factors) < 2:
                raise ValueError("factors that move together are two or more, in the order of the grid")
            if len(set(tie.places(axes))) < len(tie.rows) or not tie.rows:
                raise ValueError(f"{', '.join(tie.factors)} move together in no combination, or in one given twice")

    def to_json(self) -> dict[str, Any]:
        """Nothing of a full product, which is written as it was before there were rules."""
        patterns = [[[name, list(values)] for name, values in pattern] for pattern in self.exclude]
        points = [[list(pair) for pair in point] for point in self.include]
        ties = [{"factors": list(tie.factors), "rows": [list(row) for row in tie.rows]} for tie in self.ties]
        written = {"exclude": patterns, "include": points, "ties": ties}
        return {key: entries for key, entries in written.items() if entries}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Rules:
        """Raises KeyError, TypeError or ValueError if this was not written by to_json."""
        named = sum(len(values) for pattern in data.get("exclude", ()) for _, values in pattern)
        if named > MOST_NAMED:
            raise ValueError(f"exclude names {named:,} levels, where {MOST_NAMED:,} can be used")
        if (tied := sum(len(tie["factors"]) * len(tie["rows"]) for tie in data.get("ties", ()))) > MOST_NAMED:
            raise ValueError(f"ties name {tied:,} levels, where {MOST_NAMED:,} can be used")
        return cls(
            tuple(
                tuple((str(name), tuple(check_value(v) for v in values)) for name, values in pattern)
                for pattern in data.get("exclude", ())
            ),
            tuple(tuple((str(name), check_value(v)) for name, v in point) for point in data.get("include", ())),
            tuple(_tie_from_json(tie) for tie in data.get("ties", ())),
        )


FULL = Rules()


@lru_cache(maxsize=2)  # counted, and then made; and so once more for the first revision
def _kept(rules: Rules, axes: tuple[Axis, ...]) -> np.ndarray:
    """Which combinations of the crossed levels no pattern matches, a dimension per unit. Whole arrays at once: a
    million combinations and a thousand patterns take a second."""
    import numpy as np  # loaded where it is needed: most grids are full products

    units = rules.units(axes)
    kept = np.ones([len(rows) for _, rows in units], dtype=bool)
    named, rows = {axis.name: axis for axis in axes}, [_Rows(axes, unit) for unit in units]
    for pattern in set(rules.exclude):
        if len(pattern) > 1:
            wanted = {name: {named[name].place(value) for value in values} for name, values in pattern}
            kept[np.ix_(*(of_unit.matching(wanted) for of_unit in rows))] = False
    kept.setflags(write=False)
    return kept


class _Rows:
    """The rows of a unit, found by their levels: a thousand patterns over ten thousand rows do not go through them."""

    def __init__(self, axes: Sequence[Axis], unit: Unit) -> None:
        import numpy as np

        at, rows = unit
        self._all = np.arange(len(rows))
        # Factor -> place of its level in every row, and the rows that have it.
        self._places = {axes[axis].name: np.array([row[i] for row in rows], dtype=int) for i, axis in enumerate(at)}
        self._with: dict[str, dict[int, list[int]]] = {name: {} for name in self._places}
        for name, of_rows in self._places.items():
            for n, place in enumerate(of_rows.tolist()):
                self._with[name].setdefault(place, []).append(n)

    def matching(self, wanted: Mapping[str, Set[int]]) -> np.ndarray:
        """Which rows a pattern matches, rising. wanted: by factor, the places of the levels that match."""
        import numpy as np

        asked = {name: wanted[name] for name in self._places if name in wanted}
        if not asked:
            return self._all
        found = [[self._with[name].get(place, ()) for place in levels] for name, levels in asked.items()]
        fewest = min(found, key=lambda several: sum(map(len, several)))
        rows = np.array(sorted(itertools.chain(*fewest)), dtype=int)
        for name, levels in asked.items() if len(asked) > 1 else ():
            rows = rows[np.isin(self._places[name][rows], list(levels))]
        return rows


def _tie_from_json(data: Mapping[str, Any]) -> Tie:
    rows = tuple(tuple(check_value(value) for value in row) for row in data["rows"])
    return Tie(tuple(str(name) for name in data["factors"]), rows)


def places(axes: Sequence[Axis], point: Point) -> tuple[int, ...]:
    """Where the levels of a condition lie among those of their axes. Raises ValueError if it has others."""
    if [name for name, _ in point] != [axis.name for axis in axes]:
        raise ValueError("a condition has other factors than the grid")
    return tuple(axis.place(value) for axis, (_, value) in zip(axes, point, strict=True))


def position(axes: Sequence[Axis], at: Sequence[int]) -> int:
    """Position in the product of what lies at these places."""
    found = 0
    for axis, place in zip(axes, at, strict=True):
        found = found * len(axis.values) + place
    return found


def point_at(axes: Sequence[Axis], position: int) -> Point:
    """The condition at a position in the product."""
    pairs: list[tuple[str, FactorValue]] = []
    for axis in reversed(axes):
        position, place = divmod(position, len(axis.values))
        pairs.append((axis.name, axis.values[place]))
    return tuple(reversed(pairs))


def _without(pattern: Pattern, name: str, values: Sequence[FactorValue]) -> Pattern:
    """A pattern of one factor less some of its levels; empty if none are left."""
    ((factor, levels),) = pattern
    left = tuple(level for level in levels if factor != name or level not in values)
    return ((factor, left),) if left else ()
