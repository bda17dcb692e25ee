"""Whether cells fail at random: failures against every factor, exactly. If they do not, means of the rest mislead."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aggregate.analysis.summary import Summary
from aggregate.arrays import Integers
from aggregate.reading.declared import Factor
from aggregate.stats.exact import FISHER, fisher_p, trend_p
from aggregate.stats.inference import holm
from hpc.sweep.states import COMPLETED


@dataclass(frozen=True)
class Missingness:
    """Failures against one factor. failed, ended: cells of each level, in the order of the factor's values, in the
    combinations of the other factors that have every level: elsewhere a level would answer for where it was run.

    compared, combinations: how many of them have every level, and how many there are.
    p: two-sided; NaN if none has, nothing failed, everything did, or there is one level.
    """

    factor: Factor
    failed: Integers
    ended: Integers
    compared: int
    combinations: int
    method: str
    p: float


def missingness(summary: Summary) -> tuple[Missingness, ...]:
    """Failure against every factor. A cell failed if it ended in any state but COMPLETED; cells still to run do not
    count."""
    ended = ~summary.waiting
    failed = ended & (summary.states != COMPLETED)
    return tuple(_of_factor(summary, axis, failed, ended) for axis in range(len(summary.factors)))


def _of_factor(summary: Summary, axis: int, failed: np.ndarray, ended: np.ndarray) -> Missingness:
    factor, crossing = summary.factors[axis], summary.crossings.of(axis)
    whole = crossing.whole(range(len(factor.values)))
    conditions = crossing.conditions[:, whole]  # shape (levels, combinations)
    bad, all_of = (cells.sum(axis=1)[conditions].sum(axis=1) for cells in (failed, ended))
    method, p = FISHER, float("nan")
    if factor.ordered:
        order = np.argsort(np.array(factor.values)) if factor.numeric else np.arange(len(factor.values))
        method, p = trend_p(bad[order], all_of[order])
    elif 0 < bad.sum() < all_of.sum() and len(bad) > 1:
        p = float(np.min(holm([fisher_p(b, n, bad.sum(), all_of.sum()) for b, n in zip(bad, all_of, strict=True)])))
    return Missingness(factor, bad, all_of, int(whole.sum()), len(whole), method, p)
