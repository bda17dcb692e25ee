"""`draw: {n: 20, seed: 1, ranges: {lr: {min: 1e-4, max: 0.1, log: true}}}`: levels drawn from ranges, by a seed.

The same section gives the same levels everywhere and for good, and a larger n keeps those of a smaller: the random
numbers are of Python's own generator, whose sequence is fixed, and what is made of them is rounded to what differs
visibly. sweep.json has the levels, never the ranges.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hpc.config.design.levels import factor_value
from hpc.config.schema.sweep import DrawSection, RangeSection
from hpc.faults import Faults
from hpc.sweep.cell import FactorValue
from hpc.sweep.definition import DeclaredTrainer
from hpc.sweep.design import Tie
from hpc.sweep.grid import Axis

# Of a real level: what tells draws apart is seen, and no rounding of a machine is.
_DIGITS = 6
# Of a Sobol coordinate; as many as scipy's sequence has.
_BITS = 30
_BLOCK = 256
# Draws for each condition until those that came before are taken for all there are.
_TRIES = 100


@dataclass(frozen=True)
class _Range:
    low: float
    high: float
    log: bool
    whole: bool

    def at(self, share: float) -> int | float:
        """The level at a share of the way, in (0, 1); of whole numbers, each has the same share of a plain range."""
        high = self.high + 1 if self.whole else self.high
        if self.log:
            found = math.exp(math.log(self.low) * (1 - share) + math.log(high) * share)
            digits = _DIGITS - 1 - math.floor(math.log10(found))
        else:
            found = self.low * (1 - share) + high * share
            digits = _DIGITS - 1 - math.floor(math.log10(high - self.low))
        found = math.floor(found) if self.whole else round(found, digits)
        return min(max(found, self.low), self.high)

    @property
    def levels(self) -> float:
        """How many there are: whole numbers, or more than can be drawn."""
        return self.high - self.low + 1 if self.whole else math.inf


def drawn_axes(
    section: DrawSection | None, taken: Collection[str], trainer: DeclaredTrainer, faults: Faults
) -> tuple[list[Axis], tuple[Tie, ...]]:
    """The factors that are drawn, with their levels, and that they move together. Faults are added, not raised.

    taken: factors whose levels are listed.
    """
    if section is None:
        return [], ()
    before = len(faults.lines)
    ranges = {name: _range(name, asked, taken, trainer, faults) for name, asked in section.ranges.items()}
    sound = {name: found for name, found in ranges.items() if found is not None}
    if len(faults.lines) > before:
        return [], ()
    rows = _rows(section, sound, trainer)
    if len(rows) < section.n:
        fix = (
            "draw fewer, or widen sweep.draw.ranges (of 0 and 1, whole numbers are drawn; of 0.0 and 1.0, others, too)"
        )
        faults.value("sweep.draw.n", section.n, f"the ranges have {len(rows):,} different conditions; {fix}")
        return [], ()
    columns = dict(zip(sound, zip(*rows, strict=True), strict=True))
    axes = [Axis(name, tuple(sorted(set(levels)))) for name, levels in columns.items()]
    return axes, (Tie(tuple(columns), tuple(rows)),) if len(columns) > 1 else ()


def _range(
    name: str, asked: RangeSection, taken: Collection[str], trainer: DeclaredTrainer, faults: Faults
) -> _Range | None:
    """The range that a factor is drawn from; None with a fault if it is none."""
    field = f"sweep.draw.ranges.{name}"
    factor = trainer.factors.get(name)
    if factor is None:
        known = ", ".join(trainer.factors) or "none"
        faults.add(field, f"{field}: trainer {trainer.target} has no factor {name!r}; its factors: {known}")
    elif name in taken:
        faults.add(
            field, f"{field}: {name!r} has its levels listed, in the file or with --axis; draw them or list them"
        )
    elif factor["kind"] == "word":
        faults.add(
            field, f"{field}: {name!r} is a word; list its levels in sweep.axes, and all draws are run with each"
        )
    else:
        return _sound_range(field, name, asked, factor, faults)
    return None


def _sound_range(
    field: str, name: str, asked: RangeSection, factor: Mapping[str, Any], faults: Faults
) -> _Range | None:
    ends = []
    for key, raw in (("min", asked.min), ("max", asked.max)):
        try:
            ends.append(float(factor_value(raw, name, factor, False)))
        except ValueError as error:
            faults.value(f"{field}.{key}", raw, str(error))
            return None
    low, high = ends
    log = bool(factor.get("log", False)) if asked.log is None else asked.log
    if low >= high:
        faults.value(f"{field}.max", asked.max, f"it is not above min, {asked.min}; write the smaller end as min")
    elif log and low <= 0:
        faults.value(f"{field}.min", asked.min, "it has no logarithm; write a min above 0, or log: false")
    elif not math.isfinite(high - low) or (factor["kind"] == "integer" and high - low >= 2**53):
        faults.value(f"{field}.max", asked.max, "the range is too wide to draw from; narrow it")
    else:
        return _Range(low, high, log, factor["kind"] == "integer")
    return None


def _rows(
    section: DrawSection, ranges: Mapping[str, _Range], trainer: DeclaredTrainer
) -> list[tuple[FactorValue, ...]]:
    """As many different conditions as are asked for, or all that were found. In the order in which they are drawn."""
    wanted = min(section.n, math.prod(found.levels for found in ranges.values()))
    points = (_sobol if section.method == "sobol" else _random)(section.seed, len(ranges))
    rows: dict[tuple[FactorValue, ...], None] = {}
    for point in itertools.islice(points, _TRIES * (section.n + _TRIES)):
        levels = zip(ranges.items(), point, strict=True)
        rows[tuple(factor_value(r.at(share), name, trainer.factors[name], False) for (name, r), share in levels)] = None
        if len(rows) >= wanted:
            break
    return list(rows)


def _random(seed: int, dimensions: int) -> Iterator[tuple[float, ...]]:
    source = random.Random(seed)
    while True:
        yield tuple(source.random() for _ in range(dimensions))


def _sobol(seed: int, dimensions: int) -> Iterator[tuple[float, ...]]:
    """Sobol's sequence under a digital shift: of each coordinate those bits are flipped that a random number has, which
    keeps how evenly the points lie. scipy's own randomisation may change between versions."""
    from scipy.stats import qmc  # takes a second to load

    source = random.Random(seed)
    shift = [source.getrandbits(_BITS) for _ in range(dimensions)]
    sequence = qmc.Sobol(dimensions, scramble=False, bits=_BITS)
    while True:
        for point in sequence.random(_BLOCK).tolist():
            bits = (int(x * 2**_BITS) ^ flipped for x, flipped in zip(point, shift, strict=True))
            yield tuple((found + 0.5) / 2**_BITS for found in bits)
