"""The training step on a GPU: recorded once as a CUDA graph and replayed, so that the host only passes batches."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from training.model.routes import Routes
from training.model.rows import Architecture
from training.model.settings import Settings
from training.model.state import State
from training.model.tables import Tables
from training.steps.torch_step import TorchStep

# As torch's documentation advises: in their first calls, libraries do what cannot be recorded.
WARM_UP_STEPS: Final = 3


class GraphStep:
    """TorchStep, replayed. The host waits for the device only where it reads a number: every 100 steps at most."""

    # The loop looks for divergence as rarely. Nor does it notice a stop sooner.
    stride = 100

    def __init__(
        self,
        settings: Settings,
        routes: Routes,
        architecture: Architecture,
        state: State,
        tables: Tables,
        triton: bool = False,
    ) -> None:
        self._step = TorchStep(settings, routes, architecture, state, tables, triton)
        self._state = state
        # The graph reads its batches from this memory for ever, and counts on the device which one is next: between two
        # steps the host does nothing but replay. Zeros, as warming up may read more rows than were given.
        width = len(state.members) * 2 * settings.batch_size
        self._batches = torch.zeros(self.stride, width, dtype=torch.int64, device=state.parameters.device)
        self._next = torch.zeros(1, dtype=torch.int64, device=state.parameters.device)
        self._index = torch.zeros_like(self._batches[:1])
        self._graph: torch.cuda.CUDAGraph | None = None

    def run(self, indices: Tensor, done: int) -> None:
        """Train on batches; indices: (steps, P * 2 * B), on the device, of at most `stride` steps."""
        self._batches[: len(indices)].copy_(indices)
        self._next.zero_()
        if self._graph is None:
            self._graph = self._recorded()
        for _ in range(len(indices)):
            self._graph.replay()

    def _one(self) -> None:
        torch.index_select(self._batches, 0, self._next, out=self._index)
        self._next += 1
        self._step.step(self._index[0])

    def _recorded(self) -> torch.cuda.CUDAGraph:
        """The step as a graph. Warming up trains, so the state is put back afterwards; recording computes nothing."""
        written = [*self._state.tensors(), *self._step.counters(), self._next]
        before = [tensor.clone() for tensor in written]
        for _ in range(WARM_UP_STEPS):
            self._one()
        for tensor, value in zip(written, before, strict=True):
            tensor.copy_(value)
        graph = torch.cuda.CUDAGraph()
        # In the stream that it is replayed in, and never the one that torch would take for all: libraries have one
        # workspace per stream, which graphs that are replayed at once must not share. Of this thread alone, as another
        # one may be waiting for the copy of a checkpoint.
        lane = torch.cuda.current_stream()
        with torch.cuda.graph(graph, stream=lane, capture_error_mode="thread_local"):
            self._one()
        return graph
