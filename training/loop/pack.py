"""A pack: cells of one architecture at one step, trained together. Removing or adding a cell changes no other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from training.loop.order import Batches
from training.model.losses import mean_loss
from training.model.metrics import epoch_metrics, evaluate
from training.model.routes import Routes, training_routes
from training.model.rows import Architecture, named_weights
from training.model.settings import Settings
from training.model.state import Member, State
from training.model.tables import Tables
from training.steps.graph_step import GraphStep
from training.steps.native_step import NativeStep
from training.steps.torch_step import TorchStep


@dataclass(frozen=True)
class Setup:
    """What all packs of a run share.

    native: whether the compiled step trains (CPU, float32). fixed_width: whether the number of a pack's rows may change
    the last bits, so that it must stay what it is.
    """

    settings: Settings
    tables: Tables
    device: torch.device
    native: bool = False
    threads: int = 1
    fixed_width: bool = False

    @property
    def steps_per_epoch(self) -> int:
        return self.tables.train.rows // self.settings.batch_size

    @property
    def total_steps(self) -> int:
        return self.settings.epochs * self.steps_per_epoch

    @property
    def routes(self) -> Routes:
        return training_routes(self.settings)

    def make_step(self, architecture: Architecture, state: State) -> Step:
        """What trains a pack with this state, in place."""
        if self.native:
            return NativeStep(self.settings, self.routes, architecture, state, self.tables, self.threads)
        recorded = self.device.type == "cuda"  # graphs exist only there
        return (GraphStep if recorded else TorchStep)(self.settings, self.routes, architecture, state, self.tables)


class Step(Protocol):
    """What trains a pack. stride: steps to hand over at a time; see TorchStep, NativeStep and GraphStep."""

    stride: int

    def run(self, indices: Tensor, done: int) -> None: ...


class Pack:
    """P cells with their buffers. P = 1 is a single cell: the same code, and the same numbers to the last bit."""

    def __init__(self, setup: Setup, architecture: Architecture, state: State) -> None:
        self.architecture = architecture
        self._setup, self._state = setup, state
        self._step = setup.make_step(architecture, state)
        seeds = [member.cell.seed for member in state.members]
        self._batches = Batches(seeds, setup.tables.train.rows, setup.settings.batch_size, setup.device)
        self._done = state.step

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return self._done

    @property
    def members(self) -> tuple[Member, ...]:
        return self._state.members

    @property
    def active(self) -> list[int]:
        """The rows whose cells have not left."""
        return [row for row, member in enumerate(self.members) if not member.left]

    @property
    def state(self) -> State:
        return self._state.at(self._done)

    def batches(self, until: int) -> tuple[Tensor, ...]:
        """Look-up indices of the steps from now to `until`, within this epoch, in parts of at most `stride` steps.

        The loop looks at the stop flag between two parts.
        """
        return torch.split(self._batches.between(self._done, until), self._step.stride)

    def train(self, indices: Tensor) -> None:
        """Optimizer steps of every cell on its own batches; indices: (steps, P * 2 * B)."""
        self._step.run(indices, self._done)
        self._done += len(indices)

    def finite(self) -> list[bool]:
        """Per cell, whether its training loss has stayed finite in this epoch."""
        # One sum per cell is enough: NaN and infinity survive every addition, and squares never cancel.
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
        # In place: the compiled step and the CUDA graph hold the addresses of these buffers.
        state.squares.zero_()
        state.cross_entropy.zero_()
        return metrics

    def weights(self, row: int) -> dict[str, Tensor]:
        """One cell's parameters by name, unpadded."""
        return named_weights(self.architecture, self.members[row].dim, self._state.parameters[row])

    def keep(self, rows: Sequence[int]) -> Pack:
        """A pack of these rows only."""
        return Pack(self._setup, self.architecture, self.state.rows(rows))
