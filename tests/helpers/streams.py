"""CUDA streams emulated on the CPU, and a watch over the memory that they share.

- Each stream is a queue. What is queued in one is done after what is queued in another only where somebody has waited:
  reading what another may not have written yet, or writing what it may not have read yet, is an error.
- Memory that is freed goes to others of the stream that made it. If another one may still use it, that is an error.
- Copies that need not be waited for arrive as late as they may: those on a side stream when somebody waits for it,
  those on the main stream when it is their turn on the device, but for the host only when it has waited. A side stream
  copies to pinned memory alone: to other memory of the host it would hold up the host, and in it the device.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

aten = torch.ops.aten
# Not done by a device.
NO_KERNELS = {aten.empty, aten.new_empty, aten.empty_like, aten.empty_strided, aten.detach, aten.alias, aten.set_}
Seen = dict["Stream", int]


class EmulatedError(RuntimeError):
    """What a GPU would refuse, or would compute wrongly without a word."""


class Stream:
    """A queue. late: copies that are not done yet. count: how much was queued. seen: how much of each stream is done
    before what is queued here next."""

    current: Stream
    host: ClassVar[Seen] = {}
    everyone: ClassVar[weakref.WeakSet[Stream]] = weakref.WeakSet()

    def __init__(self) -> None:
        self.late: list[Callable[[], None]] = []
        self.count = 0
        self.seen: Seen = {}
        Stream.everyone.add(self)

    def queue(self) -> None:
        """One more piece of work, which comes after all that the host has waited for."""
        self.after(Stream.host)
        self.count += 1
        self.seen[self] = self.count

    def after(self, seen: Mapping[Stream, int]) -> None:
        merge(self.seen, seen)

    def knows(self, other: Stream, count: int) -> bool:
        return max(self.seen.get(other, 0), Stream.host.get(other, 0)) >= count

    def arrive(self) -> None:
        late, self.late = self.late, []
        for copy in late:
            copy()

    def synchronize(self) -> None:
        self.arrive()
        merge(Stream.host, self.seen)

    def wait_stream(self, other: Stream) -> None:
        other.arrive()
        self.after(other.seen)


class Event:
    def __init__(self) -> None:
        self._stream: Stream | None = None
        self._seen: Seen = {}

    def record(self, stream: Stream | None = None) -> None:
        self._stream = stream or Stream.current
        self._seen = dict(self._stream.seen)

    def synchronize(self) -> None:
        if Recordings.forbidding:
            raise EmulatedError("a thread waits for the device while another records a graph and forbids that to all")
        if self._stream is not None:
            self._stream.arrive()
        if threading.current_thread() is threading.main_thread():
            merge(Stream.host, self._seen)


class Recordings:
    """forbidding: whether a graph is being recorded that forbids all threads to wait for the device."""

    forbidding = False


def merge(into: Seen, seen: Mapping[Stream, int]) -> None:
    for stream, count in seen.items():
        into[stream] = max(into.get(stream, 0), count)


@contextmanager
def on_stream(stream: Stream) -> Iterator[None]:
    before, Stream.current = Stream.current, stream
    try:
        yield
    finally:
        Stream.current = before


@dataclass
class Place:
    """Memory: which stream made it, when each stream has used it last, and which ones hold it beyond its end.

    of_device: whether the device has made it; the host's is copied while the host waits.
    """

    memory: StorageWeakRef
    made_on: Stream
    of_device: bool
    written: tuple[Stream, int]
    read: Seen = field(default_factory=dict)
    held_by: set[Stream] = field(default_factory=set)

    def used_elsewhere(self) -> Iterator[tuple[Stream, int]]:
        uses = [*self.read.items(), self.written]
        return ((stream, count) for stream, count in uses if stream is not self.made_on and stream not in self.held_by)


class Watch:
    """Follows each piece of memory through the streams."""

    current: Watch

    def __init__(self, main: Stream) -> None:
        self.main = main
        self._places: dict[int, Place] = {}
        self._shared: set[int] = set()  # used by a stream that has not made them
        self.pinned: set[int] = set()
        self.paused = False

    def operation(self, func: Any, args: Sequence[Any], options: Mapping[str, Any]) -> None:
        """Note what is about to be queued. Raises EmulatedError."""
        if self.paused or func.is_view or func.overloadpacket in NO_KERNELS:
            return
        self._refuse_freed()
        Stream.current.queue()
        for position, argument in enumerate(func._schema.arguments):
            value = args[position] if position < len(args) else options.get(argument.name)
            writes = argument.alias_info is not None and argument.alias_info.is_write
            for tensor in (one for one in tree_flatten(value)[0] if isinstance(one, Tensor)):
                self.use(tensor, writes, str(func))

    def made(self, outputs: Any, given: set[int]) -> None:
        """Note memory that is new."""
        if self.paused:
            return
        for tensor in (one for one in tree_flatten(outputs)[0] if isinstance(one, Tensor)):
            storage = tensor.untyped_storage()
            if storage._cdata not in given:
                self._forget(storage._cdata)
                self._add(storage, Stream.current)

    def use(self, tensor: Tensor, writes: bool, what: str) -> None:
        if tensor.data_ptr() in self.pinned:  # nonsense until the copy has arrived, and never freed too early by torch
            return
        place, stream = self._place(tensor), Stream.current
        if not stream.knows(*place.written):
            raise EmulatedError(f"{what} uses what another stream may not have written yet")
        if writes and not all(stream.knows(*one) for one in place.read.items()):
            raise EmulatedError(f"{what} overwrites what another stream may not have read yet")
        if writes:
            place.written, place.read = (stream, stream.count), {}
        else:
            place.read[stream] = stream.count
        if stream is not place.made_on and place.of_device:
            self._shared.add(tensor.untyped_storage()._cdata)

    def adopt(self, storages: Iterable[torch.UntypedStorage]) -> None:
        """Memory of a graph that is replayed here: it is the graph's alone."""
        for storage in storages:
            self._add(storage, Stream.current)

    def hold(self, tensor: Tensor, stream: Stream) -> None:
        """As Tensor.record_stream."""
        self._place(tensor).held_by.add(stream)

    def _place(self, tensor: Tensor) -> Place:
        storage = tensor.untyped_storage()
        found = self._places.get(storage._cdata)
        if found is None or found.memory.expired():  # made out of sight: by the host
            found = self._add(storage, self.main, of_device=False)
            found.written = self.main, 0
        return found

    def _add(self, storage: torch.UntypedStorage, stream: Stream, of_device: bool = True) -> Place:
        self._places[storage._cdata] = Place(StorageWeakRef(storage), stream, of_device, (stream, stream.count))
        return self._places[storage._cdata]

    def _refuse_freed(self) -> None:
        for key in [key for key in self._shared if self._places[key].memory.expired()]:
            self._forget(key)

    def _forget(self, key: int) -> None:
        place = self._places.pop(key, None)
        self._shared.discard(key)
        if place and not all(place.made_on.knows(*use) for use in place.used_elsewhere()):
            raise EmulatedError("memory was freed that another stream may still use, and that it does not hold")


