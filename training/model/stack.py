"""Forward and backward pass of a stack of equal MLPs, one per cell and domain, written out: no autograd.

A batched product over 2P matrices replaces 2P small ones, nothing is recorded and a step allocates nothing: this is
where packing gains its speed. Every operation treats the rows of a pack independently, in the same order whatever the
pack.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from training.model.rows import Layer, bias_view, weight_view


class Stack:
    """The encoders or the decoders of a pack: M = 2P matrices per layer, each applied to its own B rows of data.

    parameters, gradients: shape (M, half), where the layers lie. None for a stack that only evaluates.
    """

    def __init__(self, layers: Sequence[Layer], parameters: Tensor, gradients: Tensor | None, batch: int) -> None:
        # Views throughout: the optimizer changes the parameters in place, and these see it.
        matrices = len(parameters)
        self._weights = [weight_view(parameters, layer) for layer in layers]
        self._transposed = [weight.transpose(1, 2) for weight in self._weights]
        self._biases = [bias_view(parameters, layer) for layer in layers]
        self._outputs = [parameters.new_empty(matrices, batch, layer.rows) for layer in layers]
        if gradients is not None:
            self._weight_gradients = [weight_view(gradients, layer) for layer in layers]
            self._bias_gradients = [bias_view(gradients, layer) for layer in layers]
            self._input_gradients = [parameters.new_empty(matrices, batch, layer.columns) for layer in layers]

    def forward(self, inputs: Tensor) -> Tensor:
        """inputs: (M, B, in). Returns (M, B, out), a buffer that the next call overwrites."""
        # What backward needs: a layer's output after ReLU also shows which of its units were active.
        self._inputs = [inputs, *self._outputs[:-1]]
        last = len(self._outputs) - 1
        for index, output in enumerate(self._outputs):
            torch.baddbmm(self._biases[index], self._inputs[index], self._transposed[index], out=output)
            if index < last:
                output.relu_()
        return self._outputs[last]

    def backward(self, gradient: Tensor, *, to_input: bool, add: bool = False) -> Tensor:
        """gradient: (M, B, out), of the loss with respect to the output of the last forward call.

        Writes the gradients of all layers, or adds to them. Returns the gradient with respect to the input, (M, B, in),
        if `to_input`, else that of the first layer's output: nobody needs it for data. Both are buffers.
        """
        for index in reversed(range(len(self._outputs))):
            inputs = self._inputs[index]
            self._layer_gradients(index, gradient, add)
            if index == 0 and not to_input:
                return gradient
            below = torch.bmm(gradient, self._weights[index], out=self._input_gradients[index])
            if index > 0:
                torch.ops.aten.threshold_backward.grad_input(below, inputs, 0, grad_input=below)
            gradient = below
        return gradient

    def _layer_gradients(self, index: int, gradient: Tensor, add: bool) -> None:
        weight, bias = self._weight_gradients[index], self._bias_gradients[index]
        if add:
            weight.baddbmm_(gradient.transpose(1, 2), self._inputs[index])
            bias.add_(gradient.sum(dim=1, keepdim=True))
        else:
            torch.bmm(gradient.transpose(1, 2), self._inputs[index], out=weight)
            torch.sum(gradient, dim=1, keepdim=True, out=bias)
