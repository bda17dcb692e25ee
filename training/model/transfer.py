"""A device that computes while the host goes on: work is queued, and the host waits only for numbers that it needs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def queued(device: torch.device) -> bool:
    """Whether a device works off a queue: each look at a number waits for it, and steps can be recorded as graphs."""
    return device.type == "cuda"


def reduced_together(cells: Tensor) -> list[slice]:
    """The rows of a pack (P, ...) that are summed in one kernel.

    On a GPU all of them, so that neither kernels nor waits grow with the pack. On a CPU each by itself: how torch
    shares a sum among vectors and threads depends on what is summed beside it, and a cell's bits must not depend on its
    pack.
    """
    if queued(cells.device):
        return [slice(0, len(cells))]
    return [slice(row, row + 1) for row in range(len(cells))]


class Lane:
    """A queue of a pack's own (a CUDA stream), so that a GPU works on several packs at once. Nothing on other devices.

    What is queued inside of `with lane.work():` comes after all that was queued outside before the lane was made, and
    after all that is in the lane. Outside, call `join` before what the lane has computed is used. The lane does not
    wait for what is queued outside later.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream() if queued(device) else None  # type: ignore[no-untyped-call]
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream())

    def work(self) -> AbstractContextManager[object]:
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def join(self) -> None:
        """Queue what follows outside after all that is in the lane. The host does not wait."""
        if self._stream is not None:
            torch.cuda.current_stream().wait_stream(self._stream)

    def uses(self, tensors: Sequence[Tensor]) -> None:
        """Note that the lane works on tensors that were made outside: once freed, their memory must not go to others
        before the lane is done with it. What is made inside is safe as it is."""
        if self._stream is not None:
            for tensor in tensors:
                tensor.record_stream(self._stream)


class HostCopy:
    """A GPU's tensors as they are now, on their way to the host while the device goes on and changes them.

    They are cloned on the device, in its turn. A stream of its own copies the clones into memory that the device can
    write by itself (pinned).
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        clones = [tensor.clone() for tensor in tensors]
        self._arriving = [torch.empty(clone.shape, dtype=clone.dtype, pin_memory=True) for clone in clones]
        # Torch hands out 32 streams of each priority in turn: lanes have the others, and none may wait for this copy.
        side, self._done = torch.cuda.Stream(priority=-1), torch.cuda.Event()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for place, clone in zip(self._arriving, clones, strict=True):
                place.copy_(clone, non_blocking=True)
                clone.record_stream(side)
            self._done.record(side)

    def wait(self) -> list[Tensor]:
        """The copies, once they have arrived. May be called in any thread, and again."""
        self._done.synchronize()
        return self._arriving