class Device(TorchDispatchMode):
    """What a GPU does with the operations that it is given: copy_(..., non_blocking=True) among them."""

    def __init__(self, main: Stream, watch: Watch) -> None:
        super().__init__()
        self._main, self._watch = main, watch

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        if options.pop("pin_memory", False):
            made = func(*args, **options)
            self._watch.pinned.add(made.data_ptr())
            return made
        self._watch.operation(func, args, options)
        if func is aten._local_scalar_dense.default:
            Stream.current.synchronize()
        if func is aten.copy_.default and (options.get("non_blocking") or (len(args) > 2 and args[2])):
            return self._later(*args[:2])
        given = {t.untyped_storage()._cdata for t in tree_flatten((args, options))[0] if isinstance(t, Tensor)}
        outputs = func(*args, **options)
        if func.overloadpacket is not aten.set_:  # memory of before, under another name
            self._watch.made(outputs, given)
        return outputs

    def _later(self, to: Tensor, source: Tensor) -> Tensor:
        if Stream.current is self._main:
            if to.data_ptr() not in self._watch.pinned:  # on the device: it is there when the device's next turn comes
                return to.copy_(source)
            source = source.clone()  # read in its turn; the host sees it once it has waited
        elif to.data_ptr() not in self._watch.pinned:
            raise EmulatedError("a copy to memory that is not pinned makes the host wait")
        nonsense = torch.full((), 0xFF).to(to.dtype) if not to.is_floating_point() else torch.tensor(torch.nan)
        to.copy_(nonsense)
        Stream.current.late.append(lambda: self._arrive(to, source))
        return to

    def _arrive(self, to: Tensor, source: Tensor) -> None:
        before, self._watch.paused = self._watch.paused, True
        to.copy_(source)
        self._watch.paused = before


class Looks(TorchFunctionMode):
    """The host looks at a tensor, which the dispatcher of a CPU does not see: it waits for the stream it is in."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name in {"cpu", "tolist"} and not self._watch.paused:
            Stream.current.queue()
            self._watch.use(args[0], False, name)
            Stream.current.synchronize()
        return func(*args, **(kwargs or {}))
