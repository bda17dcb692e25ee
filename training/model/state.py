"""All that a cell needs to continue as if nothing had happened, as rows of a pack's buffers and as checkpoints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor

from training.contract import Cell, Checkpoint
from training.model import transfer
from training.model.losses import new_sums
from training.model.routes import training_routes
from training.model.rows import Architecture, initial_row
from training.model.settings import Settings

# Format 1 had sums for the fused slot alone. Another format is refused, never guessed at.
FORMAT: Final = 2


class StateError(Exception):
    """A checkpoint does not fit the cell it is given for; the message names cell, array and shapes."""


@dataclass
class Member:
    """One cell of a pack and what it has reached. best_epoch counts from 1; 0 before the first.

    left: whether the cell has left its pack while its row stays (see Loop). width: rows of the packs that it trains in,
    where their number may change bits; else 0.
    """

    cell: Cell
    dim: int
    scale: float
    best_val_loss: float = math.inf
    best_epoch: int = 0
    left: bool = False
    width: int = 0

    @classmethod
    def of(cls, cell: Cell, settings: Settings) -> Member:
        return cls(
            cell,
            dim=int(cell.factors.get("dim", settings.workspace_dim)),
            scale=float(cell.factors.get("scale", settings.loss_scale)),
        )

    def reached(self, val_loss: float, epoch: int) -> None:
        """Note an epoch's validation loss; of equal ones, the earlier epoch stays the best."""
        if val_loss < self.best_val_loss:
            self.best_val_loss, self.best_epoch = val_loss, epoch


@dataclass(frozen=True)
class State:
    """The buffers of P cells that have all done `step` optimizer steps.

    parameters, first, second: (P, 2, half), with Adam's moments. squares (P, 2, slots, B, OUTPUTS) and cross_entropy
    (P, B, 8): running sums of the training loss since the epoch began.
    """

    step: int
    members: tuple[Member, ...]
    parameters: Tensor
    first: Tensor
    second: Tensor
    squares: Tensor
    cross_entropy: Tensor

    def at(self, step: int) -> State:
        """The same buffers, after `step` steps."""
        return State(step, self.members, *self.tensors())

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        return self.parameters, self.first, self.second, self.squares, self.cross_entropy

    def rows(self, kept: Sequence[int]) -> State:
        """Only these rows, copied: nothing that happens to the others can reach them."""
        index = torch.tensor(kept, device=self.parameters.device)
        return State(
            self.step,
            tuple(self.members[row] for row in kept),
            *(tensor.index_select(0, index) for tensor in self.tensors()),
        )

    def checkpoints(self) -> dict[Cell, Checkpoint]:
        """One checkpoint per cell. On the CPU the arrays are views: write or copy them before training continues. On a
        GPU they are functions that wait for a copy: training may continue at once."""
        arrays = self._queued_arrays() if transfer.queued(self.parameters.device) else self._arrays()
        return {
            member.cell: Checkpoint(self.step, arrays=arrays[row], values=_values(member))
            for row, member in enumerate(self.members)
            if not member.left
        }

    def _arrays(self) -> list[dict[str, Any]]:
        """Each row's arrays by name."""
        arrays = {name: tensor.cpu().numpy() for name, tensor in zip(_NAMES, self.tensors(), strict=True)}
        return [{name: array[row] for name, array in arrays.items()} for row in range(len(self.members))]

    def _queued_arrays(self) -> list[dict[str, Any]]:
        copy = transfer.HostCopy(self.tensors())

        def arrived(index: int, row: int) -> Any:
            return copy.wait()[index][row].numpy()

        return [
            {name: partial(arrived, index, row) for index, name in enumerate(_NAMES)}
            for row in range(len(self.members))
        ]


# Names of the arrays in a checkpoint, in the order of State.tensors.
_NAMES: Final = ("parameters", "first", "second", "squares", "cross_entropy")


def _values(member: Member) -> dict[str, Any]:
    # JSON has no infinity: None stands for "no epoch yet".
    return {
        "format": FORMAT,
        "best_val_loss": member.best_val_loss if math.isfinite(member.best_val_loss) else None,
        "best_epoch": member.best_epoch,
        **({"width": member.width} if member.width else {}),
    }


def joined(states: Sequence[State]) -> State:
    """One state of all rows; the states must be at the same step and of the same architecture."""
    return State(
        states[0].step,
        tuple(member for state in states for member in state.members),
        *(torch.cat(tensors) for tensors in zip(*(state.tensors() for state in states), strict=True)),
    )


def padded(state: State, width: int) -> State:
    """The state with so many rows that it has `width`: copies of the first, whose cells have left."""
    missing = width - len(state.members)
    if missing <= 0:
        return state
    copies = [state.rows([0])] * missing
    inert = [State(copy.step, (replace(copy.members[0], left=True),), *copy.tensors()) for copy in copies]
    return joined([state, *inert])


def new_state(member: Member, architecture: Architecture, settings: Settings, device: torch.device) -> State:
    """A cell before its first step."""
    parameters = initial_row(architecture, member.dim, member.cell.seed).unsqueeze(0).to(device)
    sums = new_sums(1, len(training_routes(settings).slots), settings.batch_size, parameters)
    return State(0, (member,), parameters, torch.zeros_like(parameters), torch.zeros_like(parameters), *sums)


def restored_state(
    member: Member, checkpoint: Checkpoint, architecture: Architecture, settings: Settings, device: torch.device
) -> State:
    """A cell as it was saved. Raises StateError if the checkpoint is of another format or shape."""
    if checkpoint.values.get("format") != FORMAT:
        found = checkpoint.values.get("format")
        raise StateError(f"{member.cell.name}: checkpoint of format {found}; this trainer reads {FORMAT}")
    tensors = []
    # Made for its shapes alone; drawing the weights takes milliseconds.
    expected = new_state(member, architecture, settings, torch.device("cpu"))
    for name, like in zip(_NAMES, expected.tensors(), strict=True):
        array = checkpoint.arrays.get(name)
        shape = None if array is None else tuple(array.shape)
        if shape != tuple(like.shape[1:]):
            raise StateError(f"{member.cell.name}: checkpoint array {name!r} has shape {shape}, not {like.shape[1:]}")
        # A copy: the array may be read-only, or part of a larger one that would be kept in memory.
        tensors.append(torch.tensor(array, dtype=like.dtype).unsqueeze(0).to(device))
    best = checkpoint.values["best_val_loss"]
    member.best_val_loss = math.inf if best is None else float(best)
    member.best_epoch = int(checkpoint.values["best_epoch"])
    member.width = int(checkpoint.values.get("width", 0))
    return State(checkpoint.step, (member,), *tensors)
