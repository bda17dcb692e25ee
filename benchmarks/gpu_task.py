"""A task of benchmarks.gpu's sweep: trains all cells as a task does, and says where the time of its host went."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from training.loop.loop import Loop
from training.loop.order import Batches
from training.loop.pack import Pack
from training.steps.graph_step import GraphStep

# What the host does or waits for. The device trains on during the first two of them: with much of the second, the
# device is what training takes its time from; with little of it, the host is.
LAUNCHES, DEVICE = "launching steps", "waiting for the device"
ORDERS, GRAPHS, EVALUATION = "waiting for orders", "recording graphs", "evaluation"
CHECKPOINTS, EPOCHS, RESULTS = "checkpoints", "reporting epochs", "results"


class Clock:
    """Seconds of each kind of work. Of what is done within other work, only the inner kind counts."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self._inner = [0.0]

    @contextmanager
    def of(self, kind: str) -> Iterator[None]:
        began = time.monotonic()
        self._inner.append(0.0)
        try:
            yield
        finally:
            took = time.monotonic() - began
            self.seconds[kind] = self.seconds.get(kind, 0.0) + took - self._inner.pop()
            self.calls[kind] = self.calls.get(kind, 0) + 1
            self._inner[-1] += took

    def times(self, where: type, name: str, kind: str) -> None:
        """Time a method from now on, to the end of this process."""
        original: Callable[..., Any] = getattr(where, name)

        def timed(*given: Any, **options: Any) -> Any:
            with self.of(kind):
                return original(*given, **options)

        setattr(where, name, timed)


def run_task(directory: Path, device: str) -> int:
    """Train all cells of a sweep as a task does; SIGTERM stops it. Returns its exit status.

    Says when it has begun and, at the end, how many steps of a cell it trained, and where the seconds went from its
    first step on.
    """
    from hpc.node.pack import PackTask
    from hpc.node.training_run import TrainingRun
    from hpc.node.trial import Surroundings
    from hpc.storage.store import Store

    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    clock, steps, begun = Clock(), [0], [0.0]
    train, finish_epoch = Pack.train, Pack.finish_epoch

    def training(pack: Pack, indices: Any) -> None:
        if not begun[0]:
            begun[0] = time.monotonic()
            clock.seconds.clear()  # the first orders, which are part of the start
            clock.calls.clear()
        with clock.of(LAUNCHES):
            train(pack, indices)
        if not steps[0]:
            print("training", flush=True)
        steps[0] += len(indices) * len(pack.active)

    def finishing(pack: Pack) -> Any:
        with clock.of(DEVICE):  # what is still queued is training
            if pack._lane._stream is not None:
                pack._lane._stream.synchronize()
        with clock.of(EVALUATION):
            return finish_epoch(pack)

    Pack.train, Pack.finish_epoch = training, finishing  # type: ignore[method-assign]
    for where, name, kind in (
        (Pack, "finite", DEVICE),
        (Pack, "weights", RESULTS),
        (Batches, "_orders_of", ORDERS),
        (GraphStep, "_recorded", GRAPHS),
        (Loop, "_save", CHECKPOINTS),
        (TrainingRun, "epoch", EPOCHS),
        (TrainingRun, "finish", RESULTS),
    ):
        clock.times(where, name, kind)
    store = Store(directory)
    sweep = store.sweep()
    around = Surroundings(0, lambda: bool(asked), device=device, own_log=False)
    status = PackTask(store, sweep, list(sweep.grid), around).run()
    whole = time.monotonic() - begun[0]
    clock.seconds["all else"] = whole - sum(clock.seconds.values())
    print(json.dumps({"steps of a cell": steps[0], "seconds": clock.seconds, "calls": clock.calls}))
    return status


def minutes(tasks: list[dict[str, Any]], cells: int, epochs_seen: int, steps_per_epoch: int, epochs: int) -> float:
    """What a sweep of so many epochs takes in one task, from what some tasks took for fewer of them.

    Steps and epochs grow with their number, checkpoints are written once a minute, and all else is done once.
    """

    def spent(*kinds: str) -> float:
        return sum(task["seconds"].get(kind, 0.0) for task in tasks for kind in kinds)

    steps = sum(task["steps of a cell"] for task in tasks)
    growing = spent(LAUNCHES, DEVICE) / steps * cells * epochs * steps_per_epoch
    growing += spent(EVALUATION, EPOCHS, ORDERS) / epochs_seen * epochs
    once = spent(GRAPHS, RESULTS, "all else") / len(tasks)
    saves = sum(task["calls"].get(CHECKPOINTS, 0) for task in tasks)
    a_minute = spent(CHECKPOINTS) / max(saves, 1)
    return (growing + once) / (60 - a_minute)
