"""How many cells a task should train to finish the sweep soonest. Pure: measurements in, a choice out."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# Peaks vary between runs, and a pack that does not fit is trained twice: once until it fails, then in halves.
MEMORY_SHARE = 0.9


@dataclass(frozen=True)
class Measurement:
    """One width tried on the device the sweep will run on.

    width: cells trained together by one process. seconds: for all of them to advance by one step (or by one epoch,
    the same for every width of a series). host_bytes, device_bytes: peak memory of the process and on its GPU; None
    where it was not measured.
    """

    width: int
    seconds: float
    host_bytes: int | None = None
    device_bytes: int | None = None


@dataclass(frozen=True)
class Limits:
    """What the tasks of a sweep may use.

    processes: training processes at once, over all tasks: tasks at once x GPUs per task, or CPU cores of this machine.
    per_task: processes that share one task's cells (one per GPU).
    host_bytes, device_bytes: memory one process may fill; None if unknown.
    """

    processes: int
    per_task: int = 1
    host_bytes: int | None = None
    device_bytes: int | None = None


@dataclass(frozen=True)
class Choice:
    """The pack to use.

    pack_size: cells per task. width: cells per process. seconds: estimated time to the whole sweep.
    """

    pack_size: int
    width: int
    seconds: float
    reason: str


def choose(
    cells: int, measurements: Sequence[Measurement], limits: Limits, *, steps: int | None = None, start_s: float = 0.0
) -> Choice:
    """The pack that finishes the sweep soonest; of equally good ones the narrowest, which loses least when it fails.

    cells: how many are still to do. steps: the steps (or epochs) of one cell; start_s: seconds until a process trains.
    Without ``steps`` the start of a process is not counted. Widths between measured ones are interpolated, and
    none beyond the widest measured is considered.
    Raises ValueError if there is no measurement, or if even the narrowest needs more memory than there is.
    """
    if not measurements:
        raise ValueError("no width has been measured")
    series = sorted(measurements, key=lambda measurement: measurement.width)
    usable = [m for m in _every_width(series) if m.width <= max(cells, series[0].width) and _fits(m, limits)]
    if not usable:
        raise ValueError(f"a pack of {series[0].width} needs more memory than a task has; raise mem_gb")
    durations = {m.width: (steps or 1) * m.seconds + (start_s if steps else 0.0) for m in usable}
    times = {width: _makespan(cells, width, limits.processes, durations) for width in durations}
    width = min(times, key=lambda w: (times[w], w))
    return Choice(width * limits.per_task, width, times[width], _reason(cells, width, series, limits))


def _every_width(series: Sequence[Measurement]) -> Iterable[Measurement]:
    """The measurements, and what lies between them on straight lines."""
    yield series[0]
    for low, high in itertools.pairwise(series):
        for width in range(low.width + 1, high.width + 1):
            share = (width - low.width) / (high.width - low.width)
            yield Measurement(
                width,
                low.seconds + share * (high.seconds - low.seconds),
                _between(low.host_bytes, high.host_bytes, share),
                _between(low.device_bytes, high.device_bytes, share),
            )


def _between(low: int | None, high: int | None, share: float) -> int | None:
    return None if low is None or high is None else round(low + share * (high - low))


def _fits(measurement: Measurement, limits: Limits) -> bool:
    pairs = ((measurement.host_bytes, limits.host_bytes), (measurement.device_bytes, limits.device_bytes))
    return all(used is None or limit is None or used <= MEMORY_SHARE * limit for used, limit in pairs)


def _makespan(cells: int, width: int, processes: int, durations: dict[int, float]) -> float:
    """Seconds until the last of the cells is done, when packs of this width run ``processes`` at a time."""
    full, rest = divmod(cells, width)
    rounds, running = divmod(full, processes)
    if running or not rest:
        return (rounds + bool(running)) * durations[width]
    # The last, smaller pack takes a round by itself. A width that was not measured counts as the next wider one.
    return rounds * durations[width] + min(seconds for other, seconds in durations.items() if other >= rest)


def _reason(cells: int, width: int, series: Sequence[Measurement], limits: Limits) -> str:
    processes = -(-cells // width)
    rounds = -(-processes // limits.processes)
    at_once = min(processes, limits.processes)
    text = f"{cells} cells in packs of {width}, {at_once} at once, {rounds} round{'s' if rounds > 1 else ''}"
    widest = series[-1]
    if width < widest.width and not _fits(widest, limits):
        return f"{text}; {widest.width} would not fit into memory"
    return text
