"""Training curves: epochs of all cells of one metric on a common axis, their mean over seeds and a band for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aggregate.arrays import Floats, Integers
from aggregate.stats.bands import full_points, simultaneous_multiplier
from aggregate.stats.intervals import describe, within_bounds


@dataclass(frozen=True)
class Curves:
    """One metric over training.

    epochs: shape (epochs,). values: shape (conditions, seeds, epochs), NaN where a cell has no value; nothing is filled
    forward. counted: which cells enter means, shape (conditions, seeds). n: how many have a value, mean: of these (a
    geometric mean if ``log``), shape (conditions, epochs). bounded: values lie in [0, 1]. low, high: simultaneous band
    for the mean; NaN below 4 seeds and where fewer seeds than usual are left.
    """

    epochs: Integers
    values: Floats
    counted: NDArray[np.bool_]
    log: bool
    bounded: bool
    n: Integers
    mean: Floats
    low: Floats
    high: Floats

    @property
    def full(self) -> NDArray[np.bool_]:
        """Where the set of seeds is that of the whole condition, shape (conditions, epochs)."""
        return full_points(self.n)


def curves(
    position: Integers,
    epoch: Integers,
    values: Floats,
    counted: NDArray[np.bool_],
    *,
    log: bool = False,
    bounded: bool = False,
    level: float = 0.95,
) -> Curves:
    """Arrange one column of histories.

    position: index of the cell in the grid, epoch: counted from 1, values: the metric; all of shape (rows,).
    counted: which cells enter the mean, shape (conditions, seeds). Values that are not finite count as absent.
    log: means and bands on a logarithmic scale, as suits losses; ignored if a counted value is not above 0.
    bounded: the metric lies in [0, 1], and so does its band.
    """
    epochs, place = np.unique(epoch, return_inverse=True)
    cells = np.full((counted.size, len(epochs)), np.nan)
    cells[position, place] = np.where(np.isfinite(values), values, np.nan)
    return _with_means(epochs, cells.reshape(*counted.shape, len(epochs)), counted, log, bounded, level)


def by_level(found: Curves, conditions: Integers, level: float = 0.95) -> Curves:
    """The curves of one factor's levels: within each seed the mean over all conditions of a level.

    conditions: of each level, in the same combinations of the other factors, shape (levels, combinations). A seed that
    lacks a condition at an epoch has no value there.
    """
    data = np.where(found.counted[..., None], found.values, np.nan)
    means = (np.log(data) if found.log else data)[conditions].mean(axis=1)
    values = np.exp(means) if found.log else means
    everyone = np.ones(values.shape[:2], dtype=bool)
    return _with_means(found.epochs, values, everyone, found.log, found.bounded, level)


def _with_means(
    epochs: Integers, values: Floats, counted: NDArray[np.bool_], log: bool, bounded: bool, level: float
) -> Curves:
    data = np.where(counted[..., None], values, np.nan)
    log = log and not np.any(data <= 0)
    scaled = np.log(data) if log else data
    description = describe(scaled.swapaxes(1, 2))
    n = description.n
    full = full_points(n)
    half = simultaneous_multiplier(scaled, full, level)[:, None] * np.where(full, description.sem, np.nan)
    mean = np.exp(description.mean) if log else description.mean
    if log:
        low, high = np.exp(description.mean - half), np.exp(description.mean + half)
    elif bounded and not np.any((data < 0) | (data > 1)):  # values that contradict their declaration are left alone
        low, high = within_bounds(mean, half)
    else:
        low, high = mean - half, mean + half
    return Curves(epochs, values, counted, log, bounded, n, mean, low, high)
