"""How long a sweep will still take, as a range that the finish falls into nine times in ten.

What is left is scheduled again and again, on as many workers as are at work now, with durations drawn from those of the
cells that are done. How often the range was right is measured by tests/hpc/status/test_remaining.py.
"""

from __future__ import annotations

import heapq
import math
import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hpc.status.sweep import PENDING, RUNNING, Snapshot
from hpc.storage.results import provenance_of
from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from hpc.sweep.states import FINAL
from hpc.units import duration

FEWEST = 3  # durations from which a spread can be guessed
_WAVES = 1.5  # times as many done as run at once: of a first wave, those that are done were the short ones
_LEVEL = 0.9
_MOST_KNOWN = 200  # results that are read for their durations
_DRAWS, _MOST_STEPS = (30, 300), 60_000  # schedules, and cells in all of them: a look takes no noticeable time
_MOST_NAMED = 3
_MOST_SPREAD = 1.5  # of logarithms: few durations would let it be anything


@dataclass(frozen=True)
class Remaining:
    """Seconds until the last cell is done. middle: as likely to be too much as too little. low, high: ends of the
    range."""

    middle: float
    low: float
    high: float


def estimate(store: Store, snapshot: Snapshot) -> str:
    """How long the sweep will still take, in words; empty if that cannot be estimated."""
    running = [status for status in snapshot.statuses if status.state == RUNNING]
    if not running:
        return ""
    at_once = {status.cell.name for status in running}
    if snapshot.sweep.trainer.pack_mode == "sequential":  # of its cells, a task trains one
        live = snapshot.live
        at_once = {live[name].queued.id if name in live else name for name in at_once}
    done = [status.cell for status in snapshot.statuses if status.state in FINAL][:_MOST_KNOWN]
    waiting = [status for status in snapshot.statuses if status.state == PENDING]
    begun = sorted(running, key=lambda status: -status.epoch)
    shares = [1 - (status.epoch / status.epochs if status.epochs else 0) for status in [*begun, *waiting]]
    found = remaining([s for cell in done if (s := _seconds(store, cell)) is not None], shares, len(at_once))
    if found is None:
        return ""
    unseen = _unseen(done, [status.cell for status in [*running, *waiting]])
    ends = f"{duration(found.low)} to {duration(found.high)}"
    return f"about {duration(found.middle)} left ({ends}, nine times in ten) with {len(running)} running{unseen}"


def _unseen(done: Sequence[Cell], left: Sequence[Cell]) -> str:
    """Levels that no cell has been done with, so that theirs may take any time; empty if there are none."""
    seen = {pair for cell in done for pair in cell.point}
    other = (pair for cell in left for pair in cell.point if pair not in seen)
    new = [f"{name} {value}" for name, value in dict.fromkeys(other)]
    if not new:
        return ""
    named = ", ".join(new[:_MOST_NAMED]) + (" ..." if len(new) > _MOST_NAMED else "")
    return f"; if cells with {named} take as long as the others: none of them is done"


def remaining(known: Sequence[float], shares: Sequence[float], at_once: int) -> Remaining | None:
    """Seconds until cells are done that still need these shares of a cell's duration, so many at once, in this order.

    known: durations of cells that are done, seconds. None if they are too few.
    """
    logs = [math.log(seconds) for seconds in known if seconds > 0]
    if len(logs) < max(FEWEST, _WAVES * at_once) or not shares:
        return None
    chance = random.Random(len(logs))  # the same for the same sweep at the same moment: numbers that do not flicker
    draws = max(_DRAWS[0], min(_DRAWS[1], _MOST_STEPS // len(shares)))
    ends = sorted(_finish(_durations(logs, chance), shares, at_once) for _ in range(draws))
    tail = (1 - _LEVEL) / 2
    low, middle, high = (ends[round(part * (draws - 1))] for part in (tail, 0.5, 1 - tail))
    return Remaining(middle, low, high)


def _durations(logs: Sequence[float], chance: random.Random) -> Iterator[float]:
    """Durations of further cells, were their logarithms normal with a mean and spread that few cells leave uncertain.

    Mean and spread are drawn once for a whole schedule: all its cells are longer than guessed, or all are shorter.
    """
    count = len(logs)
    scatter = max(statistics.stdev(logs), 0.01)
    spread = min(scatter * math.sqrt((count - 1) / (2 * chance.gammavariate((count - 1) / 2, 1))), _MOST_SPREAD)
    mean = chance.gauss(statistics.fmean(logs), spread / math.sqrt(count))
    while True:
        yield math.exp(chance.gauss(mean, spread))


def _finish(durations: Iterator[float], shares: Sequence[float], at_once: int) -> float:
    """When the last of these cells is done, if each begins as soon as a worker is free."""
    free = [0.0] * min(at_once, len(shares))
    for share, seconds in zip(shares, durations, strict=False):
        heapq.heapreplace(free, free[0] + share * seconds)
    return max(free)


def _seconds(store: Store, cell: Cell) -> float | None:
    value = provenance_of(store.result(cell)).get("seconds")
    return float(value) if isinstance(value, int | float) else None
