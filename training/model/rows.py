"""The Global Workspace as one flat row of numbers per cell: where each layer lies in it, and how it begins.

A cell's parameters are one row of two halves of equal size, one per domain (attr, v); a pack of P cells is (P, 2,
half). Layer by layer, a half holds weight (out, in) and bias (out). Domains differ in features and cells in workspace
width: the smaller ones are padded with zeros, which stay exactly zero (no input, no gradient). One batched matrix
product therefore serves both domains of all cells, and norm, clipping, Adam, checkpoints and removal work on rows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import torch
from torch import Tensor

from training.model.settings import DOMAINS, FEATURES, Settings
from training.shapes.distribution import BINS

# 16 float32 are 64 bytes: a cache line, and the widest vector of a CPU. Every weight and bias begins at one.
ALIGNMENT: Final = 16
# optimizer.py reduces a row in 512 equal parts.
HALF_MULTIPLE: Final = 512
# Features of the larger domain, 13 in and 11 + 8 out, padded to whole vectors. kernel.c has the same two numbers.
INPUTS: Final = 16
OUTPUTS: Final = 24
# A whole number of blocks (SPAN in kernel_layers.h) with any instruction set. All dimensions up to 32 can thus train in
# one pack.
WIDTH_STEP: Final = 32

TRUE_OUTPUTS: Final = {"attr": FEATURES["attr"] + BINS, "v": FEATURES["v"]}


def canonical_width(dim: int) -> int:
    """The width that a workspace of `dim` units is computed at: the next multiple of 32.

    It depends on the cell alone, so a cell's numbers do not depend on what else is in its pack or sweep. Cells of
    different canonical widths train in different packs.
    """
    return WIDTH_STEP * math.ceil(dim / WIDTH_STEP)


@dataclass(frozen=True)
class Layer:
    """One linear layer in a half. offset: where its weight begins; the bias follows. rows, columns: padded sizes."""

    offset: int
    rows: int
    columns: int

    @property
    def bias(self) -> int:
        return self.offset + _align(self.rows * self.columns)

    @property
    def end(self) -> int:
        return self.bias + _align(self.rows)


@dataclass(frozen=True)
class Architecture:
    """Sizes of the padded model. width: canonical workspace width."""

    width: int
    hidden: int
    decoder_hidden: int
    n_layers: int

    @classmethod
    def of(cls, settings: Settings, dim: int) -> Architecture:
        return cls(canonical_width(dim), settings.hidden_dim, settings.decoder_hidden_dim, settings.n_layers)

    @cached_property
    def encoder(self) -> tuple[Layer, ...]:
        return self._layers(0, [INPUTS, *[self.hidden] * (self.n_layers + 1), self.width])

    @cached_property
    def decoder(self) -> tuple[Layer, ...]:
        return self._layers(self.encoder[-1].end, [self.width, *[self.decoder_hidden] * (self.n_layers + 1), OUTPUTS])

    @property
    def half(self) -> int:
        """Numbers per domain; a multiple of 512, so that a row can be reduced in equal parts."""
        return HALF_MULTIPLE * math.ceil(self.decoder[-1].end / HALF_MULTIPLE)

    def _layers(self, start: int, sizes: list[int]) -> tuple[Layer, ...]:
        layers: list[Layer] = []
        for columns, rows in itertools.pairwise(sizes):
            layers.append(Layer(layers[-1].end if layers else start, rows, columns))
        return tuple(layers)


def initial_row(architecture: Architecture, dim: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """A cell's first parameters, shape (2, half): PyTorch's default Linear initialisation.

    Drawn in the order encoder attr, encoder v, decoder attr, decoder v, from the cell's own generator. The unpadded
    shapes are drawn, so that the numbers depend on dim and seed alone. Always on the CPU, as a GPU's generator gives
    other numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    row = torch.zeros(2, architecture.half, dtype=dtype)
    for _, weight, bias in named_parameters(architecture, dim, row):
        drawn = torch.empty(weight.shape, dtype=dtype)
        # As torch.nn.Linear.reset_parameters, which takes no generator.
        torch.nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=generator)
        weight.copy_(drawn)
        bound = 1.0 / math.sqrt(weight.shape[1])
        bias.copy_(torch.empty(bias.shape, dtype=dtype).uniform_(-bound, bound, generator=generator))
    return row


def named_parameters(architecture: Architecture, dim: int, row: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Views into a row (2, half) without the padding: (name of the layer, weight (out, in), bias (out)).

    Names are a torch.nn.Sequential's, with ReLU layers counted: encoder_attr.0, encoder_attr.2, ...
    """
    for kind, layers in (("encoder", architecture.encoder), ("decoder", architecture.decoder)):
        for index, domain in enumerate(DOMAINS):
            ends = (FEATURES[domain], dim) if kind == "encoder" else (dim, TRUE_OUTPUTS[domain])
            for position, layer in enumerate(layers):
                columns = ends[0] if position == 0 else layer.columns
                rows = ends[1] if position == len(layers) - 1 else layer.rows
                yield (
                    f"{kind}_{domain}.{2 * position}",
                    weight_view(row[index], layer)[:rows, :columns],
                    row[index, layer.bias : layer.bias + rows],
                )


def named_weights(architecture: Architecture, dim: int, row: Tensor) -> dict[str, Any]:
    """A cell's parameters by name, as unpadded numpy arrays: `encoder_attr.0.weight`, `encoder_attr.0.bias`, ...

    Copies: the pack's buffers train on while these are written.
    """
    arrays: dict[str, Any] = {}
    for name, weight, bias in named_parameters(architecture, dim, row.detach().cpu()):
        arrays[f"{name}.weight"] = weight.clone().numpy()
        arrays[f"{name}.bias"] = bias.clone().numpy()
    return arrays


def weight_view(half: Tensor, layer: Layer) -> Tensor:
    """The weight of a layer in rows (..., half), as a view of shape (..., out, in)."""
    flat = half[..., layer.offset : layer.offset + layer.rows * layer.columns]
    return flat.view(*flat.shape[:-1], layer.rows, layer.columns)


def biases_view(half: Tensor, layers: Sequence[Layer]) -> Tensor:
    """The biases of layers in rows (M, half), as a view of shape (layers, M, out): as many of each, and each as far
    from the one before it."""
    first, size = layers[0].bias, layers[0].rows
    distance = layers[1].bias - first if len(layers) > 1 else size
    return half[:, first : layers[-1].bias + size].unfold(1, size, distance).transpose(0, 1)


def _align(count: int) -> int:
    return ALIGNMENT * math.ceil(count / ALIGNMENT)
