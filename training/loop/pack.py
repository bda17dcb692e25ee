"""A pack: cells of one architecture at one step, trained together. Removing or adding a cell changes no other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from training.contract import Cell, Checkpoint
from training.loop.order import Batches
from training.model import transfer
from training.model.losses import mean_losses
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
    the last bits, so that it must stay what it is. precision: of the factors of the compiled step's products, fp32 or
    bf16. triton: whether Triton's kernels clip and update (GPU).
    """

    settings: Settings
    tables: Tables
    device: torch.device
    native: bool = False
    threads: int = 1
    fixed_width: bool = False
    precision: str = "fp32"
    triton: bool = False

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
            return NativeStep(
                self.settings, self.routes, architecture, state, self.tables, self.threads, self.precision
            )
        kind = GraphStep if transfer.queued(self.device) else TorchStep
        return kind(self.settings, self.routes, architecture, state, self.tables, self.triton)


class Step(Protocol):
    """What trains a pack. stride: steps to hand over at a time; see TorchStep, NativeStep and GraphStep."""

    stride: int

    def run(self, indices: Tensor, done: int) -> None: ...


class Pack:
    """P cells with their buffers. P = 1 is a single cell: the same code, and the same numbers to the last bit.

    On a GPU all that a pack computes is in a lane of its own, and several packs are computed at once.
    """

    def __init__(self, setup: Setup, architecture: Architecture, state: State) -> None:
        self.architecture = architecture
        self._setup, self._state = setup, state
        self._lane = transfer.Lane(setup.device)
        self._lane.uses([*state.tensors(), *setup.tables.tensors()])
        seeds = [member.cell.seed for member in state.members]
        with self._lane.work():
            self._step = setup.make_step(architecture, state)
            rows, batch = setup.tables.train.rows, setup.settings.batch_size
            self._batches = Batches(seeds, rows, batch, setup.device, state.step)
        self._done = state.step
        self._asked: transfer.HostCopy | None = None

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
        self._lane.join()
        return self._state.at(self._done)

    def batches(self, until: int) -> tuple[Tensor, ...]:
        """Look-up indices of the steps from now to `until`, within this epoch, in parts of at most `stride` steps.

        The loop looks at the stop flag between two parts.
        """
        with self._lane.work():
            return torch.split(self._batches.between(self._done, until), self._step.stride)

    def train(self, indices: Tensor) -> None:
        """Optimizer steps of every cell on its own batches; indices: (steps, P * 2 * B)."""
        with self._lane.work():
            self._step.run(indices, self._done)
        self._done += len(indices)

    def finite(self) -> list[bool]:
        """Per cell, whether its training loss has stayed finite in this epoch.

        On a GPU, whether it had at the time of the call before: the answer to this one is under way while training
        continues.
        """
        with self._lane.work():
            # One sum per cell is enough: NaN and infinity survive every addition, and squares never cancel.
            sums = self._state.squares.flatten(1).sum(dim=1) + self._state.cross_entropy.flatten(1).sum(dim=1)
            found = torch.isfinite(sums)
            if not transfer.queued(found.device):
                return found.tolist()
            before, self._asked = self._asked, transfer.HostCopy([found])
        return before.wait()[0].tolist() if before else [True] * len(self.members)

    def finish_epoch(self) -> list[dict[str, float]]:
        """The metrics of each cell after an epoch; begins the next epoch's sums."""
        with self._lane.work():
            return self._measured()

    def _measured(self) -> list[dict[str, float]]:
        setup, state = self._setup, self._state
        everything = evaluate(
            setup.settings, self.architecture, state.parameters, setup.tables.val, setup.tables.rescaling
        )
        scales = [member.scale for member in state.members]
        sums = state.squares, state.cross_entropy
        losses = mean_losses(setup.settings, setup.routes, scales, *sums, setup.steps_per_epoch)
        metrics = [
            {"train_loss": loss, **epoch_metrics(setup.settings, scale, errors, setup.tables.val.variances)}
            for loss, scale, errors in zip(losses, scales, everything, strict=True)
        ]
        # In place: the compiled step and the CUDA graph hold the addresses of these buffers.
        state.squares.zero_()
        state.cross_entropy.zero_()
        return metrics

    def weights(self, row: int) -> dict[str, Tensor]:
        """One cell's parameters by name, unpadded."""
        with self._lane.work():
            return named_weights(self.architecture, self.members[row].dim, self._state.parameters[row])

    def checkpoints(self) -> dict[Cell, Checkpoint]:
        """One checkpoint for each cell that has not left; see State.checkpoints."""
        with self._lane.work():
            return self._state.at(self._done).checkpoints()

    def keep(self, rows: Sequence[int]) -> Pack:
        """A pack of these rows only."""
        return Pack(self._setup, self.architecture, self.state.rows(rows))
