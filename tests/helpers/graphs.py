"""CUDA graphs emulated on the CPU, by the rules that a real one enforces or silently relies on; with them, streams.

- Recording computes nothing: what it wrote to memory from before is put back.
- Memory that a recording allocates holds nonsense before and after each replay.
- Memory from before the recording is known by its address: once it is freed, a replay is an error.
- While recording, whatever makes the host wait for the device, or copies from ordinary host memory, is an error.
- A graph is replayed in the stream that it was recorded in: to it belongs the workspace of the libraries.
- While a recording forbids it to all threads, none may wait for the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

from helpers.streams import Device, EmulatedError, Event, Looks, Recordings, Stream, Watch, on_stream
from training.model import transfer

aten = torch.ops.aten
# Operations whose result, or whose shape, the host has to know.
WAITING = {
    aten._local_scalar_dense,
    aten.equal,
    aten.is_nonzero,
    aten.masked_select,
    aten.nonzero,
    aten.unique_consecutive,
    aten._unique2,
    aten.lift_fresh,
}
# Of tensors, and never seen by the dispatcher on a CPU.
WAITING_METHODS = {"cpu", "numpy", "tolist", "item", "__array__", "__bool__", "__float__", "__int__", "__index__"}
NONSENSE = 0xFF  # not a number as floating point, -1 as an index


class Address:
    """A tensor as a recording knows it: memory and layout. Only the recording's own memory is kept alive."""

    def __init__(self, tensor: Tensor, own: bool) -> None:
        self.own = own
        storage = tensor.untyped_storage()
        self._kept = storage if own else None
        self._memory = StorageWeakRef(storage)
        self._layout = tensor.dtype, tensor.storage_offset(), tensor.size(), tensor.stride()

    def tensor(self) -> Tensor:
        if self._memory.expired():
            raise EmulatedError("a replay uses memory that was freed after the recording")
        storage = self._kept or torch.UntypedStorage._new_with_weak_ptr(self._memory.cdata)
        dtype, offset, size, stride = self._layout
        return torch.empty(0, dtype=dtype).set_(storage, offset, size, stride)


class Kernel(NamedTuple):
    function: Any
    arguments: Any
    outputs: Any

    def launch(self) -> None:
        arguments, options = tree_map_only(Address, Address.tensor, self.arguments)
        found = tree_flatten(self.function(*arguments, **options))[0]
        for place, value in zip(tree_flatten(self.outputs)[0], found, strict=True):
            if isinstance(place, Address) and place.own:
                place.tensor().copy_(value)


class CUDAGraph:
    def __init__(self) -> None:
        self.kernels: list[Kernel] = []
        self.own: dict[int, torch.UntypedStorage] = {}
        self.stream: Stream | None = None
        self.replays = 0

    def replay(self) -> None:
        if self.stream is not Stream.current:
            raise EmulatedError("a graph is replayed in another stream than the one that its workspace belongs to")
        self.replays += 1
        Watch.current.adopt(self.own.values())
        self.spoil()
        for kernel in self.kernels:
            kernel.launch()
        self.spoil()

    def spoil(self) -> None:
        for storage in self.own.values():
            storage_bytes(storage).fill_(NONSENSE)


class Recording(TorchDispatchMode):
    def __init__(self, graph: CUDAGraph) -> None:
        super().__init__()
        self._graph = graph
        self._before: dict[int, tuple[torch.UntypedStorage, Tensor]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        refuse_waiting(func, args)
        given = {t.untyped_storage()._cdata for t in tree_flatten((args, options))[0] if isinstance(t, Tensor)}
        self._keep_what_is_written(func, args, options)
        outputs = func(*args, **options)
        for tensor in (one for one in tree_flatten(outputs)[0] if isinstance(one, Tensor)):
            storage = tensor.untyped_storage()
            if storage._cdata not in given:
                self._graph.own[storage._cdata] = storage
        addressed = tree_map_only(Tensor, self._address, ((args, options), outputs))
        self._graph.kernels.append(Kernel(func, *addressed))
        return outputs

    def _address(self, tensor: Tensor) -> Address:
        return Address(tensor, tensor.untyped_storage()._cdata in self._graph.own)

    def _keep_what_is_written(self, func: Any, args: Sequence[Any], options: dict[str, Any]) -> None:
        for position, argument in enumerate(func._schema.arguments):
            value = args[position] if position < len(args) else options.get(argument.name)
            if argument.alias_info is None or not argument.alias_info.is_write:
                continue
            for tensor in (one for one in tree_flatten(value)[0] if isinstance(one, Tensor)):
                storage = tensor.untyped_storage()
                if storage._cdata not in self._graph.own:
                    self._before.setdefault(storage._cdata, (storage, storage_bytes(storage).clone()))

    def undo(self) -> None:
        for storage, content in self._before.values():
            storage_bytes(storage).copy_(content)
        self._graph.spoil()


class Refusing(TorchFunctionMode):
    """Refuses the methods of tensors that would wait for a GPU."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") in WAITING_METHODS:
            raise EmulatedError(f"{func.__name__} makes the host wait while a graph is recorded")
        return func(*args, **(kwargs or {}))


def refuse_waiting(func: Any, args: Sequence[Any]) -> None:
    masks = func.overloadpacket in (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_) and any(
        isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8) for index in args[1]
    )
    if masks or func.overloadpacket in WAITING:
        raise EmulatedError(f"{func} makes the host wait while a graph is recorded")


def storage_bytes(storage: torch.UntypedStorage) -> Tensor:
    return torch.empty(0, dtype=torch.uint8).set_(storage)


@contextmanager
def record(graph: CUDAGraph, stream: Stream | None = None, capture_error_mode: str = "global") -> Iterator[None]:
    for one in list(Stream.everyone):  # as torch does
        one.synchronize()
    recording, graph.stream = Recording(graph), stream or Watch.current.main
    Watch.current.paused, Recordings.forbidding = True, capture_error_mode == "global"
    try:
        with Refusing(), recording:
            yield
        recording.undo()
    finally:
        Watch.current.paused, Recordings.forbidding = False, False


def handed_out() -> Callable[..., Stream]:
    """Torch has 32 streams of each priority, and hands them out again and again."""
    pools: dict[int, Iterator[Stream]] = {}

    def stream(device: torch.device | None = None, priority: int = 0) -> Stream:
        if priority not in pools:
            pools[priority] = cycle([Stream() for _ in range(32)])
        return next(pools[priority])

    return stream


@contextmanager
def emulated_gpu() -> Iterator[None]:
    """Make the CPU pass for a device with graphs and streams, for training and for this context."""
    Stream.everyone.clear()
    Stream.host.clear()
    Stream.current = main = Stream()
    Watch.current = watch = Watch(main)
    with pytest.MonkeyPatch.context() as patch, Looks(watch), Device(main, watch):
        patch.setattr(transfer, "queued", lambda device: True)
        for name, value in (
            ("CUDAGraph", CUDAGraph),
            ("graph", record),
            ("Stream", handed_out()),
            ("Event", Event),
            ("stream", on_stream),
            ("current_stream", lambda: Stream.current),
        ):
            patch.setattr(torch.cuda, name, value)
        patch.setattr(Tensor, "record_stream", lambda tensor, stream: watch.hold(tensor, stream))
        yield
