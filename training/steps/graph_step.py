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
        self, settings: Settings, routes: Routes, architecture: Architecture, state: State, tables: Tables
    ) -> None:
        self._step = TorchStep(settings, routes, architecture, state, tables)
        self._state = state
        self._graph: torch.cuda.CUDAGraph | None = None

    def run(self, indices: Tensor, done: int) -> None:
        """Train on batches; indices: (steps, P * 2 * B), on the device. done: steps before these."""
        if self._graph is None:
            # The graph reads its batch from this memory for ever; each replay gets new numbers put into it.
            self._index = indices[0].clone()
            self._graph = self._recorded()
        for index in indices:
            self._index.copy_(index)
            self._graph.replay()

    def _recorded(self) -> torch.cuda.CUDAGraph:
        """The step as a graph. Warming up trains, so the state is put back afterwards; recording computes nothing."""
        written = [*self._state.tensors(), *self._step.counters()]
        before = [tensor.clone() for tensor in written]
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_STEPS):
                self._step.step(self._index)
        torch.cuda.current_stream().wait_stream(side)
        for tensor, value in zip(written, before, strict=True):
            tensor.copy_(value)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._step.step(self._index)
        return graph
