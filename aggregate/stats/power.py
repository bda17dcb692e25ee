"""How small an effect a number of seeds detects, and how many seeds a target takes.

Seeds that are added after results were seen make a further look. It is paid for by declaring `analysis.looks`; the
alpha of a look is then a share, and the numbers here are for that share.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special

_MOST = 10**6


@dataclass(frozen=True)
class SeedPlan:
    """seeds: in all. pilot: already there. deviation: the pilot's, the metric's unit. low: seeds if the spread were as
    small as the pilot allows (95 %), high: if it were as large."""

    seeds: int
    pilot: int
    deviation: float
    low: int
    high: int

    @property
    def more(self) -> int:
        """Seeds still to run."""
        return max(0, self.seeds - self.pilot)


def seeds_for_halfwidth(deviation: float, pilot: int, halfwidth: float, level: float = 0.95) -> SeedPlan:
    """Seeds for a t interval of a given half-width around a mean, or around a mean paired difference.

    deviation: standard deviation over the pilot's seeds (of the values, or of the paired differences), ddof = 1.
    pilot: its number of seeds, 2 or more. halfwidth: above 0, the unit of the deviation. level: coverage.
    Raises ValueError for arguments that make no plan.
    """
    _check(deviation, pilot, halfwidth, level)
    return _plan(deviation, pilot, lambda spread: _first(lambda n: _halfwidth(n, level) * spread <= halfwidth))


def seeds_for_power(deviation: float, pilot: int, effect: float, power: float = 0.8, alpha: float = 0.05) -> SeedPlan:
    """Seeds for a two-sided t test to detect a mean, or a mean paired difference, of a given size.

    effect: above 0, the unit of the deviation. power: chance to detect it. alpha: of the single test, which is the
    family's divided by its size and by the looks. Raises ValueError for arguments that make no plan.
    """
    _check(deviation, pilot, effect, power)
    _check(deviation, pilot, effect, alpha)
    return _plan(deviation, pilot, lambda spread: _first(lambda n: _power(effect / spread, n, alpha) >= power))


def detectable_effect(n: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """Smallest standardised mean (d_z of paired differences) that a two-sided t test of n seeds detects.

    n: seeds, or degrees of freedom + 1 where cells are missing. Returns standard deviations; NaN below 2 seeds.
    Raises ValueError if alpha or power is no fraction. Source: noncentral t distribution.
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


def spread_known(freedom: float) -> tuple[float, float]:
    """Ends of a 95 % interval for a standard deviation, in units of the one that was measured (chi square).

    freedom: degrees of freedom, above 0; NaN gives NaN.
    """
    low, high = (math.sqrt(freedom / float(special.chdtri(freedom, tail))) for tail in (0.025, 0.975))
    return low, high


def _power(effect: float, n: float, alpha: float) -> float:
    critical = special.stdtrit(n - 1, 1 - alpha / 2)
    shift = effect * math.sqrt(n)
    with np.errstate(all="ignore"):
        below, above = special.nctdtr(n - 1, shift, -critical), special.nctdtr(n - 1, shift, critical)
    # Far out the distribution function has no value any more; nothing is missed there.
    return 1.0 if math.isnan(above) else float(1 - above + (0.0 if math.isnan(below) else below))


def _halfwidth(n: int, level: float) -> float:
    """In standard deviations."""
    return float(special.stdtrit(n - 1, (1 + level) / 2)) / math.sqrt(n)


def _first(enough: Callable[[int], bool]) -> int:
    """The smallest number of seeds, 2 or more, that is enough; more always are."""
    high = 2
    while not enough(high):
        high *= 2
        if high > _MOST:
            raise ValueError(f"this would take more than {_MOST:,} seeds; ask for less")
    low = high // 2 if high > 2 else 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _plan(deviation: float, pilot: int, seeds: Callable[[float], int]) -> SeedPlan:
    """The same for the pilot's deviation and for both ends of its own 95 % interval (chi square)."""
    spreads = [max(deviation, 1e-300) * factor for factor in (1.0, *spread_known(pilot - 1))]
    found, low = seeds(spreads[0]), seeds(spreads[1])
    try:
        high = seeds(spreads[2])
    except ValueError:
        high = _MOST
    return SeedPlan(max(pilot, found), pilot, deviation, low, high)


def _check(deviation: float, pilot: int, target: float, fraction: float) -> None:
    if pilot < 2:
        raise ValueError(f"the pilot has {pilot} seeds; a spread takes 2 or more")
    if not (math.isfinite(deviation) and deviation >= 0):
        raise ValueError(f"the pilot's standard deviation is {deviation}; it must be a number, 0 or more")
    if not (math.isfinite(target) and target > 0):
        raise ValueError(f"the target is {target}; it must be above 0")
    if not 0 < fraction < 1:
        raise ValueError(f"{fraction} must be a fraction between 0 and 1")
