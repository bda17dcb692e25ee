"""A pack: cells of one architecture at one step, trained together; removing or adding a row changes no other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.losses import Losses, mean_loss
from training.metrics import epoch_metrics, evaluate
from training.model import INPUTS, OUTPUTS, Architecture, named_weights
from training.network import Network
from training.optimizer import Adam
from training.order import Batches
from training.routes import Routes, training_routes
from training.settings import Settings
from training.state import Member, State, joined
from training.tables import Tables


@dataclass(frozen=True)
class Setup:
    """What all packs of a run share."""

    settings: Settings
    tables: Tables
    device: torch.device

    @property
    def steps_per_epoch(self) -> int:
        return self.tables.train.rows // self.settings.batch_size

    @property
    def total_steps(self) -> int:
        return self.settings.epochs * self.steps_per_epoch

    @property
    def routes(self) -> Routes:
        return training_routes(self.settings)


class Pack:
    """P cells with their buffers. P = 1 is a lone cell: the same code, and the same numbers to the last bit."""

    def __init__(self, setup: Setup, architecture: Architecture, state: State) -> None:
        self.architecture = architecture
        self._setup, self._state = setup, state
        settings, batch = setup.settings, setup.settings.batch_size
        cells = len(state.members)
        self._gradients = torch.zeros_like(state.parameters)
        self._network = Network(
            architecture,
            state.parameters,
            self._gradients,
            batch,
            settings.fusion_weights,
            setup.routes,
            setup.tables.rescaling,
        )
        scales = [member.scale for member in state.members]
        self._losses = Losses(settings, setup.routes, scales, state.squares, state.cross_entropy, batch)
        self._adam = Adam(settings, state.parameters, state.first, state.second, state.step)
        seeds = [member.cell.seed for member in state.members]
        self._batches = Batches(seeds, setup.tables.train.rows, batch, setup.device)
        self._inputs = state.parameters.new_empty(cells * 2 * batch, INPUTS)
        self._targets = state.parameters.new_empty(cells * 2 * batch, OUTPUTS)
        self._input_view = self._inputs.view(2 * cells, batch, INPUTS)
        self._target_view = self._targets.view(cells, 2, batch, OUTPUTS)
        self._done = state.step

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return self._done

    @property
    def members(self) -> tuple[Member, ...]:
        return self._state.members

    @property
    def state(self) -> State:
        return self._state.at(self._done)

    def batches(self, until: int) -> Tensor:
        """Look-up indices of the steps from now to `until`, within this epoch."""
        return self._batches.between(self._done, until)

    def train_step(self, index: Tensor) -> None:
        """One optimizer step of every cell on its own batch; index: (P * 2 * B,)."""
        train = self._setup.tables.train
        torch.index_select(train.inputs, 0, index, out=self._inputs)
        torch.index_select(train.targets, 0, index, out=self._targets)
        direct, cycle = self._network.forward(self._input_view)
        self._losses.gradient(direct, cycle, self._target_view)
        self._network.backward(direct, cycle)
        self._adam.step(self._gradients)
        self._done += 1

    def finite(self) -> list[bool]:
        """Per cell, whether its training loss has stayed finite in this epoch."""
        sums = self._state.squares.flatten(1).sum(dim=1) + self._state.cross_entropy.flatten(1).sum(dim=1)
        return torch.isfinite(sums).tolist()

    def finish_epoch(self) -> list[dict[str, float]]:
        """The metrics of each cell after an epoch; begins the next epoch's sums."""
        setup, state = self._setup, self._state
        everything = evaluate(
            setup.settings, self.architecture, state.parameters, setup.tables.val, setup.tables.rescaling
        )
        metrics = []
        for row, (member, errors) in enumerate(zip(state.members, everything, strict=True)):
            sums = state.squares[row], state.cross_entropy[row]
            train_loss = mean_loss(setup.settings, setup.routes, member.scale, *sums, setup.steps_per_epoch)
            measured = epoch_metrics(setup.settings, member.scale, errors, setup.tables.val.variances)
            metrics.append({"train_loss": train_loss, **measured})
        state.squares.zero_()
        state.cross_entropy.zero_()
        return metrics

    def weights(self, row: int) -> dict[str, Tensor]:
        """One cell's parameters by name, unpadded."""
        return named_weights(self.architecture, self.members[row].dim, self._state.parameters[row])

    def keep(self, rows: Sequence[int]) -> Pack:
        """A pack of these rows only."""
        return Pack(self._setup, self.architecture, self.state.rows(rows))

    def join(self, other: Pack) -> Pack:
        """A pack of both; they must be at the same step and of the same architecture."""
        return Pack(self._setup, self.architecture, joined([self.state, other.state]))
