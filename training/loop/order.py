"""The order in which a cell sees its data: a function of seed, epoch and number of rows, and of nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.model import transfer

# Keeps the orders apart from anything else that may be drawn with numpy from a cell's seed. Weights come from torch.
ORDER_STREAM = 1


def epoch_order(seed: int, epoch: int, order: NDArray[np.int64]) -> None:
    """Write the permutation of 0..rows-1 that a cell with this seed trains on in this epoch (from 0); order: (rows,).

    A resumed cell needs no generator state: its step determines epoch and offset.
    """
    # What Generator.permutation does, without a copy of its result.
    order[:] = np.arange(len(order))
    np.random.default_rng([ORDER_STREAM, seed, epoch]).shuffle(order)


class Batches:
    """Batches for the cells of a pack. Rows that do not fill a batch are left out of the epoch.

    The orders of an epoch lie on the device. On a GPU, those of the next epoch are drawn while this one trains, and
    those of the first, which `step` is in, by all packs of a task at once.
    """

    def __init__(self, seeds: Sequence[int], rows: int, batch: int, device: torch.device, step: int = 0) -> None:
        self._rows, self._batch, self._device = rows, batch, device
        # Cells with the same seed share an order: with 500,000 rows it is 4 MB.
        self._seeds = list(dict.fromkeys(seeds))
        self._order_of = torch.tensor([self._seeds.index(seed) for seed in seeds], device=device)
        self._epoch = -1
        self._ahead: tuple[int, Future[Tensor]] | None = None
        if transfer.queued(device):
            epoch = step // self.steps_per_epoch
            self._ahead = epoch, self._begin(epoch)

    @property
    def steps_per_epoch(self) -> int:
        return self._rows // self._batch

    def between(self, first: int, last: int) -> Tensor:
        """Look-up indices of steps first..last-1, all of one epoch, shape (steps, P * 2 * B).

        For each cell the B rows of attr come first, then those of v, which the tables hold `rows` further on. All three
        steps rely on this order: a cell's indices are one stretch, and its two domains are neighbours.
        """
        epoch = first // self.steps_per_epoch
        if epoch != self._epoch:
            self._orders, self._epoch = self._orders_of(epoch), epoch
        start = (first - epoch * self.steps_per_epoch) * self._batch
        stop = start + (last - first) * self._batch
        steps = self._orders[:, start:stop].view(len(self._seeds), -1, self._batch)
        chosen = steps.index_select(0, self._order_of).transpose(0, 1)
        return torch.stack([chosen, chosen + self._rows], dim=2).flatten(1)

    def _orders_of(self, epoch: int) -> Tensor:
        """The orders of all seeds, shape (seeds, rows), on the device."""
        if not transfer.queued(self._device):
            return self._draw(epoch, torch.empty(len(self._seeds), self._rows, dtype=torch.int64)).to(self._device)
        ahead = self._ahead
        drawing = ahead[1] if ahead and ahead[0] == epoch else self._begin(epoch)
        self._ahead = epoch + 1, self._begin(epoch + 1)
        return drawing.result().to(self._device, non_blocking=True)

    def _begin(self, epoch: int) -> Future[Tensor]:
        """Draw the orders of an epoch in a thread, which ends with that."""
        place = torch.empty(len(self._seeds), self._rows, dtype=torch.int64, pin_memory=True)
        with_one_thread = ThreadPoolExecutor(1, "order")
        drawing = with_one_thread.submit(self._draw, epoch, place)
        with_one_thread.shutdown(wait=False)
        return drawing

    def _draw(self, epoch: int, place: Tensor) -> Tensor:
        for row, seed in zip(place.numpy(), self._seeds, strict=True):
            epoch_order(seed, epoch, row)
        return place
