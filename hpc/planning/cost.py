"""What a plan will cost: device-hours with an interval, bytes, and the smallest effect its seeds can detect."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy import special

from hpc.planning.pilot_record import Pilot
from hpc.planning.plan import Plan
from hpc.planning.volume import Volume, volume
from hpc.slurm.profile import Profile
from hpc.sweep.definition import Sweep
from hpc.units import duration, size

# Of the interval of the hours.
_LEVEL = 0.95


@dataclass(frozen=True)
class Cost:
    """The cost of what a plan would run.

    hours: device-hours (CPU core or GPU), with the interval low to high; None where nothing was measured.
    source: what the estimate rests on. files, bytes: of results and code, see Volume; without_weights: whether the
    weights come on top. effect: the smallest paired effect (d_z)
    that the seeds detect with 80 % power, corrected for the family of ``tests``; None for fewer than two seeds.
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

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))

    def __str__(self) -> str:
        if self.hours is None or self.low is None or self.high is None:
            spent = self.source
        else:
            spent = f"about {_amount(self.hours)} ({_amount(self.low)} to {_amount(self.high)}) {self.source}"
        more = ", and the weights of each cell" * self.without_weights
        volume = (
            f"{self.files:,} files, {size(self.bytes)} of results and code{more}; figures and the report come on top"
        )
        lines = [spent, volume]
        if self.effect is not None:
            family = f", corrected for a family of {self.tests} tests" if self.tests > 1 else ""
            lines.append(
                f"smallest effect these seeds detect: d_z {self.effect:.2f} (80 % power, paired t test{family})"
            )
        return "\n".join(lines)


def estimate(
    plan: Plan,
    effect: float | None,
    finished: Sequence[Mapping[str, Any]] = (),
    pilot: Pilot | None = None,
    profile: Profile | None = None,
    *,
    tests: int = 1,
    sweep: Sweep | None = None,
    code: tuple[int, int] = (0, 0),
) -> Cost:
    """The cost of a plan, from cells that are finished, else from a pilot.

    effect: the smallest that the seeds detect in a family of ``tests``. finished: provenance of finished cells.
    profile: of the tasks, for the kind of hours. sweep, code: see volume(); without a sweep, files alone are counted.
    """
    kind = "GPU" if profile is not None and profile.device == "cuda" else "core"
    together = sweep is None or sweep.trainer.pack_mode != "sequential"
    spent = [device_seconds(provenance, together) for provenance in finished]
    known = [value for value in spent if value is not None]
    # A checkpoint holds the parameters and both of Adam's moments: a third of it are the weights.
    weights = pilot.checkpoint_bytes // (3 * pilot.measurements[-1].width) if pilot and pilot.checkpoint_bytes else 0
    room = volume(plan, sweep, finished, weights, code) if sweep else Volume(plan.files, 0)
    hours, spread, source = _hours_of(plan, known, pilot, kind)
    if hours is None and pilot is None:
        where = "local" if profile is None or profile.is_local else "P"
        source = f"{source}: `holdfast check cluster --profile {where} --config FILE --pilot` measures it"
    elif hours is None:
        source = f"{source}: no epoch ended in the pilot's time; an estimate needs two finished cells"
    low = None if hours is None else max(0.0, hours - spread)
    high = None if hours is None else hours + spread
    return Cost(hours, low, high, source, room.files, room.bytes, effect, tests, room.without_weights)


def _hours_of(plan: Plan, known: list[float], pilot: Pilot | None, kind: str) -> tuple[float | None, float, str]:
    """(device-hours, half-width of their interval, what they rest on)."""
    cells = plan.n_cells
    if len(known) >= 2:
        mean, deviation = statistics.mean(known), statistics.stdev(known)
        factor = float(special.stdtrit(len(known) - 1, (1 + _LEVEL) / 2))
        # A prediction interval: the cells vary around a mean that is itself estimated from the finished ones.
        spread = factor * deviation * math.sqrt(cells + cells * cells / len(known))
        return cells * mean / 3600, spread / 3600, f"of {kind} time, from {len(known)} finished cells"
    if pilot is not None and pilot.units is not None:
        widest = max(map(len, plan.tasks), default=1)
        nearest = min(pilot.measurements, key=lambda entry: abs(entry.width - widest))
        seconds = cells * pilot.units * nearest.seconds / nearest.width + len(plan.tasks) * pilot.start_s
        # A single measurement has no spread; a quarter is what nodes shared with other users were seen to differ by.
        return seconds / 3600, 0.25 * seconds / 3600, f"of {kind} time, from the pilot on {pilot.hardware}"
    return None, 0.0, "cost not known yet"


def device_seconds(provenance: Mapping[str, Any], together: bool) -> float | None:
    """Seconds of a device that one cell took: its share, if the cells of its pack were trained together."""
    seconds, size = provenance.get("seconds"), provenance.get("pack_size", 1) if together else 1
    if isinstance(seconds, int | float) and isinstance(size, int) and size > 0:
        return float(seconds) / size
    return None


def _amount(hours: float) -> str:
    return duration(3600 * hours, days=False)
