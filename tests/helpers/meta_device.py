"""Torch's meta device with what it lacks for a whole run: copies to the host, filled with ones and counted.

A tensor there has a shape and no numbers: whatever a device would refuse by type, shape or place is refused here, too,
and whatever needs a number on the host has to copy it. What each kernel moves and multiplies gives its time by a model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

aten = torch.ops.aten
META = torch.device("meta")
# What is not a kernel: views, and what only makes a tensor.
NO_KERNELS = {aten.empty, aten.new_empty, aten.empty_like, aten.detach, aten.alias, aten.lift_fresh}
# Products, with the place of their first factor.
PRODUCTS = {aten.bmm: 0, aten.baddbmm: 1, aten.baddbmm_: 1}
# What writes without having read.
OVERWRITES = {aten.copy_, aten.zero_, aten.fill_}


@dataclass(frozen=True)
class Gpu:
    """The model: what a vendor states, bytes and FLOP per second, and what of that is reached.

    A kernel takes as long as what it moves or what it multiplies, whichever is longer, and begins after the one before.
    """

    bandwidth: float
    fp32: float
    of_bandwidth: float = 0.88
    of_fp32: float = 0.45
    beginning_s: float = 2e-6

    def seconds(self, work: Sequence[tuple[float, float]]) -> float:
        """Of kernels, each as bytes and FLOP."""
        bandwidth, fp32 = self.of_bandwidth * self.bandwidth, self.of_fp32 * self.fp32
        return sum(self.beginning_s + max(moved / bandwidth, flop / fp32) for moved, flop in work)


H100, H200 = Gpu(3.35e12, 66.9e12), Gpu(4.8e12, 66.9e12)


class Counting(TorchDispatchMode):
    """copies: how often the host has copied something from the device; given: how often something to it. kernels: how
    many the device was given. work: bytes and FLOP of each.

    A summand of a batched product that is not already where the result goes is copied there first (torch's
    baddbmm_out_cuda_impl), which the dispatcher does not show.
    """

    def __init__(self) -> None:
        super().__init__()
        self.copies = self.given = self.kernels = 0
        self.work: list[tuple[float, float]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        tensors = [one for one in tree_flatten((args, options))[0] if isinstance(one, Tensor)]
        there = [tensor for tensor in tensors if tensor.device == META]
        if func.overloadpacket is aten._local_scalar_dense and there:
            self.copies += 1
            return torch.ones((), dtype=tensors[0].dtype).item()
        if func.overloadpacket is aten._to_copy:
            if there and options.get("device", META) != META:
                self.copies += 1
                return torch.ones(tensors[0].shape, dtype=options.get("dtype") or tensors[0].dtype)
            self.given += not there and options.get("device") == META
        elif there and any(tensor.dim() > 0 and tensor.device != META for tensor in tensors):
            if func.overloadpacket is not aten.copy_:
                raise RuntimeError(f"{func} takes tensors of the device and of the host")
            if args[0].device != META:
                self.copies += 1
                return args[0].fill_(1)
            self.given += 1
        outputs = func(*args, **options)
        if there and not func.is_view and func.overloadpacket not in NO_KERNELS:
            self.kernels += 1 + (func is aten.baddbmm.out)
            self.work.append((sum(moved(func, args, options, outputs)), multiplied(func, args)))
        return outputs


def moved(func: Any, args: Sequence[Any], options: Mapping[str, Any], outputs: Any) -> Iterator[int]:
    """Bytes of each tensor that a kernel reads or writes; twice, if both."""
    given = set()
    for position, argument in enumerate(func._schema.arguments):
        value = args[position] if position < len(args) else options.get(argument.name)
        writes = argument.alias_info is not None and argument.alias_info.is_write
        if func.overloadpacket is aten._fused_adam_ and argument.name == "grads":
            writes = False  # only where it scales them
        reads = not writes or not (argument.is_out or func.overloadpacket in OVERWRITES)
        for tensor in (one for one in tree_flatten(value)[0] if isinstance(one, Tensor)):
            given.add(tensor.untyped_storage()._cdata)
            yield (writes + reads) * size(tensor)
    made = (one for one in tree_flatten(outputs)[0] if isinstance(one, Tensor))
    yield from (size(tensor) for tensor in made if tensor.untyped_storage()._cdata not in given)


def size(tensor: Tensor) -> int:
    """Bytes; what is expanded lies there once."""
    dimensions = zip(tensor.shape, tensor.stride(), strict=True)
    return tensor.itemsize * math.prod(length for length, stride in dimensions if stride)


def multiplied(func: Any, args: Sequence[Any]) -> int:
    """FLOP of a batched product."""
    if func.overloadpacket not in PRODUCTS:
        return 0
    left, right = args[PRODUCTS[func.overloadpacket] :][:2]
    return 2 * left.numel() * right.shape[2]
