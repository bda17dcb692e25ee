"""Clipping and Adam for a pack: each cell by its own gradient norm, all cells in one pass over the buffers."""

from __future__ import annotations

import torch
from torch import Tensor

from training.model.rows import HALF_MULTIPLE
from training.model.settings import Settings

# The defaults of torch.optim.Adam, which the predecessor used.
BETAS = (0.9, 0.999)
EPSILON = 1e-8
# The one of torch.nn.utils.clip_grad_norm_.
NORM_EPSILON = 1e-6


class Adam:
    """Adam on (P, 2, half) buffers; all cells of a pack have done the same number of steps."""

    def __init__(self, settings: Settings, parameters: Tensor, first: Tensor, second: Tensor, steps: int) -> None:
        self._lr, self._weight_decay = settings.lr, settings.weight_decay
        self._largest_norm = settings.grad_clip
        # Lists of one tensor, as the fused function takes them: all cells are one parameter to it.
        self._buffers = ([parameters], [first], [second])
        # On the device: a CUDA graph counts in it, and the host never waits for the number.
        self.steps = torch.tensor(float(steps), dtype=torch.float32, device=parameters.device)

    def step(self, gradients: Tensor) -> None:
        """Clip the gradients (P, 2, half) in place and update."""
        if self._largest_norm > 0:
            self._clip(gradients)
        self.steps += 1
        parameters, first, second = self._buffers
        torch._fused_adam_(
            parameters,
            [gradients],
            first,
            second,
            [],
            [self.steps],
            lr=self._lr,
            beta1=BETAS[0],
            beta2=BETAS[1],
            weight_decay=self._weight_decay,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
        )

    def _clip(self, gradients: Tensor) -> None:
        """As torch.nn.utils.clip_grad_norm_, a cell at a time."""
        norms = torch.linalg.vector_norm(norms_of_parts(gradients), dim=1)
        factors = self._largest_norm / (norms + NORM_EPSILON)
        gradients.mul_(factors.clamp_(max=1.0).view(-1, 1, 1))


def norms_of_parts(gradients: Tensor) -> Tensor:
    """Of each cell's gradients (P, 2, half) in equal parts, shape (P, 512). A row is reduced in parts, then those: a
    single long row would be split among threads, and its sum would depend on their number."""
    parts: Tensor = torch.linalg.vector_norm(gradients.view(len(gradients), HALF_MULTIPLE, -1), dim=2)
    return parts
