"""Contrasts: what one seed says about a factor, as a weighted sum over conditions. Tables in, numbers out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aggregate.declaration import Factor
from aggregate.statistics import Floats, without_rounding
from hpc.sweep.cell import FactorValue

SLOPE, INTERACTION = "slope", "interaction"
Levels = Mapping[str, Sequence[FactorValue]]


@dataclass(frozen=True)
class Contrast:
    """kind: slope of a factor, or interaction of two.

    unit: what the estimate is per, in words. weights: shape (conditions,). used: which conditions a seed must have,
    same shape. groups: for a slope, weights that average the conditions of each level, in the order of the levels,
    shape (levels, conditions); None for an interaction.
    note: what was left out, in words; empty if nothing.
    """

    kind: str
    factors: tuple[Factor, ...]
    unit: str
    weights: Floats
    used: NDArray[np.bool_]
    groups: Floats | None
    note: str = ""


def contrasts(factors: Sequence[Factor], only: Levels | None = None) -> Iterator[Contrast]:
    """A slope for every factor whose levels have an order and distances, an interaction for every two of them.

    only: levels that take part, by factor; None: all. A factor with fewer than two such levels has no contrast.
    """
    scales = [_scale(factor, None if only is None else only.get(factor.name, ())) for factor in factors]
    axes = [axis for axis, scale in enumerate(scales) if _has_slope(factors[axis], scale)]
    for axis in axes:
        yield _contrast(factors, scales, (axis,))
    for pair in itertools.combinations(axes, 2):
        yield _contrast(factors, scales, pair)


def per_seed(contrast: Contrast, values: Floats) -> Floats:
    """The contrast of every seed. values: shape (conditions, seeds). Returns shape (seeds,).

    NaN for a seed that lacks a condition: a slope over another set of conditions would be another quantity.
    A factor without any effect gives exactly 0, and seeds that agree one number.
    """
    weights, used = contrast.weights[contrast.used], values[contrast.used]
    with np.errstate(over="ignore", invalid="ignore"):
        rounding = len(weights) * np.finfo(np.float64).eps * (np.abs(weights) @ np.abs(used))
        return without_rounding(weights @ used, rounding)


def level_means(contrast: Contrast, values: Floats) -> Floats:
    """Mean of every level within each seed that has all conditions, shape (seeds, levels); for Page's test."""
    if contrast.groups is None:
        return np.empty((0, 0))
    with np.errstate(over="ignore", invalid="ignore"):
        means = (contrast.groups[:, contrast.used] @ values[contrast.used]).T
    return means[np.isfinite(means).all(axis=1)]


def _scale(factor: Factor, only: Sequence[FactorValue] | None) -> Floats:
    """Where the levels lie on the scale of the slope; NaN for a level that takes no part.

    A logarithm to base 2 where the factor is declared logarithmic; 0, a loss switched off, has none.
    """
    if not factor.numeric:
        places = np.arange(len(factor.values), dtype=np.float64)
    else:
        places = np.array([float(value) for value in factor.values])
        if factor.log:
            places = np.log2(places, where=places > 0, out=np.full_like(places, np.nan))
    if only is not None:
        places[[value not in only for value in factor.values]] = np.nan
    return places


def _has_slope(factor: Factor, scale: Floats) -> bool:
    return factor.ordered and len(np.unique(scale[np.isfinite(scale)])) > 1


def _contrast(factors: Sequence[Factor], scales: Sequence[Floats], axes: tuple[int, ...]) -> Contrast:
    shape = tuple(len(factor.values) for factor in factors)
    used, product = np.ones(shape, dtype=bool), np.ones(shape)
    for axis, (factor, scale) in enumerate(zip(factors, scales, strict=True)):
        # A level without a logarithm is left out of the slope of its own factor only.
        in_play = np.isfinite(scale) if axis in axes else _planned(factor, scale)
        view = [np.newaxis if other != axis else slice(None) for other in range(len(shape))]
        used &= in_play[tuple(view)]
        if axis in axes:
            centred = np.where(np.isfinite(scale), scale - np.nanmean(scale), 0.0)
            product = product * centred[tuple(view)]
    weights = np.where(used, product, 0.0).ravel()
    chosen = tuple(factors[axis] for axis in axes)
    return Contrast(
        kind=SLOPE if len(axes) == 1 else INTERACTION,
        factors=chosen,
        unit=" and ".join(_unit(factor) for factor in chosen),
        weights=weights / (weights**2).sum(),
        used=used.ravel(),
        groups=_groups(used, scales[axes[0]], axes[0]) if len(axes) == 1 else None,
        note="; ".join(filter(None, (_left_out(factors[axis], scales[axis]) for axis in axes))),
    )


def _planned(factor: Factor, scale: Floats) -> NDArray[np.bool_]:
    """Levels of another factor over which a slope is averaged: all, but those added later."""
    off = np.array([factor.log and not isinstance(value, str) and value <= 0 for value in factor.values])
    return np.asarray(np.isfinite(scale) | off)


def _groups(used: NDArray[np.bool_], scale: Floats, axis: int) -> Floats:
    rows = []
    for level in [int(i) for i in np.argsort(scale) if np.isfinite(scale[i])]:
        here = np.zeros(used.shape)
        np.moveaxis(here, axis, 0)[level] = 1.0
        chosen = (here * used).ravel()
        rows.append(chosen / chosen.sum())
    return np.array(rows)


def _unit(factor: Factor) -> str:
    if not factor.numeric:
        return f"step of {factor.label}"
    return f"{'doubling' if factor.log else 'unit'} of {factor.label}"


def _left_out(factor: Factor, scale: Floats) -> str:
    absent = [value for value, place in zip(factor.values, scale, strict=True) if np.isnan(place)]
    off = [value for value in absent if factor.log and not isinstance(value, str) and value <= 0]
    return f"{factor.label} {', '.join(map(str, off))} has no logarithm and is not in the slope" if off else ""
