"""Packs of the built-in experiment to measure, and how they train. Loads no more than training itself does.

Batch 32, hidden 128, n_layers 4, 280,000 parameters: 53.1 MFLOP per step in matrix products.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.loops import BATCH, DIM, HIDDEN, LARGEST_NORM, LAYERS, LEARNING_RATE
from training.loop.pack import Pack, Setup
from training.model.rows import Architecture
from training.model.settings import UNNAMED_FUSION_WEIGHT, Settings
from training.model.state import Member, joined, new_state
from training.model.tables import Tables
from training.steps.choice import working_triton

# An epoch and what `steps_of` takes at a time are whole numbers of rounds: no round trains more steps than another.
ROWS = 16_384
STEPS_AT_A_TIME = 128
# Matrix products of one step: 2 x weights x rows, forward once and backward twice.
GFLOP_PER_STEP = 0.0531


class BenchmarkCell:
    """A cell as the trainer sees it."""

    def __init__(self, seed: int) -> None:
        self.name, self.factors, self.seed, self.run_id = f"cell {seed}", {"dim": DIM, "scale": 1.0}, seed, seed


def settings_of(directory: Path) -> Settings:
    """The built-in experiment with its defaults: those of hpc.config.schema, which pydantic is needed to read."""
    return Settings(
        directory=directory,
        image_dir=None,
        batch_size=BATCH,
        workspace_dim=12,
        hidden_dim=HIDDEN,
        decoder_hidden_dim=HIDDEN,
        n_layers=LAYERS,
        fusion_weights=(UNNAMED_FUSION_WEIGHT, UNNAMED_FUSION_WEIGHT),
        loss_scale=1.0,
        weights=(1.0, 0.0, 0.0, 0.0),
        unique={},
        redundant={},
        epochs=50,
        lr=LEARNING_RATE,
        weight_decay=0.0,
        grad_clip=LARGEST_NORM,
        standardize_inputs=False,
        source_weight=1.0,
    )


def make_pack(
    settings: Settings,
    tables: Tables,
    device: torch.device,
    cells: int,
    native: bool,
    threads: int,
    precision: str = "fp32",
) -> Pack:
    architecture = Architecture.of(settings, DIM)
    states = [
        new_state(Member.of(BenchmarkCell(seed), settings), architecture, settings, device) for seed in range(cells)
    ]
    triton = bool(working_triton({}, settings, device))
    setup = Setup(settings, tables, device, native, threads, precision=precision, triton=triton)
    return Pack(setup, architecture, joined(states))


def steps_of(pack: Pack) -> Iterator[None]:
    """Holdfast's own loop; yields once per step of all cells, also where several steps are one call."""
    while True:
        end = (pack.step // STEPS_AT_A_TIME + 1) * STEPS_AT_A_TIME  # much as training.loop does between two checks
        for indices in pack.batches(end):
            pack.train(indices)
            yield from [None] * len(indices)
