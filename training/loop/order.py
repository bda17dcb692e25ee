"""The order in which a cell sees its data: a function of seed, epoch and number of rows, and of nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Keeps the orders apart from anything else that may be drawn with numpy from a cell's seed. Weights come from torch.
ORDER_STREAM = 1


def epoch_order(seed: int, epoch: int, rows: int) -> NDArray[np.int64]:
    """The permutation of 0..rows-1 that a cell with this seed trains on in this epoch (from 0), shape (rows,).

    A resumed cell needs no generator state: its step determines epoch and offset.
    """
    return np.random.default_rng([ORDER_STREAM, seed, epoch]).permutation(rows)


class Batches:
    """Batches for the cells of a pack. Rows that do not fill a batch are left out of the epoch."""

    def __init__(self, seeds: Sequence[int], rows: int, batch: int, device: torch.device) -> None:
        self._seeds, self._rows, self._batch, self._device = seeds, rows, batch, device
        self._epoch = -1
        self._orders: dict[int, NDArray[np.int64]] = {}

    @property
    def steps_per_epoch(self) -> int:
        return self._rows // self._batch

    def between(self, first: int, last: int) -> Tensor:
        """Look-up indices of steps first..last-1, all of one epoch, shape (steps, P * 2 * B).

        For each cell the B rows of attr come first, then those of v, which the tables hold `rows` further on. All three
        steps rely on this order: a cell's indices are one stretch, and its two domains are neighbours.
        """
        epoch = first // self.steps_per_epoch
        # One epoch at a time: an order of 500,000 rows is 4 MB. Cells with the same seed share it.
        if epoch != self._epoch:
            self._orders = {seed: epoch_order(seed, epoch, self._rows) for seed in set(self._seeds)}
            self._epoch = epoch
        start = (first - epoch * self.steps_per_epoch) * self._batch
        stop = start + (last - first) * self._batch
        chosen = np.stack([self._orders[seed][start:stop].reshape(-1, self._batch) for seed in self._seeds], axis=1)
        both = np.stack([chosen, chosen + self._rows], axis=2)
        return torch.from_numpy(both.reshape(last - first, -1)).to(self._device)
