"""Forward and backward through a pack of workspaces: encode both domains, form the states, decode every domain."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from training.model.routes import FUSED, OTHER, OWN, Routes
from training.model.rows import INPUTS, OUTPUTS, Architecture
from training.model.stack import Stack


@dataclass(frozen=True)
class Rescaling:
    """From decoded base features to encoder inputs: factor * output + offset, shape (2, 1, INPUTS) each.

    Both are 0 where an output is not a base feature: synergy logits and padding never enter a cycle.
    """

    factor: Tensor
    offset: Tensor


class Network:
    """P Global Workspaces with buffers for batches of B rows and K directly decoded slots.

    parameters, gradients: shape (P, 2, half); gradients None for evaluation only. fusion_weights: one per domain.
    rescaling: from decoded features to the inputs of the cycle's second encoding.
    """

    def __init__(
        self,
        architecture: Architecture,
        parameters: Tensor,
        gradients: Tensor | None,
        batch: int,
        fusion_weights: tuple[float, float],
        routes: Routes,
        rescaling: Rescaling,
    ) -> None:
        # All buffers are made here: a step allocates nothing, and a recorded CUDA graph finds the same addresses.
        cells, width = len(parameters), architecture.width
        rows = parameters.view(2 * cells, -1)
        gradient_rows = None if gradients is None else gradients.view(2 * cells, -1)
        self._slots = routes.direct
        self._routes, self._fusion_weights, self._rescaling = routes, fusion_weights, rescaling
        self._encoder = Stack(architecture.encoder, rows, gradient_rows, batch)
        self._decoder = Stack(architecture.decoder, rows, gradient_rows, len(self._slots) * batch)
        self._fused = parameters.new_empty(cells, batch, width)
        self._shares = parameters.new_tensor(fusion_weights).view(1, 2, 1, 1)
        self._states = parameters.new_empty(cells, 2, len(self._slots), batch, width)
        if routes.single:
            self._single = parameters.new_empty(cells, 2, batch, width)
        if routes.cycle:
            self._second_encoder = Stack(architecture.encoder, rows, gradient_rows, batch)
            self._second_decoder = Stack(architecture.decoder, rows, gradient_rows, batch)
            self._cycle_inputs = parameters.new_empty(cells, 2, batch, INPUTS)
            self._cycle_state = parameters.new_empty(cells, 2, batch, width)
        self._pairs = (cells, 2, batch, width)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """inputs: (2P, B, INPUTS), the two domains of a cell next to each other.

        Returns the direct slots, (P, 2, K, B, OUTPUTS), and the cycle's, (P, 2, 1, B, OUTPUTS), or None. Both are
        buffers that the next call overwrites.
        """
        encoded = self._encoder.forward(inputs).view(self._pairs)
        # Not in place: fusion adds the encodings before tanh.
        if self._routes.single:
            torch.tanh(encoded, out=self._single)
        for position, slot in enumerate(self._slots):
            self._states[:, :, position].copy_(self._slot_states(slot, encoded))
        cells, _, slots, batch, width = self._states.shape
        decoded = self._decoder.forward(self._states.view(2 * cells, slots * batch, width))
        direct = decoded.view(cells, 2, slots, batch, OUTPUTS)
        return direct, self._around(direct) if self._routes.cycle else None

    def _slot_states(self, slot: str, encoded: Tensor) -> Tensor:
        """What the decoders read in a slot, shape (P, 2, B, width)."""
        if slot == OWN:
            return self._single
        if slot == OTHER:
            return self._single.flip(1)
        torch.mul(encoded[:, 0], self._fusion_weights[0], out=self._fused)
        self._fused.add_(encoded[:, 1], alpha=self._fusion_weights[1]).tanh_()
        return self._fused.unsqueeze(1).expand(self._pairs)

    def _around(self, direct: Tensor) -> Tensor:
        """The second half of the cycle: encode what was decoded from the other domain, decode that domain again."""
        cells, _, batch, _ = self._pairs
        decoded = direct[:, :, self._slots.index(OTHER), :, :INPUTS]
        torch.addcmul(self._rescaling.offset, decoded, self._rescaling.factor, out=self._cycle_inputs)
        encoded = self._second_encoder.forward(self._cycle_inputs.view(-1, batch, INPUTS)).view(self._pairs)
        torch.tanh(encoded, out=self._cycle_state)
        returned = self._second_decoder.forward(self._cycle_state.flip(1).view(-1, *self._pairs[2:]))
        return returned.view(cells, 2, 1, batch, OUTPUTS)

    def backward(self, direct: Tensor, cycle: Tensor | None) -> None:
        """direct, cycle: gradients of the loss with respect to what `forward` returned. Writes all gradients."""
        # The cycle comes first, as what it demands of the first decoding is passed on from there. It also writes the
        # gradients of both stacks, to which the first half then adds; without a cycle that half writes them itself.
        if cycle is not None:
            self._back_around(cycle, direct[:, :, self._slots.index(OTHER), :, :INPUTS])
        below = self._decoder.backward(direct.flatten(2, 3).flatten(0, 1), to_input=True, add=self._routes.cycle)
        slots = below.view(self._states.shape)
        encoded = self._to_encodings({slot: slots[:, :, position] for position, slot in enumerate(self._slots)})
        self._encoder.backward(encoded.view(-1, *self._pairs[2:]), to_input=False, add=self._routes.cycle)

    def _back_around(self, cycle: Tensor, decoded: Tensor) -> None:
        """Adds what the cycle demands of the first decoding to its gradient, `decoded`, (P, 2, B, INPUTS).

        INPUTS columns of attr reach into its logits; the rescaling factor is 0 there, so they get nothing.
        """
        below = self._second_decoder.backward(cycle.flatten(2, 3).flatten(0, 1), to_input=True)
        encoded = torch.ops.aten.tanh_backward(below.view(self._pairs).flip(1), self._cycle_state)
        inputs = self._second_encoder.backward(encoded.view(-1, *self._pairs[2:]), to_input=True)
        decoded.addcmul_(inputs.view(self._cycle_inputs.shape), self._rescaling.factor)

    def _to_encodings(self, slots: dict[str, Tensor]) -> Tensor:
        """The gradient with respect to both encodings, (P, 2, B, width), from that of the state of each slot."""
        if FUSED in slots:
            # Both domains' decoders read the one fused state, so their gradients add up before tanh.
            fused = torch.ops.aten.tanh_backward(slots[FUSED][:, 0] + slots[FUSED][:, 1], self._fused)
            encoded = torch.mul(fused.unsqueeze(1), self._shares)
        else:
            encoded = torch.zeros(self._pairs, dtype=self._fused.dtype, device=self._fused.device)
        if self._routes.single:
            single = torch.zeros_like(encoded)
            if OWN in slots:
                single += slots[OWN]
            if OTHER in slots:
                single += slots[OTHER].flip(1)
            encoded += torch.ops.aten.tanh_backward(single, self._single)
        return encoded
