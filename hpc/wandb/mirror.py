"""W&B beside a task's training: never in its process, never in its way.

In offline mode nothing happens until the task's cells have ended; their runs are then written from the published files.
In live mode, a process follows the checkpoints during training. Either way the task waits for a bounded time, prints at
most one line about it, and its results do not depend on it.
"""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence

from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep
from hpc.wandb.cells import LIVE, OFFLINE, target_of
from hpc.wandb.helper import Helper, WandbTroubleError
from hpc.wandb.writer import writing

# How long a task that has trained all its cells waits for W&B at most. Its GPU is idle meanwhile, and nothing is lost
# afterwards: `holdfast wandb sync` sends the rest.
SECONDS, SECONDS_A_CELL = 20.0, 1.0


@contextlib.contextmanager
def mirrored(store: Store, sweep: Sweep, cells: Sequence[Cell], stop: Callable[[], bool]) -> Iterator[None]:
    """Mirror what the block publishes, if the configuration asks for it. stop: once true, there is no more waiting."""
    mode = target_of(sweep).mode
    helper = _start(store, sweep, cells) if mode == LIVE else None
    try:
        yield
        if mode == OFFLINE and not stop():
            helper = _start(store, sweep, cells)
        if helper is not None and not stop():
            _finish(helper, store, SECONDS + SECONDS_A_CELL * len(cells), stop)
    finally:
        if helper is not None:
            helper.stop()


def _start(store: Store, sweep: Sweep, cells: Sequence[Cell]) -> Helper | None:
    target = target_of(sweep)
    try:
        # Offline, a cell that failed has nothing to show. In live mode, none has a result yet.
        shown = [cell.name for cell in cells if target.mode == LIVE or store.has_result(cell.name)]
        if not shown:
            return None
        helper = Helper(needs_key=target.mode == LIVE)
        helper.tell(writing(store, target.mode, shown, target))
    except OSError as error:
        _warn(store, str(error))
        return None
    return helper


def _finish(helper: Helper, store: Store, seconds: float, stop: Callable[[], bool]) -> None:
    """Let the helper finish its work, for a bounded time."""
    faults: list[str] = []
    try:
        helper.close()
        faults = [answer["fault"] for answer in helper.answers(seconds, stop) if answer["fault"]]
    except (WandbTroubleError, OSError, ValueError) as error:
        faults.append(str(error))
    if faults:
        _warn(store, faults[0])


def _warn(store: Store, reason: str) -> None:
    command = f"`holdfast wandb sync {shlex.quote(str(store.root))}` continues"
    text = f"not everything was written to W&B ({reason}); results are safe, {command}"
    print(f"warning: {text}", file=sys.stderr, flush=True)
