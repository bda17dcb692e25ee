"""The losses of a pack: their gradient at each step, their running sums, their value once per epoch.

Loss of a cell = sum over the slots (routes.py) of weight * mean over the domains of the mean squared error of
the base features; in the fused slot attr adds loss_scale * cross entropy of the synergy logits. Sums are kept per
slot and place in the batch and are reduced once per epoch, cell by cell and in float64, so that a step contains no
reduction and a cell's numbers do not depend on its pack.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.model.routes import FUSED, Routes
from training.model.rows import OUTPUTS
from training.model.settings import DOMAINS, FEATURES, Settings
from training.model.tables import LOGITS
from training.model.transfer import reduced_together
from training.shapes.distribution import BINS, RANDOM_FEATURE, SIZE_FEATURE


def feature_weights(routes: Routes, source_weight: float) -> NDArray[np.float64]:
    """Weight of each squared error of one sample in the loss, shape (slots, 2, OUTPUTS); 0 beyond the base features.

    source_weight: weight of the target's two sources in the fused slot, where every other feature has 1.
    """
    weights = np.zeros((len(routes.slots), len(DOMAINS), OUTPUTS))
    for position, (slot, weight) in enumerate(zip(routes.slots, routes.weights, strict=True)):
        for domain, features in enumerate(FEATURES.values()):
            weights[position, domain, :features] = weight / (len(DOMAINS) * features)
        if slot == FUSED:
            weights[position, 0, RANDOM_FEATURE] *= source_weight
            weights[position, 1, SIZE_FEATURE] *= source_weight
    return weights


def synergy_weight(routes: Routes, loss_scale: float) -> float:
    """Weight of the cross entropy of one sample in the loss; 0 without a fused slot."""
    fused = sum(weight for slot, weight in zip(routes.slots, routes.weights, strict=True) if slot == FUSED)
    return fused * loss_scale / len(DOMAINS)


def loss_value(
    routes: Routes, source_weight: float, scale: float, squares: NDArray[np.float64], cross_entropy: float
) -> float:
    """The loss from means over samples: squares (slots, 2, OUTPUTS) of the squared errors, the cross entropy."""
    base = float((feature_weights(routes, source_weight) * squares).sum())
    return base + synergy_weight(routes, scale) * cross_entropy


def gradient_factors(settings: Settings, routes: Routes, scales: Sequence[float]) -> NDArray[np.float64]:
    """What each residual is multiplied by to be the gradient of a cell's loss, shape (P, 2, slots, OUTPUTS)."""
    # 2 from the derivative of a square. The logits have no such factor: softmax and cross entropy give p - one-hot.
    factors = np.tile(2.0 * feature_weights(routes, settings.source_weight), (len(scales), 1, 1, 1))
    if FUSED in routes.slots:
        for row, scale in enumerate(scales):
            factors[row, routes.slots.index(FUSED), 0, LOGITS] = synergy_weight(routes, scale)
    # Domain before slot, as the outputs lie: decoders of one domain decode all slots in one product.
    return factors.swapaxes(1, 2) / settings.batch_size


class Losses:
    """The gradient of the loss with respect to the outputs for batches of B rows, and the sums for the training loss.

    squares: running (P, 2, slots, B, OUTPUTS) of squared residuals; cross_entropy: running (P, B, 8). Both are part
    of a cell's resume state and are added to in place.
    """

    def __init__(
        self,
        settings: Settings,
        routes: Routes,
        scales: Sequence[float],
        squares: Tensor,
        cross_entropy: Tensor,
    ) -> None:
        self._fused = routes.slots.index(FUSED) if FUSED in routes.slots else None
        by_domain = torch.from_numpy(gradient_factors(settings, routes, scales)).to(squares).unsqueeze(3).contiguous()
        self._direct = slice(0, len(routes.direct))
        self._cycle = slice(len(routes.direct), len(routes.slots))
        self._factors, self._squares, self._cross_entropy = by_domain, squares, cross_entropy

    def gradient(self, direct: Tensor, cycle: Tensor | None, targets: Tensor) -> None:
        """Replace outputs by the gradient with respect to them.

        direct: (P, 2, K, B, OUTPUTS). cycle: (P, 2, 1, B, OUTPUTS). targets: (P, 2, B, OUTPUTS).
        The derivative of softmax and cross entropy is probability - one-hot, that of a squared error twice the
        residual: with probabilities in place of the logits, one subtraction serves both.
        """
        if self._fused is not None:
            logits = direct[:, 0, self._fused, :, LOGITS]
            # The logarithm first: a probability that rounds to 0 would have none.
            log_probabilities = torch.log_softmax(logits, dim=-1)
            self._cross_entropy.addcmul_(log_probabilities, targets[:, 0, :, LOGITS], value=-1.0)
            torch.exp(log_probabilities, out=logits)
        self._residuals(direct, targets, self._direct)
        if cycle is not None:
            self._residuals(cycle, targets, self._cycle)

    def _residuals(self, outputs: Tensor, targets: Tensor, slots: slice) -> None:
        # The columns of the logits are squared too: leaving them out would cost a copy, and their weight is 0.
        outputs.sub_(targets.unsqueeze(2))
        self._squares[:, :, slots].addcmul_(outputs, outputs)
        outputs.mul_(self._factors[:, :, slots])


def new_sums(cells: int, slots: int, batch: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Empty running sums (squares, cross entropy) for `cells` cells."""
    return like.new_zeros(cells, len(DOMAINS), slots, batch, OUTPUTS), like.new_zeros(cells, batch, BINS)


def mean_losses(
    settings: Settings, routes: Routes, scales: Sequence[float], squares: Tensor, cross_entropy: Tensor, steps: int
) -> list[float]:
    """Each cell's training loss over `steps` steps, from the running sums of a pack. One wait for a GPU."""
    samples = steps * squares.shape[3]
    found: list[float] = []
    for rows in reduced_together(squares):
        means = squares[rows].double().sum(dim=3).div(samples)
        entropies = cross_entropy[rows].double().flatten(1).sum(dim=1, keepdim=True)
        table = torch.cat([means.flatten(1), entropies], dim=1).cpu().numpy()
        for scale, row in zip(scales[rows], table, strict=True):
            by_slot = row[:-1].reshape(means.shape[1:]).swapaxes(0, 1)
            found.append(loss_value(routes, settings.source_weight, scale, by_slot, float(row[-1]) / samples))
    return found
