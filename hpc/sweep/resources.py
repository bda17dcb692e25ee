"""The resources for which some cells differ from the rest: rules by factor, and what they come to for one cell.

No part of a cell's identity: where it runs, and with how much memory, does not change what it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpc.sweep.cell import FactorValue, Point, check_value
from hpc.sweep.design import MOST_NAMED, Pattern
from hpc.sweep.grid import Grid

# The keys of a profile that a rule may give, in the order in which they are shown. What else a profile says holds for
# every task: cells that train on other devices, or in another environment, could not be compared.
KEYS = ("mem_gb", "timeout_min", "cpus_per_task", "partition", "constraint", "qos", "account")
MOST_RULES = 100
# What is asked for in the place of what the profile says: keys of a profile, in the order of KEYS.
Resources = tuple[tuple[str, int | float | str], ...]


@dataclass(frozen=True)
class ResourceRule:
    """Cells whose levels match ``when`` ask for ``asked`` in the place of what the profile says.

    source: where that comes from, for people; empty where nobody wrote it down.
    """

    when: Pattern
    asked: Resources
    source: str = ""

    @property
    def named(self) -> int:
        """How many levels the rule names."""
        return sum(len(values) for _, values in self.when)

    def to_json(self) -> dict[str, Any]:
        written = {"when": [[name, list(values)] for name, values in self.when], **dict(self.asked)}
        return written | ({"source": self.source} if self.source else {})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ResourceRule:
        """Raises KeyError, TypeError or ValueError if this was not written by to_json."""
        when = tuple((str(name), tuple(check_value(value) for value in values)) for name, values in data["when"])
        asked = ordered({key: check(data[key]) for key, check in _KINDS.items() if key in data})
        return cls(when, asked, str(data.get("source", "")))


def rules_from_json(data: Sequence[Mapping[str, Any]]) -> tuple[ResourceRule, ...]:
    """Raises KeyError, TypeError or ValueError if these were not written by to_json."""
    rules = tuple(map(ResourceRule.from_json, data))
    if fault := too_many_named(rules):
        raise ValueError(fault)
    return rules


def too_many_named(rules: Iterable[ResourceRule]) -> str:
    """That rules name more levels than are looked up; empty if they do not."""
    named = sum(rule.named for rule in rules)
    return f"resources name {named:,} levels, where {MOST_NAMED:,} can be used" if named > MOST_NAMED else ""


def _number(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("resources: a number is none")
    return value


_KINDS = {key: _number if key in ("mem_gb", "timeout_min", "cpus_per_task") else str for key in KEYS}


def ordered(asked: Mapping[str, Any]) -> Resources:
    """What is asked for, in the order of KEYS, so that equal requests are equal values."""
    return tuple((key, asked[key]) for key in KEYS if key in asked)


class Matching:
    """Which rules match a condition, by looking its levels up: there may be a hundred rules of thousands of levels, and
    a hundred thousand conditions. Sets of rules are bits, the first rule's the lowest."""

    def __init__(self, rules: Sequence[ResourceRule]) -> None:
        self._rules = rules
        # Factor -> level -> the rules that do not name other levels of it, and those that match any level.
        self._levels: dict[str, dict[FactorValue | None, int]] = {}
        self._free: dict[str, int] = {}
        self._asked: dict[int, Resources] = {}
        for name in {name for rule in rules for name, _ in rule.when}:
            self._index(name)

    def _index(self, name: str) -> None:
        of_rules = [[set(values) for other, values in rule.when if other == name] for rule in self._rules]
        free = sum(1 << i for i, several in enumerate(of_rules) if not several)
        found: dict[FactorValue | None, int] = {}
        for i, several in enumerate(of_rules):
            for value in set.intersection(*several) if several else ():
                found[value] = found.get(value, free) | 1 << i
        self._levels[name], self._free[name] = found, free

    def of(self, point: Point) -> int:
        """The rules that match a condition; none of a factor that it lacks does."""
        found, levels = (1 << len(self._rules)) - 1, dict(point)
        for name, matching in self._levels.items():
            found &= matching.get(levels.get(name), self._free[name])
        return found

    def resources(self, point: Point) -> Resources:
        """What the cells of a condition ask for beside the profile; nothing where no rule matches. Rules that match say
        no two things of a key, see clash()."""
        matching = self.of(point)
        if matching not in self._asked:
            given = [rule.asked for i, rule in enumerate(self._rules) if matching >> i & 1]
            self._asked[matching] = ordered(dict(itertools.chain(*given)))
        return self._asked[matching]


def text(asked: Iterable[tuple[str, object]]) -> str:
    """`mem_gb 64, timeout_min 600`."""
    return ", ".join(f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}" for key, value in asked)


@dataclass(frozen=True)
class Clash:
    """Two rules, by their positions, that give a condition different values of a key."""

    first: int
    second: int
    key: str
    point: Point


def clash(rules: Sequence[ResourceRule], grid: Grid) -> Clash | None:
    """The first two rules that say different things of one condition of a grid."""
    against = [_differing(rules, i) for i in range(len(rules))]
    if not any(against):
        return None
    found: dict[tuple[int, int], Point] = {}
    for together, point in _together(rules, grid).items():
        if (pair := _first(against, together)) is not None:
            found.setdefault(pair, point)
    if not found:
        return None
    i, j = min(found)
    asked = dict(rules[i].asked)
    key = next(key for key, value in rules[j].asked if asked.get(key, value) != value)
    return Clash(i, j, key, found[i, j])


def _differing(rules: Sequence[ResourceRule], i: int) -> int:
    """The rules after one that give a key of it another value, as bits."""
    asked = dict(rules[i].asked)
    later = ((j, rules[j].asked) for j in range(i + 1, len(rules)))
    return sum(1 << j for j, other in later if any(asked.get(key, value) != value for key, value in other))


def _together(rules: Sequence[ResourceRule], grid: Grid) -> dict[int, Point]:
    """The sets of rules that match a condition, as bits, each with the first such condition."""
    matching, found = Matching(rules), dict[int, Point]()
    for _, point in grid.conditions():
        found.setdefault(matching.of(point), point)
    return found


def _first(against: Sequence[int], together: int) -> tuple[int, int] | None:
    """The first two of some rules of which one is against the other."""
    for i, others in enumerate(against):
        if together >> i & 1 and (both := others & together):
            return i, (both & -both).bit_length() - 1
    return None


def matches_none(rule: ResourceRule, grid: Grid) -> bool:
    """Whether no condition of a grid matches a rule."""
    matching = Matching([rule])
    return not any(matching.of(point) for _, point in grid.conditions())
