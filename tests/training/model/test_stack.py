"""A stack gives the bits of layers that are computed one by one, however many of them share a kernel."""

from __future__ import annotations

import pytest
import torch
from helpers.meta_device import META, Counting
from torch import Tensor

from training.model.rows import Architecture, Layer, biases_view
from training.model.stack import Stack

# The second and third have layers of one width whose biases lie at unequal distances, or that end like hidden ones.
ARCHITECTURES = [
    Architecture(width=32, hidden=128, decoder_hidden=128, n_layers=4),
    Architecture(width=32, hidden=40, decoder_hidden=24, n_layers=3),
    Architecture(width=32, hidden=32, decoder_hidden=32, n_layers=1),
    Architecture(width=64, hidden=7, decoder_hidden=24, n_layers=0),
]
MATRICES, BATCH = 6, 10


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def parts(rows: Tensor, layer: Layer) -> tuple[Tensor, Tensor]:
    weight = rows[:, layer.offset : layer.offset + layer.rows * layer.columns]
    return weight.view(-1, layer.rows, layer.columns), rows[:, None, layer.bias : layer.bias + layer.rows]


def one_by_one(
    layers: tuple[Layer, ...], parameters: Tensor, gradients: Tensor, inputs: Tensor, above: Tensor, add: bool
) -> tuple[Tensor, Tensor]:
    """The outputs, and the gradient with respect to the inputs; the others are written to `gradients`."""
    seen = [inputs]
    for layer in layers:
        weight, bias = parts(parameters, layer)
        output = torch.baddbmm(bias, seen[-1], weight.transpose(1, 2))
        seen.append(output if layer is layers[-1] else output.relu())
    for position, layer in reversed(list(enumerate(layers))):
        weight, bias = parts(gradients, layer)
        if add:
            weight.baddbmm_(above.transpose(1, 2), seen[position])
            bias += above.sum(dim=1, keepdim=True)
        else:
            weight.copy_(torch.bmm(above.transpose(1, 2), seen[position]))
            bias.copy_(above.sum(dim=1, keepdim=True))
        above = torch.bmm(above, parts(parameters, layer)[0])
        if position:
            above = above.where(seen[position] > 0, 0.0)
    return seen[-1], above


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("which", ["encoder", "decoder"])
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
def test_a_stack_has_the_bits_of_its_layers_one_by_one(architecture: Architecture, which: str, add: bool) -> None:
    layers = getattr(architecture, which)
    parameters, gradients = (drawn(MATRICES, architecture.half) for _ in range(2))
    inputs, above = drawn(MATRICES, BATCH, layers[0].columns), drawn(MATRICES, BATCH, layers[-1].rows)
    expected = gradients.clone()
    stack = Stack(layers, parameters, gradients, BATCH)
    outputs, below = one_by_one(layers, parameters, expected, inputs, above, add)
    assert stack.forward(inputs).equal(outputs)
    assert stack.backward(above, to_input=True, add=add).equal(below)
    assert gradients.equal(expected)


def test_layers_that_are_alike_share_the_kernels_of_their_biases() -> None:
    counts = []
    for n_layers in (1, 4):
        layers = Architecture(width=32, hidden=128, decoder_hidden=128, n_layers=n_layers).encoder
        parameters = torch.empty(MATRICES, layers[-1].end, device=META)
        stack = Stack(layers, parameters, torch.empty_like(parameters), BATCH)
        with Counting() as counted:
            stack.forward(torch.empty(MATRICES, BATCH, layers[0].columns, device=META))
            stack.backward(torch.empty(MATRICES, BATCH, layers[-1].rows, device=META), to_input=False)
        counts.append(counted.kernels)
    # Three layers more: a product and a ReLU forward, two products and a mask back.
    assert counts[1] - counts[0] == 3 * 5


def test_biases_of_layers_that_are_alike_are_seen_where_they_lie() -> None:
    layers = ARCHITECTURES[0].encoder[:-1]
    rows = drawn(MATRICES, ARCHITECTURES[0].half)
    for found, layer in zip(biases_view(rows, layers), layers, strict=True):
        assert found.equal(rows[:, layer.bias : layer.bias + layer.rows])
        assert found.untyped_storage().data_ptr() == rows.untyped_storage().data_ptr()
