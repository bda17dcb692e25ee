"""Runs at chance: how many and where, which of them training left too early, and what they make of a slope."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

from aggregate.analysis.claims import Claim
from aggregate.analysis.questions import SLOPE
from aggregate.analysis.summary import AT_CHANCE, MetricSummary, Summary
from aggregate.arrays import Floats
from aggregate.reading.histories import Histories
from aggregate.stats.weighted import weighted_test
from aggregate.wording import listed, percent
from hpc.units import counted

_MOST = 6  # conditions, or runs, named in one sentence
_EPOCHS = 6  # of fewer, too often a run looks as if it left chance, by noise (docs/statistics.md)


def chance_line(summary: Summary, entry: MetricSummary, conditions: Collection[int]) -> str:
    """How many runs are at chance and where, those of most runs first; empty if none is."""
    used = sorted(conditions)
    counts = entry.at_chance[used].sum(axis=1)
    if not counts.any():
        return ""
    runs = entry.description.n[used]
    order = [i for i in np.argsort(-counts, kind="stable").tolist() if counts[i]]
    where = [f"{counts[i]} of {runs[i]} at {summary.place(used[i])}" for i in order[:_MOST]]
    more = f"; and {counts[order[_MOST:]].sum()} in {len(order) - _MOST} more conditions" if len(order) > _MOST else ""
    return (
        f"{entry.metric.label}: {counts.sum()} of {runs.sum()} runs are at chance, less than {percent(AT_CHANCE)} of "
        f"the way from guessing ({entry.metric.chance:.4g}) to perfect: {'; '.join(where)}{more}"
    )


def leaving_lines(
    summary: Summary, histories: Histories, entry: MetricSummary, conditions: Collection[int]
) -> list[str]:
    """Which runs had only just begun to leave chance when training ended, and which may have: a run whose value is
    still at chance may look so by noise."""
    used = sorted(conditions)
    found = still_leaving(entry, histories)
    left, may = (
        [(c, s) for c in used for s in np.flatnonzero(found[c] & where[c]).tolist()]
        for where in (~entry.at_chance, entry.at_chance)
    )
    firm = "had only just begun", "With more epochs, others at chance might leave it too"
    lines = [_leaving(summary, entry, left, *firm)] if left else []
    if may:
        lines.append(_leaving(summary, entry, may, "may have begun", _by_noise(histories, entry, used)))
    return lines


def _leaving(summary: Summary, entry: MetricSummary, cells: list[tuple[int, int]], begun: str, so: str) -> str:
    named = [f"{summary.place(c)}, seed {summary.seeds[s]} ({entry.values[c, s]:.3g})" for c, s in cells[:_MOST]]
    more = f"; and {len(cells) - _MOST} more" if len(cells) > _MOST else ""
    return (
        f"{entry.metric.label}: {counted(len(cells), 'run')} {begun} to leave chance when training ended, at chance "
        f"for the first two thirds of the epochs and best at the last: {'; '.join(named)}{more}. {so}"
    )


def _by_noise(histories: Histories, entry: MetricSummary, conditions: Sequence[int]) -> str:
    """How often noise alone looks like a run that leaves chance: in one run, and among all that ended at chance."""
    cells, _, lengths = histories.runs
    epochs = np.zeros(entry.values.size, dtype=np.int64)
    epochs[cells] = lengths
    ended = epochs.reshape(entry.values.shape)[conditions][entry.at_chance[conditions]]
    chances = np.array([leaves_by_noise(n) for n in ended.tolist() if n >= _EPOCHS])
    ends = dict.fromkeys(f"{100 * end:.2g}" for end in (chances.min(), chances.max()))
    any_of = percent(float(f"{1 - np.prod(1 - chances):.2g}"))
    return (
        f"Of runs that never leave it, {' to '.join(ends)} % look so by noise, and of {counted(len(chances), 'run')} "
        f"that ended at chance at least one does in {any_of} of sweeps"
    )


@lru_cache
def leaves_by_noise(epochs: int) -> float:
    """How often a run that stays at chance looks as if it left it (see ``still_leaving``), with independent normal
    noise from epoch to epoch. epochs: 3 or more.

    Integrated over the worst and the best of the first two thirds; the last epoch has to be above all others and
    further from that best than the worst is.
    """
    early, late = 2 * epochs // 3, epochs - 2 * epochs // 3
    grid = np.linspace(-6.0, 6.0, 601)
    worst, best = np.meshgrid(grid, grid, indexing="ij")
    density = np.exp(-(worst**2 + best**2) / 2) / (2 * np.pi)
    between = np.where(best >= worst, special.ndtr(best) - special.ndtr(worst), 0.0)
    both = early * (early - 1) * density * between ** (early - 2) * (best >= worst)
    beyond = (1 - special.ndtr(2 * best - worst) ** late) / late
    return float((both * beyond).sum() * (grid[1] - grid[0]) ** 2)


def still_leaving(entry: MetricSummary, histories: Histories) -> NDArray[np.bool_]:
    """Runs at chance in each of the first two thirds of their epochs, the last of which is the best of all, by more
    above the best of those than they differ among themselves; shape (conditions, seeds). None below _EPOCHS epochs, or
    without a history of the metric."""
    found = np.zeros(entry.values.size, dtype=bool)
    column = histories.columns.get(entry.metric.name)
    if column is None or not entry.knows_chance:
        return found.reshape(entry.values.shape)
    cells, starts, lengths = histories.runs
    early = np.arange(len(column)) - np.repeat(starts, lengths) < np.repeat(2 * lengths // 3, lengths)
    values = -column if entry.metric.better == "lower" else column  # the higher, the better
    worst = np.minimum.reduceat(np.where(early, values, np.inf), starts)
    best = np.maximum.reduceat(np.where(early, values, -np.inf), starts)
    last, top = values[starts + lengths - 1], np.maximum.reduceat(values, starts)
    at_chance = entry.near_chance(-best if entry.metric.better == "lower" else best)
    found[cells] = at_chance & (lengths >= _EPOCHS) & (last == top) & (last - best > best - worst)
    return found.reshape(entry.values.shape) & np.isfinite(entry.values)


@dataclass(frozen=True)
class AboveChance:
    """Of a slope: how many runs are above chance at each level, over all combinations of the other factors.

    above, runs: shape (levels,). means: of the runs above chance, in the metric's unit (geometric where it is compared
    by logarithms), NaN without one. left: share of the slope that is left if all runs above chance are given their
    common mean and all others theirs; NaN if that is unknown.
    """

    above: tuple[int, ...]
    runs: tuple[int, ...]
    means: Floats
    left: float


def above_chance(summary: Summary, claim: Claim) -> AboveChance | None:
    """None unless the claim is a slope, with runs at chance and others above."""
    question = claim.question
    entry = next((e for e in summary.metrics if e.metric.name == question.metric.name), None)
    if question.kind != SLOPE or entry is None or not question.values.size:
        return None
    values, known = question.values, np.isfinite(question.values)
    chance = entry.at_chance[list(question.conditions)] & known
    above = known & ~chance
    if not chance.any() or not above.any():
        return None
    levels = len(question.levels)
    two = np.where(chance, values[chance].mean(), np.where(above, values[above].mean(), np.nan))
    means = [values[rows][above[rows]] for rows in np.arange(len(values)).reshape(levels, -1)]
    centres = np.array([own.mean() if own.size else np.nan for own in means])
    return AboveChance(
        above=tuple(above.reshape(levels, -1).sum(axis=1).tolist()),
        runs=tuple(known.reshape(levels, -1).sum(axis=1).tolist()),
        means=np.exp(centres) if question.log else centres,
        left=weighted_test(two, question.weights).estimate / claim.estimate if claim.estimate else np.nan,
    )


def of_each(counts: AboveChance) -> str:
    """``3, 11 and 15 of 15``, or ``3 of 15 and 11 of 14``."""
    if len(set(counts.runs)) == 1:
        return f"{listed(list(map(str, counts.above)))} of {counts.runs[0]}"
    return listed([f"{above} of {runs}" for above, runs in zip(counts.above, counts.runs, strict=True)])
