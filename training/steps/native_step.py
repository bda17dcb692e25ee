"""The compiled training step: kernel.c, built at first use with the machine's C compiler and cached.

It is an accelerator, never a requirement: without a compiler the step in torch trains the same cells, with other
rounding. Which of the two it was is part of a run's numerics. The kernel checks nothing: this module has to make sure
that every address points to contiguous float32 (int64 for indices) of the shapes that kernel.c names.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import torch
from torch import Tensor

from training.model.losses import gradient_factors
from training.model.optimizer import BETAS, EPSILON
from training.model.routes import CYCLE, FUSED, OTHER, OWN, Routes
from training.model.rows import Architecture, Layer
from training.model.settings import Settings
from training.model.state import State
from training.model.tables import Tables
from training.steps.build import load_kernel

# Steps of one cell before the next cell's turn: enough that its 4.5 MB of state are worth loading into the cache, few
# enough that a stop is noticed within milliseconds (8 x 0.8 ms per cell).
STEPS_A_VISIT: Final = 8


class _Layer(ctypes.Structure):
    _fields_ = [(name, ctypes.c_long) for name in ("offset", "bias", "rows", "columns")]


class _Plan(ctypes.Structure):
    """As `Plan` in kernel.c: the same fields in the same order, or it reads other numbers."""

    _fields_ = [
        *((name, ctypes.POINTER(_Layer)) for name in ("encoder", "decoder")),
        *((name, ctypes.c_void_p) for name in ("inputs", "targets", "rescale", "offset")),
        *(
            (name, ctypes.c_long)
            for name in ("layers", "half", "batch", "width", "direct", "fused", "own", "other", "cycle")
        ),
        *((name, ctypes.c_double) for name in ("lr", "beta1", "beta2", "epsilon", "weight_decay")),
        ("fusion", ctypes.c_float * 2),
        ("largest_norm", ctypes.c_float),
        ("decoupled", ctypes.c_long),
    ]


class _Cell(ctypes.Structure):
    """As `Cell` in kernel.c: the order of State.tensors(), then the factors."""

    _fields_ = [
        (name, ctypes.c_void_p) for name in ("parameters", "first", "second", "squares", "cross_entropy", "factors")
    ]


class NativeStep:
    """Steps of a pack's cells, each cell by itself, so that its neighbours change no bit. Writes into the state."""

    stride = STEPS_A_VISIT

    def __init__(
        self,
        settings: Settings,
        routes: Routes,
        architecture: Architecture,
        state: State,
        tables: Tables,
        threads: int,
    ) -> None:
        self._library = load_kernel().library
        scales = [member.scale for member in state.members]
        factors = torch.from_numpy(gradient_factors(settings, routes, scales)).float().contiguous()
        encoder, decoder = _layers(architecture.encoder), _layers(architecture.decoder)
        self._plan = _plan(settings, routes, architecture, tables, encoder, decoder)
        self._cells = [
            _Cell(*(tensor[row].data_ptr() for tensor in (*state.tensors(), factors)))
            for row in range(len(state.members))
        ]
        size = self._library.scratch_size(ctypes.byref(self._plan))
        self._workers = min(threads, len(self._cells))
        # One per thread, zero before the first call: the kernel reads padding that it never writes.
        self._scratch = torch.zeros(self._workers, size)
        # The structures above hold addresses, which Python does not see.
        self._kept_alive = (state, tables, factors, encoder, decoder)

    def run(self, indices: Tensor, done: int) -> None:
        """Train on batches; indices: (steps, P * 2 * B), look-ups into the tables. done: steps before these."""
        if self._workers == 1:
            self._work(0, indices, done)
            return
        # A thread per cell, not torch's threads within one: they never wait for each other, and split no sum.
        with ThreadPoolExecutor(self._workers) as pool:
            list(pool.map(lambda worker: self._work(worker, indices, done), range(self._workers)))

    def _work(self, worker: int, indices: Tensor, done: int) -> None:
        """Train every `workers`-th cell, beginning with the worker's number."""
        # A cell's indices are one stretch of each step's row (loop.order.Batches), and `stride` leads to its next step.
        steps, stride = indices.shape
        rows = stride // len(self._cells)
        scratch = ctypes.c_void_p(self._scratch[worker].data_ptr())
        for number in range(worker, len(self._cells), self._workers):
            start = ctypes.c_void_p(indices.data_ptr() + number * rows * indices.element_size())
            plan, cell = ctypes.byref(self._plan), ctypes.byref(self._cells[number])
            self._library.train(plan, cell, start, stride, done, steps, scratch)


def _layers(layers: Sequence[Layer]) -> ctypes.Array[_Layer]:
    return (_Layer * len(layers))(*(_Layer(one.offset, one.bias, one.rows, one.columns) for one in layers))


def _plan(
    settings: Settings,
    routes: Routes,
    architecture: Architecture,
    tables: Tables,
    encoder: ctypes.Array[_Layer],
    decoder: ctypes.Array[_Layer],
) -> _Plan:
    position = {slot: index for index, slot in enumerate(routes.slots)}
    return _Plan(
        encoder=encoder,
        decoder=decoder,
        inputs=tables.train.inputs.data_ptr(),
        targets=tables.train.targets.data_ptr(),
        rescale=tables.rescaling.factor.data_ptr(),
        offset=tables.rescaling.offset.data_ptr(),
        layers=len(encoder),
        half=architecture.half,
        batch=settings.batch_size,
        width=architecture.width,
        direct=len(routes.direct),
        fused=position.get(FUSED, -1),
        own=position.get(OWN, -1),
        other=position.get(OTHER, -1),
        cycle=int(CYCLE in position),
        lr=settings.lr,
        beta1=BETAS[0],
        beta2=BETAS[1],
        epsilon=EPSILON,
        weight_decay=settings.weight_decay,
        fusion=settings.fusion_weights,
        largest_norm=settings.grad_clip,
        decoupled=0,  # weight decay as in Adam: part of the gradient
    )
