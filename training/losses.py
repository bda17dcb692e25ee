"""The fusion loss of a pack: its gradient each step, its running sums, its value once an epoch.

Loss of a cell = mean over the domains of (mean squared error of the base features + for attr loss_scale * cross
entropy of the synergy logits). Sums are kept per slot of the batch and reduced once an epoch, cell by cell and in
float64, so that a step has no reduction in it and a cell's numbers do not depend on its pack.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.model import OUTPUTS
from training.settings import FEATURES, Settings
from training.simple_shapes import BINS, RANDOM_FEATURE, SIZE_FEATURE
from training.tables import LOGITS

DOMAIN_COUNT: Final = 2


def feature_weights(source_weight: float) -> NDArray[np.float64]:
    """Weight of each squared error in the fusion loss of one sample, shape (2, OUTPUTS); 0 beyond base features."""
    weights = np.zeros((DOMAIN_COUNT, OUTPUTS))
    weights[0, : FEATURES["attr"]] = 1.0 / (DOMAIN_COUNT * FEATURES["attr"])
    weights[1, : FEATURES["v"]] = 1.0 / (DOMAIN_COUNT * FEATURES["v"])
    weights[0, RANDOM_FEATURE] *= source_weight
    weights[1, SIZE_FEATURE] *= source_weight
    return weights


def synergy_weight(loss_scale: float) -> float:
    """Weight of the cross entropy of one sample in the fusion loss."""
    return loss_scale / DOMAIN_COUNT


def loss_value(settings: Settings, scale: float, squares: NDArray[np.float64], cross_entropy: float) -> float:
    """The fusion loss from means over samples: squares (2, OUTPUTS) of the squared errors, the cross entropy."""
    base = float((feature_weights(settings.source_weight) * squares).sum())
    return base + synergy_weight(scale) * cross_entropy


class FusionLoss:
    """The gradient by the outputs for batches of B rows, and the sums that the epoch's training loss is made of.

    squares: running (P, 2, B, OUTPUTS) of squared residuals; cross_entropy: running (P, B, 8). Both are part of a
    cell's resume state and are added to in place.
    """

    def __init__(
        self, settings: Settings, scales: Sequence[float], squares: Tensor, cross_entropy: Tensor, batch: int
    ) -> None:
        factors = np.tile(2.0 * settings.weights[0] * feature_weights(settings.source_weight), (len(scales), 1, 1))
        for row, scale in enumerate(scales):
            factors[row, 0, LOGITS] = settings.weights[0] * synergy_weight(scale)
        self._factors = torch.from_numpy(factors / batch).to(squares).unsqueeze(2)
        self._squares = squares
        self._cross_entropy = cross_entropy

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """outputs, targets: (P, 2, B, OUTPUTS). Returns the gradient by the outputs, in their place.

        The derivative of softmax and cross entropy is probability - one-hot, that of a squared error twice the
        residual: with probabilities put in place of the logits one subtraction serves both.
        """
        logits = outputs[:, 0, :, LOGITS]
        log_probabilities = torch.log_softmax(logits, dim=-1)
        self._cross_entropy.addcmul_(log_probabilities, targets[:, 0, :, LOGITS], value=-1.0)
        torch.exp(log_probabilities, out=logits)
        outputs.sub_(targets)
        self._squares.addcmul_(outputs, outputs)
        return outputs.mul_(self._factors)


def new_sums(cells: int, batch: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Empty running sums (squares, cross entropy) for `cells` cells."""
    return like.new_zeros(cells, DOMAIN_COUNT, batch, OUTPUTS), like.new_zeros(cells, batch, BINS)


def mean_loss(settings: Settings, scale: float, squares: Tensor, cross_entropy: Tensor, steps: int) -> float:
    """One cell's training loss over `steps` steps, from its running sums (2, B, OUTPUTS) and (B, 8)."""
    samples = steps * squares.shape[1]
    means = squares.double().sum(dim=1).div(samples).cpu().numpy()
    entropy = cross_entropy.double().sum().item() / samples
    return settings.weights[0] * loss_value(settings, scale, means, entropy)
