"""Forward and backward pass of a stack of equal MLPs, one per cell and domain, written out: no autograd.

A batched product over 2P matrices replaces 2P small ones, nothing is recorded and a step allocates nothing: this is
where packing gains its speed. Every operation treats the rows of a pack independently, in the same order whatever the
pack.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from training.model.rows import Layer, biases_view, weight_view


class Stack:
    """The encoders or the decoders of a pack: M = 2P matrices per layer, each applied to its own B rows of data.

    parameters, gradients: shape (M, half), where the layers lie. None for a stack that only evaluates.
    """

    def __init__(self, layers: Sequence[Layer], parameters: Tensor, gradients: Tensor | None, batch: int) -> None:
        # Views throughout: the optimizer changes the parameters in place, and these see it.
        alike = _alike(layers)
        self._weights = [weight_view(parameters, layer) for layer in layers]
        self._transposed = [weight.transpose(1, 2) for weight in self._weights]
        self._biases = [biases_view(parameters, group).unsqueeze(2) for group in alike]
        self._outputs_alike = [_buffer(parameters, group, batch) for group in alike]
        self._outputs: list[Tensor] = [output for outputs in self._outputs_alike for output in outputs]
        if gradients is not None:
            self._weight_gradients = [weight_view(gradients, layer) for layer in layers]
            self._bias_gradients = [biases_view(gradients, group) for group in alike]
            # Of the loss with respect to what each layer puts out; that of the last one is given.
            self._hidden_gradients_alike = [_buffer(parameters, group, batch) for group in alike[:-1]]
            self._hidden_gradients: list[Tensor] = [
                gradient for found in self._hidden_gradients_alike for gradient in found
            ]
            self._input_gradient = parameters.new_empty(len(parameters), batch, layers[0].columns)

    def forward(self, inputs: Tensor) -> Tensor:
        """inputs: (M, B, in). Returns (M, B, out), a buffer that the next call overwrites."""
        # What backward needs: a layer's output after ReLU also shows which of its units were active.
        self._inputs = [inputs, *self._outputs[:-1]]
        # Products are added to the biases. Given as a summand, each would be copied here all the same, one by one.
        for outputs, biases in zip(self._outputs_alike, self._biases, strict=True):
            outputs.copy_(biases.expand_as(outputs))
        last = len(self._outputs) - 1
        for index, output in enumerate(self._outputs):
            output.baddbmm_(self._inputs[index], self._transposed[index])
            if index < last:
                output.relu_()
        return self._outputs[last]

    def backward(self, gradient: Tensor, *, to_input: bool, add: bool = False) -> Tensor:
        """gradient: (M, B, out), of the loss with respect to the output of the last forward call.

        Writes the gradients of all layers, or adds to them. Returns the gradient with respect to the input, (M, B, in),
        if `to_input`, else that of the first layer's output: nobody needs it for data. Both are buffers.
        """
        given = gradient
        for index in reversed(range(len(self._outputs))):
            self._weight_gradient(index, gradient, add)
            if index > 0:
                below = torch.bmm(gradient, self._weights[index], out=self._hidden_gradients[index - 1])
                torch.ops.aten.threshold_backward.grad_input(below, self._inputs[index], 0, grad_input=below)
                gradient = below
        for gradients, biases in zip(
            [*self._hidden_gradients_alike, given.unsqueeze(0)], self._bias_gradients, strict=True
        ):
            _sum_rows(gradients, biases, add)
        return torch.bmm(gradient, self._weights[0], out=self._input_gradient) if to_input else gradient

    def _weight_gradient(self, index: int, gradient: Tensor, add: bool) -> None:
        weight = self._weight_gradients[index]
        if add:
            weight.baddbmm_(gradient.transpose(1, 2), self._inputs[index])
        else:
            torch.bmm(gradient.transpose(1, 2), self._inputs[index], out=weight)


def _alike(layers: Sequence[Layer]) -> list[list[Layer]]:
    """The layers in their order, next to each other where one kernel can serve their biases: as many of them, at equal
    distances. The last one is by itself: it has no ReLU, and its gradient comes from outside."""
    groups = [[layers[0]]]
    for before, layer in pairwise(layers[:-1]):
        group = groups[-1]
        distances = {layer.bias - before.bias, *(two.bias - one.bias for one, two in pairwise(group))}
        if layer.rows == before.rows and len(distances) == 1:
            group.append(layer)
        else:
            groups.append([layer])
    return [*groups, [layers[-1]]]


def _buffer(like: Tensor, layers: Sequence[Layer], batch: int) -> Tensor:
    """Room for the outputs of layers that are alike, (layers, M, B, out)."""
    return like.new_empty(len(layers), len(like), batch, layers[0].rows)


def _sum_rows(gradients: Tensor, biases: Tensor, add: bool) -> None:
    """gradients: (layers, M, B, out); biases: (layers, M, out)."""
    if add:
        biases.add_(gradients.sum(dim=2))
    else:
        torch.sum(gradients, dim=2, out=biases)
