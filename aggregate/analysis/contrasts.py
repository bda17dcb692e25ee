"""Contrasts: what one seed says about a factor, as a weighted sum over conditions. Tables in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aggregate.analysis.summary import Summary
from aggregate.arrays import Floats
from aggregate.reading.declared import Factor
from aggregate.wording import value_text
from hpc.sweep.cell import FactorValue
from hpc.sweep.crossing import ABSENT

Mask = NDArray[np.bool_]
_NAMED = 4
_TOLD = 12


@dataclass(frozen=True)
class Block:
    """The part of a grid that a test uses: some levels of one factor, each with the same combinations of the others.

    levels: positions among the factor's values, in their order. conditions: positions in the grid, shape
    (levels, combinations). names: of the combinations, in words: ``synergy loss scale 0.1``; one empty name if there is
    no other factor. notes: what was left out and why, in words. possible: combinations of the design, which has
    all these levels in some of them only if it is apart. why: it has them in none.
    """

    factor: Factor
    levels: tuple[int, ...]
    conditions: NDArray[np.int64]
    names: tuple[str, ...]
    notes: tuple[str, ...]
    possible: int = 0
    apart: bool = False
    why: str = ""

    @property
    def alone(self) -> str:
        """The combination that the test is about, if it is the only one of several that the design has; else empty."""
        return self.names[0] if self.apart and len(self.names) == 1 else ""

    @property
    def values(self) -> tuple[FactorValue, ...]:
        return tuple(self.factor.values[i] for i in self.levels)


def block(summary: Summary, axis: int, wanted: Sequence[int], alive: Mask, planned: Mask) -> Block:
    """wanted: levels that the test is about. alive: conditions with enough runs; planned: those of the first revision;
    others stay out. Both of shape (conditions,).

    Only combinations in which the design has every wanted level are used. A level at which none of them is alive is
    left out, then every combination that lacks a level; if that leaves none, levels go instead.
    """
    factor, found = summary.factors[axis], summary.crossings.of(axis)
    others = [other for i, other in enumerate(summary.factors) if i != axis]
    in_play, possible = comparable(summary, axis, wanted, planned)
    grid = found.conditions[:, in_play]
    names = [_combination(others, found.combinations[c]) for c in np.flatnonzero(in_play).tolist()]
    asked = f"{factor.label} {_told([value_text(factor.values[i]) for i in wanted])}"
    if not names:
        return Block(factor, (), grid, (), (), why=f"no combination of the other factors has {asked}")
    notes = _apart(asked, names, possible)
    living = alive[grid]
    kept = [i for i in wanted if living[i].any()]
    notes += [_level_note(factor, i) for i in wanted if not living[i].any()]
    full = np.asarray(living[kept].all(axis=0)) if kept else np.zeros(grid.shape[1], dtype=bool)
    if full.any() or not kept:
        lost = [name for name, whole in zip(names, full, strict=True) if not whole]
        notes += [f"{name} is left out: {factor.label} lacks a level there" for name in lost if kept]
    else:
        notes += [_level_note(factor, i) for i in kept if not living[i].all()]
        kept = [i for i in kept if living[i].all()]
        full = np.ones(grid.shape[1], dtype=bool)
    names = [name for name, whole in zip(names, full, strict=True) if whole]
    apart = int(in_play.sum()) < possible
    return Block(factor, tuple(kept), grid[kept][:, full], tuple(names), tuple(notes), possible, apart)


def comparable(summary: Summary, axis: int, wanted: Sequence[int], planned: Mask) -> tuple[Mask, int]:
    """In which combinations of the other factors the design has all wanted levels of a factor, shape (combinations,);
    and how many combinations it has with any."""
    conditions = summary.crossings.of(axis).conditions
    meant = (conditions != ABSENT) & planned[conditions]
    some = meant.any(axis=0)
    return np.asarray(meant[list(wanted)].all(axis=0) & some), int(some.sum())


def ordered_levels(summary: Summary, axis: int, planned: Mask, *, logarithm: bool) -> list[int]:
    """Positions of the levels of planned conditions in their order; logarithm: without those that have none."""
    factor = summary.factors[axis]
    places = scale(factor) if logarithm else _places(factor)
    order = np.argsort(places, kind="stable").tolist()
    allowed = set(summary.crossings.places[planned, axis].tolist())
    return [i for i in order if np.isfinite(places[i]) and i in allowed]


def scale(factor: Factor) -> Floats:
    """Where the levels lie on the scale of a slope; a logarithm to base 2 where the factor is declared logarithmic.
    NaN for a level without one: 0, a loss switched off."""
    places = _places(factor)
    if factor.numeric and factor.log:
        return np.log2(places, where=places > 0, out=np.full_like(places, np.nan))
    return places


def without_logarithm(factor: Factor) -> str:
    """What is left out of a slope; empty if nothing."""
    off = [value_text(v) for v, place in zip(factor.values, scale(factor), strict=True) if np.isnan(place)]
    return f"{factor.label} {', '.join(off)} has no logarithm and is not in the slope" if off else ""


def slope_weights(found: Block) -> Floats:
    """Weights of the least-squares slope averaged over combinations, shape (conditions,)."""
    places = scale(found.factor)[list(found.levels)]
    centred = places - places.mean()
    combinations = found.conditions.shape[1]
    return np.repeat(centred / (centred**2).sum() / combinations, combinations)


def slope_unit(factor: Factor) -> str:
    if not factor.numeric:
        return f"step of {factor.label}"
    return f"{'doubling' if factor.log else 'unit'} of {factor.label}"


def _places(factor: Factor) -> Floats:
    if factor.numeric:
        return np.array([float(value) for value in factor.values])
    return np.arange(len(factor.values), dtype=np.float64)


def _combination(others: Sequence[Factor], values: Sequence[FactorValue]) -> str:
    pairs = zip(others, values, strict=True)
    return ", ".join(f"{factor.label} {value_text(value)}" for factor, value in pairs)


def _apart(asked: str, names: Sequence[str], combinations: int) -> list[str]:
    """That a design has the levels that are asked for in these of its combinations alone, if it is so."""
    if len(names) == combinations:
        return []
    where = "; ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else "")
    return [f"{asked} are all there in {len(names):,} of {combinations:,} combinations of the other factors: {where}"]


def _told(levels: Sequence[str]) -> str:
    """Levels as a reason names them; drawn ones may be thousands."""
    more = f" and {len(levels) - _TOLD:,} more" if len(levels) > _TOLD else ""
    return ", ".join(levels[:_TOLD]) + more


def _level_note(factor: Factor, level: int) -> str:
    return f"{factor.label} {value_text(factor.values[level])} is left out: fewer than two of its runs have a result"
