"""Resources that fit what a pilot measured of each condition, in rules by as few factors as tell them apart."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from hpc.slurm.profile import Profile
from hpc.sweep.cell import FactorValue, Point
from hpc.sweep.design import Pattern
from hpc.sweep.grid import Grid
from hpc.sweep.resources import MOST_RULES, ResourceRule, Resources, ordered, too_many_named

# Of what was measured in seconds or one epoch: later epochs, an evaluation at the end or a slower node may take more.
# What needs still more is for `submit --escalate`.
MARGIN = 1.5
# Cells that need the same may show amounts so many times apart: what nodes shared with others were seen to differ by.
_NOISE = 1.25
# How the source of such rules begins. They are of tasks with one cell per worker.
SOURCE = "pilot of"
# The least that is asked for. From there on in steps of a half and a third, so that few arrays differ in little.
_LEAST = {"mem_gb": 1, "timeout_min": 10}


@dataclass(frozen=True)
class Need:
    """What a cell of a condition took, alone.

    seconds: to its end, None if no epoch showed that. host_bytes, device_bytes: peak memory of its processes and on its
    GPU, None if not measured. trouble: why nothing was measured. trained: an epoch or the cell ended; before that, it
    may not have begun to train, and its memory is only the least that it needs.
    """

    condition: str
    seconds: float | None = None
    host_bytes: int | None = None
    device_bytes: int | None = None
    trouble: str = ""
    trained: bool = True


@dataclass(frozen=True)
class Fit:
    """rules: of the conditions that need something else than the profile says. everywhere: what all conditions need."""

    rules: tuple[ResourceRule, ...]
    everywhere: Resources


def fitting(needs: Iterable[Need], grid: Grid, profile: Profile, source: str) -> Fit:
    """What tasks of one cell per worker should ask for. No rule is about a condition of which nothing is known.

    source: where the numbers come from. Raises ValueError if that takes more rules than can be read.
    """
    known = {need.condition: _amounts(need, profile) for need in needs}
    conditions, names = list(grid.conditions()), [axis.name for axis in grid.axes]
    everywhere: dict[str, int | float] = {}
    asked: dict[Pattern, dict[str, int | float]] = {}
    for key, least in _LEAST.items():
        amounts = _without_noise({point: known.get(name, {}).get(key) for name, point in conditions}, names)
        wanted = {point: None if amount is None else _step(amount, least) for point, amount in amounts.items()}
        first = next(iter(wanted.values()))
        if all(value == first for value in wanted.values()):
            everywhere |= {} if first is None else {key: first}
            continue
        said = None if key in profile.settled else profile.parameters.get(key)
        for value, pattern in _patterns(wanted, names):
            if value is not None and value != said:
                asked.setdefault(pattern, {})[key] = value
    rules = tuple(ResourceRule(pattern, ordered(values), source) for pattern, values in asked.items())
    if len(rules) > MOST_RULES:
        raise ValueError(f"{len(rules):,} rules would tell the conditions apart, where {MOST_RULES} can be used")
    if fault := too_many_named(rules):
        raise ValueError(fault)
    return Fit(rules, ordered(everywhere))


def _amounts(need: Need, profile: Profile) -> dict[str, float]:
    """What a task should have, by key of a profile, before that is rounded. It has a cell for each of its workers."""
    found: dict[str, float] = {}
    if need.host_bytes is not None and need.trained and not profile.memory_per:
        found["mem_gb"] = MARGIN * profile.workers * need.host_bytes / 2**30
    if need.seconds is not None:
        delay = profile.signal_delay_s
        found["timeout_min"] = max(MARGIN * need.seconds + delay, 2 * delay) / 60
    return {key: max(amount, _LEAST[key]) for key, amount in found.items()}


def _without_noise(wanted: Mapping[Point, float | None], names: Sequence[str]) -> dict[Point, float | None]:
    """The amounts as if factors did not matter whose levels differ by no more than noise: the largest of these levels.

    Else conditions that need the same could be told apart by a learning rate, where a step lies between them.
    """
    found = dict(wanted)
    for name in names:
        others, most = [other for other in names if other != name], dict[tuple[FactorValue, ...], float]()
        for point, amount in found.items():
            at = _at(point, others)
            most[at] = max(most.get(at, 0.0), amount or 0.0)
        raised = {point: None if amount is None else most[_at(point, others)] for point, amount in found.items()}
        if all(own is None or (raised[point] or 0.0) <= _NOISE * own for point, own in wanted.items()):
            found = raised
    return found


def _step(amount: float, least: int) -> int | float:
    """The smallest step that is enough: 1, 1.5, 2, 3, 4, 6, 8, 12 ... times the least."""
    whole = least
    while whole < amount:
        whole *= 2
    part = 3 * whole / 4
    return whole if part < amount else int(part) if part.is_integer() else part


def _patterns(
    wanted: Mapping[Point, int | float | None], names: Sequence[str]
) -> list[tuple[int | float | None, Pattern]]:
    """Each amount with the conditions that want it, as products of levels of the factors that decide it."""
    factors = _deciding(wanted, names)
    levels: dict[int | float | None, list[tuple[FactorValue, ...]]] = {}
    for point, value in wanted.items():
        levels.setdefault(value, []).append(_at(point, factors))
    return [(value, pattern) for value, rows in levels.items() for pattern in _products(rows, factors)]


def _deciding(wanted: Mapping[Point, Hashable], names: Sequence[str]) -> list[str]:
    """Factors whose levels decide the amount, as far as the conditions show; the first ones where others do as well."""
    kept = list(names)
    for name in reversed(names):
        fewer = [other for other in kept if other != name]
        found: dict[tuple[FactorValue, ...], Hashable] = {}
        if all(found.setdefault(_at(point, fewer), value) == value for point, value in wanted.items()):
            kept = fewer
    return kept


def _at(point: Point, factors: Collection[str]) -> tuple[FactorValue, ...]:
    return tuple(value for name, value in point if name in factors)


def _products(rows: Iterable[tuple[FactorValue, ...]], factors: Sequence[str]) -> list[Pattern]:
    """Products of levels that hold these rows and no others."""
    if not factors:
        return [()]
    rest: dict[FactorValue, dict[tuple[FactorValue, ...], None]] = {}
    for row in rows:
        rest.setdefault(row[0], {})[row[1:]] = None
    alike: dict[tuple[tuple[FactorValue, ...], ...], list[FactorValue]] = {}
    for level, tails in rest.items():
        alike.setdefault(tuple(tails), []).append(level)
    return [
        ((factors[0], tuple(several)), *pattern)
        for tails, several in alike.items()
        for pattern in _products(tails, factors[1:])
    ]
