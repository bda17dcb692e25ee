"""The training step of a pack in torch: on any device, in any precision; the compiled one must agree with it."""

from __future__ import annotations

import torch
from torch import Tensor

from training.model.losses import Losses
from training.model.network import Network
from training.model.optimizer import Adam
from training.model.routes import Routes
from training.model.rows import INPUTS, OUTPUTS, Architecture
from training.model.settings import Settings
from training.model.state import State
from training.model.tables import Tables

# Part of a run's numerics: change it whenever a change to this step changes a bit of what it computes.
NAME = "packed-2"


class TorchStep:
    """Steps of all cells of a pack at once, by batched products. Writes into the state."""

    # A step takes a millisecond or more, so the stop flag can be looked at after each.
    stride = 1

    def __init__(
        self,
        settings: Settings,
        routes: Routes,
        architecture: Architecture,
        state: State,
        tables: Tables,
        triton: bool = False,
    ) -> None:
        # Everything a step writes to exists before the first one, and stays where it is: GraphStep records addresses.
        cells, batch = len(state.members), settings.batch_size
        self._table = tables.train
        self._gradients = torch.zeros_like(state.parameters)
        self._network = Network(
            architecture,
            state.parameters,
            self._gradients,
            batch,
            settings.fusion_weights,
            routes,
            tables.rescaling,
        )
        scales = [member.scale for member in state.members]
        self._losses = Losses(settings, routes, scales, state.squares, state.cross_entropy)
        self._adam = _adam(triton)(settings, state.parameters, state.first, state.second, state.step)
        self._inputs = state.parameters.new_empty(cells * 2 * batch, INPUTS)
        self._targets = state.parameters.new_empty(cells * 2 * batch, OUTPUTS)
        self._input_view = self._inputs.view(2 * cells, batch, INPUTS)
        self._target_view = self._targets.view(cells, 2, batch, OUTPUTS)

    def run(self, indices: Tensor, done: int) -> None:
        """Train on batches; indices: (steps, P * 2 * B), look-ups into the tables. done: steps before these."""
        for index in indices:
            self.step(index)

    def counters(self) -> list[Tensor]:
        """What a step changes besides the state. GraphStep puts both back after warming up."""
        return [self._adam.steps]

    def step(self, index: Tensor) -> None:
        """One optimizer step; index: (P * 2 * B,)."""
        torch.index_select(self._table.inputs, 0, index, out=self._inputs)
        torch.index_select(self._table.targets, 0, index, out=self._targets)
        direct, cycle = self._network.forward(self._input_view)
        self._losses.gradient(direct, cycle, self._target_view)
        self._network.backward(direct, cycle)
        self._adam.step(self._gradients)


def _adam(triton: bool) -> type[Adam]:
    """What clips and updates."""
    if not triton:
        return Adam
    from training.steps.triton_adam import TritonAdam  # Triton is not everywhere

    return TritonAdam
