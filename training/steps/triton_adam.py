"""Clipping and Adam for a pack on a GPU, in one pass over the buffers: kernels in Triton.

In torch, clipping reads and writes the gradients once more than it has to, and the update computes in float64. Here
gradients are scaled while they are read. Importing this module needs Triton, which every build of torch for CUDA on
Linux brings along; training.steps.choice says whether it can be used.

Sums and updates are in float32, and every rounding is written out (fma, and none where there is no fma): a compiler
that is told not to fuse has nothing to choose. One block of numbers is computed as any other, so a cell's bits do not
depend on its pack.
"""

from __future__ import annotations

import math
from typing import Final

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.library import Library

from training.model.optimizer import BETAS, EPSILON, NORM_EPSILON, Adam, norms_of_parts
from training.model.rows import HALF_MULTIPLE
from training.model.settings import Settings

# Numbers of a program. A row has two halves, each a multiple of 512 numbers, so that no program has a partial block.
BLOCK: Final = 2 * HALF_MULTIPLE
_OPTIONS: Final = {"num_warps": 4, "enable_fp_fusion": False}


@triton.jit  # type: ignore[untyped-decorator]
def _added(one: tl.tensor, other: tl.tensor) -> tl.tensor:
    return one + other


@triton.jit  # type: ignore[untyped-decorator]
def prepare_adam(
    parts: tl.tensor,
    factors: tl.tensor,
    steps: tl.tensor,
    rates: tl.tensor,
    largest: tl.tensor,
    epsilon: tl.tensor,
    lr: tl.constexpr,
    log_beta1: tl.constexpr,
    log_beta2: tl.constexpr,
    clip: tl.constexpr,
    count: tl.constexpr,
) -> None:
    """A program per cell: its clip factor from the norms of the parts of its gradient. The first one also counts the
    step, and turns the count into the two corrections for Adam's first steps.

    In float64: 1 - 0.999 ** 1 would have four digits in float32.
    """
    cell = tl.program_id(0)
    if clip:
        part = tl.load(parts + cell * count + tl.arange(0, count))
        norm = tl.sqrt_rn(tl.reduce(part * part, 0, _added))
        factor = tl.div_rn(largest, norm + epsilon)
        # This way round, a norm that is not a number stays one, as in torch.
        tl.store(factors + cell, tl.where(factor > 1.0, 1.0, factor))
    if cell == 0:
        step = tl.load(steps) + 1.0
        tl.store(steps, step)
        time = step.to(tl.float64)
        tl.store(rates, (lr / (1.0 - tl.exp2(time * log_beta1))).to(tl.float32))
        tl.store(rates + 1, (1.0 / tl.sqrt(1.0 - tl.exp2(time * log_beta2))).to(tl.float32))


