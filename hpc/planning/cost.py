"""What a plan will cost: device-hours with an interval, bytes, and the smallest effect its seeds can detect."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from scipy import special

from hpc.planning.pilot_record import Pilot
from hpc.planning.plan import Plan, Task
from hpc.planning.volume import Volume, volume
from hpc.slurm.profile import Profile
from hpc.sweep import resources
from hpc.sweep.definition import Sweep
from hpc.sweep.resources import KEYS, Resources
from hpc.units import counted, duration, size

# Of the interval of the hours.
_LEVEL = 0.95
# A single measurement has no spread; a quarter is what nodes shared with other users were seen to differ by.
_NODES_DIFFER = 0.25
_UNKNOWN = "cost not known yet"


class Spent(NamedTuple):
    """Device-hours and the half-width of their interval; None where nothing was measured. source: what they rest on."""

    hours: float | None
    spread: float
    source: str

    def __str__(self) -> str:
        if self.hours is None:
            return self.source.partition(":")[0]
        low, high = max(0.0, self.hours - self.spread), self.hours + self.spread
        return f"about {_amount(self.hours)} ({_amount(low)} to {_amount(high)}) {self.source}"


@dataclass(frozen=True)
class Share:
    """The tasks of a plan that ask a cluster for the same. asked: all of that, by keys of a profile."""

    asked: Resources
    arrays: int
    tasks: int
    cells: int
    spent: Spent

    def to_json(self) -> dict[str, Any]:
        counts = {"arrays": self.arrays, "tasks": self.tasks, "cells": self.cells}
        return {"asked": dict(self.asked), **counts, "hours": self.spent.hours}

    def __str__(self) -> str:
        several = f" in {self.arrays} arrays" if self.arrays > 1 else ""
        tasks = f"{counted(self.tasks, 'task')}{several}"
        return f"{tasks} with {resources.text(self.asked) or 'what their partition gives'}: {self.spent}"


@dataclass(frozen=True)
class Cost:
    """The cost of what a plan would run.

    hours: device-hours (CPU core or GPU), with the interval low to high; None where nothing was measured.
    source: what the estimate rests on. files, bytes: of results and code, see Volume; without_weights: whether the
    weights come on top. effect: the smallest paired effect (d_z)
    that the seeds detect with 80 % power, corrected for the family of ``tests``; None for fewer than two seeds.
    shares: where cells ask for different resources, the tasks that ask for the same; empty elsewhere.
    """

    hours: float | None
    low: float | None
    high: float | None
    source: str
    files: int
    bytes: int
    effect: float | None
    tests: int = 1
    without_weights: bool = False
    shares: tuple[Share, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "shares": [share.to_json() for share in self.shares]}

    def __str__(self) -> str:
        spent = self.source
        if self.hours is not None and self.low is not None and self.high is not None:
            spent = f"about {_amount(self.hours)} ({_amount(self.low)} to {_amount(self.high)}) {self.source}"
        more = ", and the weights of each cell" * self.without_weights
        volume = (
            f"{self.files:,} files, {size(self.bytes)} of results and code{more}; figures and the report come on top"
        )
        lines = [*(f"  {share}" for share in self.shares), spent, volume]
        if self.effect is not None:
            family = f", corrected for a family of {self.tests} tests" if self.tests > 1 else ""
            lines.append(
                f"smallest effect these seeds detect: d_z {self.effect:.2f} (80 % power, paired t test{family})"
            )
        return "\n".join(lines)


def estimate(
    plan: Plan,
    effect: float | None,
    finished: Mapping[Resources, Sequence[Mapping[str, Any]]],
    pilot: Pilot | None = None,
    profile: Profile | None = None,
    *,
    tests: int = 1,
    sweep: Sweep | None = None,
    code: tuple[int, int] = (0, 0),
) -> Cost:
    """The cost of a plan, from cells that are finished, else from a pilot.

    effect: the smallest that the seeds detect in a family of ``tests``. finished: provenance of finished cells, by what
    such cells ask for beside the profile: large ones take longer, so each group is estimated from its own.
    profile: of the tasks, for the kind of hours. sweep, code: see volume(); without a sweep, files alone are counted.
    """
    profile = profile or Profile("local")
    together = sweep is None or sweep.trainer.pack_mode != "sequential"
    arrays = Counter(plan.resources)
    shares = [
        Share(
            profile.with_resources(asked).asks(KEYS),
            arrays[asked],
            len(tasks),
            sum(map(len, tasks)),
            _spent(tasks, finished.get(asked, ()), pilot, profile, together),
        )
        for asked, tasks in plan.by_resources().items()
    ]
    spent = _all(shares) if shares else Spent(None, 0.0, _UNKNOWN)
    # A checkpoint holds the parameters and both of Adam's moments: a third of it are the weights.
    weights = pilot.checkpoint_bytes // (3 * pilot.measurements[-1].width) if pilot and pilot.checkpoint_bytes else 0
    every = [provenance for group in finished.values() for provenance in group]
    room = volume(plan, sweep, every, weights, code) if sweep else Volume(plan.files, 0)
    low = None if spent.hours is None else max(0.0, spent.hours - spent.spread)
    high = None if spent.hours is None else spent.hours + spent.spread
    unequal = tuple(shares) if any(plan.resources) else ()
    counts = (room.files, room.bytes, effect, tests, room.without_weights)
    return Cost(spent.hours, low, high, spent.source, *counts, unequal)


def _all(shares: Sequence[Share]) -> Spent:
    """The cost of all of them."""
    sources = list(dict.fromkeys(share.spent.source for share in shares))
    known = [share.spent for share in shares if share.spent.hours is not None]
    if len(known) == len(shares):
        # The widths are added: what makes one group take longer than estimated mostly makes the others, too.
        total = sum(spent.hours or 0.0 for spent in known)
        source = sources[0] if len(sources) == 1 else f"{sources[0].partition(',')[0]}, in all"
        return Spent(total, sum(spent.spread for spent in known), source)
    unknown = sum(share.cells for share in shares if share.spent.hours is None)
    if not known:
        return Spent(None, 0.0, sources[0])
    return Spent(None, 0.0, f"cost not known yet of {unknown:,} of {sum(share.cells for share in shares):,} cells")


def _spent(
    tasks: Sequence[Task],
    finished: Sequence[Mapping[str, Any]],
    pilot: Pilot | None,
    profile: Profile,
    together: bool,
) -> Spent:
    """Device-hours of tasks that ask for the same. together: whether a pack's cells share its time."""
    known = [value for one in finished if (value := device_seconds(one, together)) is not None]
    kind = "GPU" if profile.device == "cuda" else "core"
    cells = sum(map(len, tasks))
    if len(known) >= 2:
        mean, deviation = statistics.mean(known), statistics.stdev(known)
        factor = float(special.stdtrit(len(known) - 1, (1 + _LEVEL) / 2))
        # A prediction interval: the cells vary around a mean that is itself estimated from the finished ones.
        spread = factor * deviation * math.sqrt(cells + cells * cells / len(known))
        return Spent(cells * mean / 3600, spread / 3600, f"of {kind} time, from {len(known)} finished cells")
    if pilot is None:
        where = "local" if profile.is_local else "P"
        how = f"`holdfast check cluster --profile {where} --config FILE --pilot` measures it"
        return Spent(None, 0.0, f"{_UNKNOWN}: {how}")
    widest = max(map(len, tasks), default=1)
    taken = {need.condition: need.seconds for need in pilot.needs if need.seconds is not None}
    if taken and all(cell.condition in taken for task in tasks for cell in task) and (not together or widest == 1):
        seconds = sum(taken[cell.condition] for task in tasks for cell in task)
        source = f"of {kind} time, from the pilot of each condition on {pilot.hardware}"
        return Spent(seconds / 3600, _NODES_DIFFER * seconds / 3600, source)
    if pilot.units is None:
        counts = "the trainer does not report how many epochs a cell takes"
        how = counts if pilot.uncounted else "no epoch ended in the pilot's time" if pilot.measurements else pilot.ended
        return Spent(None, 0.0, f"{_UNKNOWN}: {how}; an estimate needs two finished cells")
    nearest = min(pilot.measurements, key=lambda entry: abs(entry.width - widest))
    seconds = cells * pilot.units * nearest.seconds / nearest.width + len(tasks) * pilot.start_s
    return Spent(seconds / 3600, _NODES_DIFFER * seconds / 3600, f"of {kind} time, from the pilot on {pilot.hardware}")


def device_seconds(provenance: Mapping[str, Any], together: bool) -> float | None:
    """Seconds of a device that one cell took: its share, if the cells of its pack were trained together."""
    seconds, size = provenance.get("seconds"), provenance.get("pack_size", 1) if together else 1
    if isinstance(seconds, int | float) and isinstance(size, int) and size > 0:
        return float(seconds) / size
    return None


def _amount(hours: float) -> str:
    return duration(3600 * hours, days=False)
