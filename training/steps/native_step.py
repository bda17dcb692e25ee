"""The compiled training step: kernel.c, built at first use with the machine's C compiler and cached.

It is an accelerator, never a requirement: without a compiler the step in torch trains the same cells, with other
rounding. Which of the two it was is part of a run's numerics. The kernel checks nothing: this module has to make sure
that every address points to contiguous float32 (int64 for indices) of the shapes that kernel.c names.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from threading import Event
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
# enough that a stop is noticed within a tenth of a second (16 x 0.8 ms per cell).
STEPS_A_VISIT: Final = 16

Part = tuple[int, int, int]


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
        precision: str = "fp32",
    ) -> None:
        self._library = load_kernel(precision).library
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
        self._pool = ThreadPoolExecutor(self._workers)
        # One per thread, zero before the first call: the kernel reads padding that it never writes.
        self._scratch = torch.zeros(self._workers, size)
        # The structures above hold addresses, which Python does not see.
        self._kept_alive = (state, tables, factors, encoder, decoder)

    def run(self, indices: Tensor, done: int) -> None:
        """Train on batches; indices: (steps, P * 2 * B), look-ups into the tables. done: steps before these."""
        shares = shares_of(len(self._cells), len(indices), self._workers)
        half_done = [Event() for _ in self._cells]
        # A thread per cell, not torch's threads within one: they hardly wait for each other, and split no sum.
        others = [self._pool.submit(self._work, n, shares[n], indices, done, half_done) for n in range(1, len(shares))]
        self._work(0, shares[0], indices, done, half_done)
        for other in others:
            other.result()

    def _work(self, worker: int, share: Sequence[Part], indices: Tensor, done: int, half_done: Sequence[Event]) -> None:
        # A cell's indices are one stretch of each step's row (loop.order.Batches), and `stride` leads to its next step.
        steps, stride = indices.shape
        rows = stride // len(self._cells)
        scratch = ctypes.c_void_p(self._scratch[worker].data_ptr())
        for number, first, last in share:
            if first:
                half_done[number].wait()
            start = ctypes.c_void_p(indices.data_ptr() + (first * stride + number * rows) * indices.element_size())
            plan, cell = ctypes.byref(self._plan), ctypes.byref(self._cells[number])
            self._library.train(plan, cell, start, stride, done + first, last - first, scratch)
            if last < steps:
                half_done[number].set()


def shares_of(cells: int, steps: int, workers: int) -> list[list[Part]]:
    """What each worker trains, in its order: (cell, first step, step after the last), the same number of steps for all.

    Between two workers a cell may be divided. The one begins with its first steps, the other ends with its last ones,
    and these are not due before those are done (McNaughton's rule). cells >= workers.
    """
    ends = [cells * steps * worker // workers for worker in range(workers + 1)]
    shares: list[list[Part]] = []
    for begin, end in pairwise(ends):
        shares.append([])
        for cell in range(begin // steps, -(-end // steps)):
            mine = min(end, (cell + 1) * steps) - max(begin, cell * steps)
            first = max((cell + 1) * steps - end, 0)
            shares[-1].append((cell, first, first + mine))
    return shares


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