@triton.jit  # type: ignore[untyped-decorator]
def clipped_adam(
    parameters: tl.tensor,
    gradients: tl.tensor,
    first: tl.tensor,
    second: tl.tensor,
    factors: tl.tensor,
    rates: tl.tensor,
    row: tl.tensor,
    of_first: tl.tensor,
    beta2: tl.tensor,
    of_second: tl.tensor,
    decay: tl.tensor,
    epsilon: tl.tensor,
    clip: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """A program per block of a cell. Positions are 64 bits wide: large packs have more than 2^31 numbers."""
    cell = tl.program_id(1)
    at = cell.to(tl.int64) * row + tl.program_id(0) * block + tl.arange(0, block)
    gradient = tl.load(gradients + at)
    if clip:
        gradient = gradient * tl.load(factors + cell)
    parameter = tl.load(parameters + at)
    gradient = tl.fma(parameter, decay, gradient)
    mean = tl.load(first + at)
    mean = tl.fma(of_first, gradient - mean, mean)
    square = tl.fma(beta2, tl.load(second + at), of_second * gradient * gradient)
    rate, correction = tl.load(rates), tl.load(rates + 1)
    step = tl.div_rn(rate * mean, tl.fma(tl.sqrt_rn(square), correction, epsilon))
    tl.store(first + at, mean)
    tl.store(second + at, square)
    tl.store(parameters + at, parameter - step)


# Operations of torch's, so that its tools see them as any other: the profiler, and the tests' emulator of CUDA graphs.
_LIBRARY: Final = Library("holdfast", "DEF")  # type: ignore[no-untyped-call]
_LIBRARY.define(  # type: ignore[no-untyped-call]
    "prepare_adam(Tensor parts, Tensor(a!) factors, Tensor(b!) steps, Tensor(c!) rates, float lr, float largest) -> ()"
)
_LIBRARY.define(  # type: ignore[no-untyped-call]
    "clipped_adam(Tensor(a!) parameters, Tensor gradients, Tensor(b!) first, Tensor(c!) second, Tensor factors, "
    "Tensor rates, float decay, bool clip) -> ()"
)


def _launch_prepare(parts: Tensor, factors: Tensor, steps: Tensor, rates: Tensor, lr: float, largest: float) -> None:
    numbers = (lr, *map(math.log2, BETAS), largest > 0, HALF_MULTIPLE)
    prepare_adam[(len(factors),)](parts, factors, steps, rates, largest, NORM_EPSILON, *numbers, **_OPTIONS)


def _launch_update(
    parameters: Tensor,
    gradients: Tensor,
    first: Tensor,
    second: Tensor,
    factors: Tensor,
    rates: Tensor,
    decay: float,
    clip: bool,
) -> None:
    row, buffers = parameters[0].numel(), (parameters, gradients, first, second, factors, rates)
    numbers = (1 - BETAS[0], BETAS[1], 1 - BETAS[1], decay, EPSILON)
    clipped_adam[(row // BLOCK, len(parameters))](*buffers, row, *numbers, clip, BLOCK, **_OPTIONS)


_LIBRARY.impl("prepare_adam", _launch_prepare, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
_LIBRARY.impl("clipped_adam", _launch_update, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]


class TritonAdam(Adam):
    """As Adam: the same numbers but for roundings, in three kernels in place of nine."""

    def __init__(self, settings: Settings, parameters: Tensor, first: Tensor, second: Tensor, steps: int) -> None:
        super().__init__(settings, parameters, first, second, steps)
        self._factors = parameters.new_empty(len(parameters))
        # lr / (1 - beta1 ** steps), 1 / sqrt(1 - beta2 ** steps)
        self._rates = parameters.new_empty(2)

    def step(self, gradients: Tensor) -> None:
        """Update by the clipped gradients (P, 2, half), which stay as they are."""
        clip = self._largest_norm > 0
        parts = norms_of_parts(gradients) if clip else self._factors
        (parameters,), (first,), (second,) = self._buffers
        operations = torch.ops.holdfast
        operations.prepare_adam(parts, self._factors, self.steps, self._rates, self._lr, self._largest_norm)
        operations.clipped_adam(
            parameters, gradients, first, second, self._factors, self._rates, self._weight_decay, clip
        )


def tried(settings: Settings, device: torch.device) -> str:
    """Take a step with the kernels, as training will compile them, beside torch's. Returns Triton's version.

    Raises whatever keeps them from working: the first launch builds a small library with the C compiler and Python's
    headers, and caches it in the home directory. RuntimeError if they compute something else than torch.
    """
    drawn = torch.randn(4, 2, 2, HALF_MULTIPLE, generator=torch.Generator().manual_seed(1))
    found = []
    for kind in (Adam, TritonAdam):
        parameters, gradients, first, second = drawn.to(device, copy=True)
        kind(settings, parameters, first, second.square_(), steps=3).step(gradients)
        found.append(torch.stack([parameters, first, second]))
    expected, computed = found
    if not torch.allclose(computed, expected, rtol=1e-4, atol=1e-6):
        raise RuntimeError("Triton's kernels compute something else than torch on this device")
    return str(triton.__version__)
