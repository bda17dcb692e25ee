"""Contrasts: what one seed says about a factor, as a weighted sum over conditions. Tables in, numbers out."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aggregate.arrays import Floats
from aggregate.reading.declared import Factor
from aggregate.wording import value_text
from hpc.sweep.cell import FactorValue

Levels = Mapping[str, Sequence[FactorValue]]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Block:
    """The part of a grid that a test uses: some levels of one factor, each with the same combinations of the others.

    levels: positions among the factor's values, in their order. conditions: positions in the grid, shape
    (levels, combinations). notes: what was left out and why, in words.
    """

    factor: Factor
    levels: tuple[int, ...]
    conditions: NDArray[np.int64]
    notes: tuple[str, ...]

    @property
    def values(self) -> tuple[FactorValue, ...]:
        return tuple(self.factor.values[i] for i in self.levels)


def block(factors: Sequence[Factor], axis: int, wanted: Sequence[int], alive: Mask, planned: Levels) -> Block:
    """wanted: levels that the test is about. alive: conditions with enough runs, shape (conditions,).

    A level at which no combination is alive is left out, then every combination that lacks a level; if that leaves
    none, levels go instead. planned: levels of the first revision, by factor; combinations of later ones stay out.
    """
    shape = tuple(len(factor.values) for factor in factors)
    grid = np.moveaxis(np.arange(np.prod(shape, dtype=int)).reshape(shape), axis, 0).reshape(shape[axis], -1)
    others = [factor for i, factor in enumerate(factors) if i != axis]
    every = list(itertools.product(*(factor.values for factor in others)))
    in_play = np.array([_planned(others, values, planned) for values in every], dtype=bool)
    grid, factor = grid[:, in_play], factors[axis]
    names = [_combination(others, every[c]) for c in np.flatnonzero(in_play).tolist()]
    living = alive[grid]
    kept = [i for i in wanted if living[i].any()]
    notes = [_level_note(factor, i) for i in wanted if i not in kept]
    full = np.asarray(living[kept].all(axis=0)) if kept else np.zeros(grid.shape[1], dtype=bool)
    if full.any() or not kept:
        lost = [name for name, whole in zip(names, full, strict=True) if not whole]
        notes += [f"{name} is left out: {factor.label} lacks a level there" for name in lost if kept]
    else:
        notes += [_level_note(factor, i) for i in kept if not living[i].all()]
        kept = [i for i in kept if living[i].all()]
        full = np.ones(grid.shape[1], dtype=bool)
    return Block(factor, tuple(kept), grid[kept][:, full], tuple(notes))


def ordered_levels(factor: Factor, planned: Levels, *, logarithm: bool) -> list[int]:
    """Positions of the planned levels in their order; logarithm: without those that have none."""
    places = scale(factor) if logarithm else _places(factor)
    order = np.argsort(places, kind="stable").tolist()
    allowed = planned.get(factor.name, factor.values)
    return [i for i in order if np.isfinite(places[i]) and factor.values[i] in allowed]


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


def combinations(factors: Sequence[Factor], axis: int, found: Block) -> list[str]:
    """Names of the combinations of a block: ``synergy loss scale 0.1``; empty if there is no other factor."""
    points = list(itertools.product(*(factor.values for factor in factors)))
    others = [factor for i, factor in enumerate(factors) if i != axis]
    kept = [points[condition] for condition in found.conditions[0].tolist()]
    return [_combination(others, [*point[:axis], *point[axis + 1 :]]) for point in kept]


def _combination(others: Sequence[Factor], values: Sequence[FactorValue]) -> str:
    pairs = zip(others, values, strict=True)
    return ", ".join(f"{factor.label} {value_text(value)}" for factor, value in pairs)


def _planned(others: Sequence[Factor], values: Sequence[FactorValue], planned: Levels) -> bool:
    pairs = zip(others, values, strict=True)
    return all(value in planned.get(factor.name, factor.values) for factor, value in pairs)


def _level_note(factor: Factor, level: int) -> str:
    return f"{factor.label} {value_text(factor.values[level])} is left out: fewer than two of its runs have a result"
