"""How many seeds are enough: fixed from a pilot in two stages, never by looking after every seed.

Adding seeds until an interval looks narrow, or a test significant, raises the type I error to 10 to 20 %. Stein's rule
keeps what it promises: the spread is measured once, on the pilot, the total is fixed from it, and the final interval or
test uses the pilot's spread and degrees of freedom with the mean of all seeds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

_MOST = 10**9


@dataclass(frozen=True)
class SeedPlan:
    """seeds: in all, the pilot included. pilot: already there. known: what would be enough if the spread were known
    exactly; the difference is the price of measuring it on few seeds. deviation: the pilot's, the metric's unit."""

    seeds: int
    pilot: int
    known: int
    deviation: float

    @property
    def more(self) -> int:
        """Seeds still to run."""
        return self.seeds - self.pilot

    def __str__(self) -> str:
        price = f"{self.seeds / max(self.known, 1):.1f} times what a known spread would need"
        return f"{self.seeds} seeds in all, {self.more} more than the pilot's {self.pilot} ({price}, {self.known})"


def seeds_for_halfwidth(deviation: float, pilot: int, halfwidth: float, level: float = 0.95) -> SeedPlan:
    """Seeds for an interval of a given half-width around a mean, or around a mean paired difference.

    deviation: standard deviation over the pilot's seeds (of the values, or of the paired differences), ddof = 1.
    pilot: its number of seeds, 2 or more. halfwidth: above 0, the unit of the deviation. level: coverage.
    Raises ValueError for arguments that make no plan. Source: Stein 1945; coverage of normal data: ``level`` or more.
    """
    _check(deviation, pilot, halfwidth, level)
    quantile = float(special.stdtrit(pilot - 1, (1 + level) / 2))
    known = float(special.ndtri((1 + level) / 2))
    return _plan(deviation, pilot, quantile / halfwidth, known / halfwidth)


def seeds_for_power(deviation: float, pilot: int, effect: float, power: float = 0.8, alpha: float = 0.05) -> SeedPlan:
    """Seeds for a two-sided t test to detect a mean, or a mean paired difference, of a given size.

    effect: above 0, the unit of the deviation. power: chance to detect it. alpha: of the single test; divide it by
    the size of the family for a test under Bonferroni. The others as in seeds_for_halfwidth.
    Raises ValueError for arguments that make no plan. Source: Stein 1945; power is at least ``power`` for normal data.
    """
    _check(deviation, pilot, effect, power)
    _check(deviation, pilot, effect, alpha)
    freedom = pilot - 1
    quantile = float(special.stdtrit(freedom, 1 - alpha / 2) + special.stdtrit(freedom, power))
    known = float(special.ndtri(1 - alpha / 2) + special.ndtri(power))
    return _plan(deviation, pilot, quantile / effect, known / effect)


def stein_interval(mean: float, seeds: int, deviation: float, pilot: int, level: float = 0.95) -> tuple[float, float]:
    """The interval at the end of a two-stage plan.

    mean: of all ``seeds``. deviation: the pilot's, of ``pilot`` seeds; that of all seeds would undo the promise.
    """
    _check(deviation, pilot, 1.0, level)
    half = float(special.stdtrit(pilot - 1, (1 + level) / 2)) * deviation / math.sqrt(seeds)
    return mean - half, mean + half


def detectable_effect(n: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """Smallest standardised mean (d_z of paired differences) that a two-sided t test of n seeds detects.

    Returns standard deviations; NaN below 2 seeds. Raises ValueError if alpha or power is no fraction.
    Source: noncentral t distribution.
    """
    _check(0.0, 2, 1.0, alpha)
    _check(0.0, 2, 1.0, power)
    if n < 2:
        return math.nan
    low, high = 0.0, 1.0
    while _power(high, n, alpha) < power:
        high *= 2
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _power(middle, n, alpha) < power else (low, middle)
    return high


def _power(effect: float, n: int, alpha: float) -> float:
    critical = special.stdtrit(n - 1, 1 - alpha / 2)
    shift = effect * math.sqrt(n)
    with np.errstate(all="ignore"):
        below, above = special.nctdtr(n - 1, shift, -critical), special.nctdtr(n - 1, shift, critical)
    # Far out the distribution function has no value any more; nothing is missed there.
    return 1.0 if math.isnan(above) else float(1 - above + (0.0 if math.isnan(below) else below))


def _plan(deviation: float, pilot: int, per_deviation: float, known: float) -> SeedPlan:
    needed, ideal = (deviation * per_deviation) ** 2, (deviation * known) ** 2
    if needed > _MOST:
        raise ValueError(f"this would take more than {_MOST:,} seeds; ask for less")
    return SeedPlan(max(pilot, math.ceil(needed - 1e-9)), pilot, max(1, math.ceil(ideal - 1e-9)), deviation)


def _check(deviation: float, pilot: int, target: float, fraction: float) -> None:
    if pilot < 2:
        raise ValueError(f"the pilot has {pilot} seeds; a spread takes 2 or more")
    if not (math.isfinite(deviation) and deviation >= 0):
        raise ValueError(f"the pilot's standard deviation is {deviation}; it must be a number, 0 or more")
    if not (math.isfinite(target) and target > 0):
        raise ValueError(f"the target is {target}; it must be above 0")
    if not 0 < fraction < 1:
        raise ValueError(f"{fraction} must be a fraction between 0 and 1")
