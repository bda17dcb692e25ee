"""Torch's meta device with what it lacks for a whole run: copies to the host, filled with ones and counted.

A tensor there has a shape and no numbers: whatever a device would refuse by type, shape or place is refused here, too,
and whatever needs a number on the host has to copy it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

aten = torch.ops.aten
META = torch.device("meta")
# What is not a kernel: views, and what only makes a tensor.
NO_KERNELS = {aten.empty, aten.new_empty, aten.empty_like, aten.detach, aten.alias, aten.lift_fresh}


class Counting(TorchDispatchMode):
    """copies: how often the host has copied something from the device. kernels: how many the device was given.

    A summand of a batched product that is not already where the result goes is copied there first (torch's
    baddbmm_out_cuda_impl), which the dispatcher does not show.
    """

    def __init__(self) -> None:
        super().__init__()
        self.copies = self.kernels = 0

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
        elif there and any(tensor.dim() > 0 and tensor.device != META for tensor in tensors):
            if func.overloadpacket is not aten.copy_:
                raise RuntimeError(f"{func} takes tensors of the device and of the host")
            if args[0].device != META:
                self.copies += 1
                return args[0].fill_(1)
        if there and not func.is_view and func.overloadpacket not in NO_KERNELS:
            self.kernels += 1 + (func is aten.baddbmm.out)
        return func(*args, **options)
