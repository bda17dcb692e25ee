"""Building packs for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from helpers.memory_run import MemoryCell
from helpers.sections import whole
from training.loop.device import prepare
from training.loop.pack import Pack, Setup
from training.model.rows import Architecture
from training.model.settings import read_settings
from training.model.state import Member, State, joined, new_state
from training.model.tables import make_tables
from training.shapes.dataset import load


def make_setup(
    config: dict[str, Any],
    *,
    threads: int = 1,
    dtype: torch.dtype = torch.float32,
    native: bool = False,
    device: str = "cpu",
    precision: str = "fp32",
    triton: bool = False,
) -> Setup:
    settings = read_settings(whole(config))
    prepared = prepare(device, threads)
    tables = make_tables(
        load(settings.directory), standardize=settings.standardize_inputs, device=prepared, dtype=dtype
    )
    return Setup(settings, tables, prepared, native, threads, precision=precision, triton=triton)


def make_pack(setup: Setup, cells: Sequence[MemoryCell], *, dtype: torch.dtype = torch.float32) -> Pack:
    states = []
    for cell in cells:
        member = Member.of(cell, setup.settings)
        architecture = Architecture.of(setup.settings, member.dim)
        state = new_state(member, architecture, setup.settings, setup.device)
        states.append(State(0, state.members, *(tensor.to(dtype) for tensor in state.tensors())))
    return Pack(setup, architecture, joined(states))


def train_steps(pack: Pack, steps: int) -> None:
    for indices in pack.batches(pack.step + steps):
        pack.train(indices)


def bits(pack: Pack) -> dict[str, bytes]:
    """Every byte of each cell's state, by the cell's name."""
    return {
        member.cell.name: b"".join(tensor[row].numpy().tobytes() for tensor in pack.state.tensors())
        for row, member in enumerate(pack.members)
    }
