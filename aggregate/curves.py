"""Training curves: epochs of all cells of one metric on a common axis, and their mean over seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aggregate.statistics import Floats, Integers, describe


@dataclass(frozen=True)
class Curves:
    """One metric over training.

    epochs: shape (epochs,). values: shape (conditions, seeds, epochs), NaN where a cell has no value; nothing is filled
    forward. mean: over the counted seeds present, shape (conditions, epochs). n: how many those are, same shape.
    """

    epochs: Integers
    values: Floats
    mean: Floats
    n: Integers


def curves(position: Integers, epoch: Integers, values: Floats, counted: NDArray[np.bool_]) -> Curves:
    """Arrange one column of histories.

    position: index of the cell in the grid, epoch: counted from 1, values: the metric; all of shape (rows,).
    counted: which cells enter the mean, shape (conditions, seeds). Values that are not finite count as absent.
    """
    epochs, place = np.unique(epoch, return_inverse=True)
    cells = np.full((counted.size, len(epochs)), np.nan)
    cells[position, place] = np.where(np.isfinite(values), values, np.nan)
    arranged = cells.reshape(*counted.shape, len(epochs))
    description = describe(np.where(counted[..., None], arranged, np.nan).swapaxes(1, 2))
    return Curves(epochs, arranged, description.mean, description.n)
