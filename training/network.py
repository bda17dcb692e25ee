"""The fused path of a pack: encode both domains, fuse, decode every domain, and back."""

from __future__ import annotations

import torch
from torch import Tensor

from training.model import Architecture
from training.stack import Stack


class Network:
    """P Global Workspaces with buffers for batches of B rows.

    parameters, gradients: shape (P, 2, half); gradients None for evaluation only. fusion_weights: one a domain.
    """

    def __init__(
        self,
        architecture: Architecture,
        parameters: Tensor,
        gradients: Tensor | None,
        batch: int,
        fusion_weights: tuple[float, float],
    ) -> None:
        cells = len(parameters)
        rows = parameters.view(2 * cells, -1)
        gradient_rows = None if gradients is None else gradients.view(2 * cells, -1)
        self._encoder = Stack(architecture.encoder, rows, gradient_rows, batch)
        self._decoder = Stack(architecture.decoder, rows, gradient_rows, batch)
        self._fusion_weights = fusion_weights
        self._fused = parameters.new_empty(cells, batch, architecture.width)
        self._shared = parameters.new_empty(cells, 2, batch, architecture.width)
        self._pairs = (cells, 2, batch, architecture.width)

    def forward(self, inputs: Tensor) -> Tensor:
        """inputs: (2P, B, INPUTS), domains of a cell side by side. Returns (P, 2, B, OUTPUTS), a buffer."""
        encoded = self._encoder.forward(inputs).view(self._pairs)
        torch.mul(encoded[:, 0], self._fusion_weights[0], out=self._fused)
        self._fused.add_(encoded[:, 1], alpha=self._fusion_weights[1]).tanh_()
        self._shared.copy_(self._fused.unsqueeze(1).expand(self._pairs))
        decoded = self._decoder.forward(self._shared.view(-1, *self._pairs[2:]))
        return decoded.view(*self._pairs[:3], -1)

    def backward(self, gradient: Tensor) -> None:
        """gradient: (P, 2, B, OUTPUTS), of the loss by the last outputs. Writes all gradients."""
        below = self._decoder.backward(gradient.view(-1, *gradient.shape[2:]), to_input=True)
        pairs = below.view(self._pairs)
        fused = torch.ops.aten.tanh_backward(pairs[:, 0] + pairs[:, 1], self._fused)
        for domain, weight in enumerate(self._fusion_weights):
            torch.mul(fused, weight, out=pairs[:, domain])
        self._encoder.backward(below, to_input=False)
