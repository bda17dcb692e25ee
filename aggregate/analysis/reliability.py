"""Which intervals not to trust: seeds in two groups, seeds at a bound of their metric.

No interval for a mean covers as it says for such data (docs/statistics.md has the measured coverage), so they are
flagged beside the claims that rest on them, and the individual seeds are shown.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from aggregate.analysis.claims import Claim
from aggregate.analysis.fixed_analysis import Retention
from aggregate.analysis.questions import seeds_named
from aggregate.analysis.summary import DELTA_LOGIT, MetricSummary, Summary
from aggregate.arrays import Floats
from aggregate.reading.declared import BOUNDED, POSITIVE, REAL
from aggregate.stats.exact import sign_change_p
from aggregate.stats.gaps import FALSE_ALARMS, Gap, gaps, two_groups
from aggregate.stats.weighted import weighted_test
from aggregate.wording import listed, p_equals, p_text, percent
from hpc.units import counted

TWO_GROUPS, AT_BOUND = "seeds in two groups", "seeds at the bound"
# What p and the intervals of a claim are worth if its seeds form two groups. Measured: docs/statistics.md, "Verdicts".
NORMALITY = (
    "the p value and the intervals assume seeds that vary normally, and seeds in two groups do not. An interval may "
    "miss the mean far more often than its level says, and the mean of two groups describes neither. Where runs "
    "collapse in all conditions alike, false detections do not become more frequent: of simulated sweeps without "
    "effect, with 5 seeds, of which one run in ten collapses, 1.4 % detect one. Where they collapse in one condition "
    "alone, what is detected is about runs as these seeds show them: a collapse that none of them shows is not counted"
)
_NAMED = 3  # conditions named in one sentence
_COMMON = 0.2  # a gap that more clean sweeps have is no alarm beside a claim


@dataclass(frozen=True)
class Flag:
    """One reason not to trust an interval. conditions: positions in the grid. seeds: of each of these, the smaller of
    its two groups; empty where the reason is another."""

    metric: str
    reason: str
    conditions: tuple[int, ...]
    seeds: tuple[tuple[int, ...], ...] = ()


def flags(summary: Summary) -> tuple[Flag, ...]:
    """Every flag of every metric."""
    return tuple(flag for entry in summary.metrics for flag in _flags(summary, entry))


def beside(summary: Summary, found: Iterable[Flag], claim: Claim) -> list[str]:
    """What a reader of this claim must know of the seeds it rests on, in one line for each matter."""
    names = metrics_of_claim(claim)
    flagged = [part for flag in found if flag.metric in names and (part := within(flag, claim.question.conditions))]
    unproven = [
        _unproven(summary, entry, claim.question.conditions) for entry in summary.metrics if entry.metric.name in names
    ]
    told = [*flag_lines(summary, flagged), *filter(None, unproven)]
    groups = any(unproven) or any(flag.reason == TWO_GROUPS for flag in flagged)
    return [*told, NORMALITY, *_by_signs(claim)] if groups else told


def outlying(found: Iterable[Flag], entries: Iterable[MetricSummary]) -> bool:
    """Whether some seeds of some of these metrics lie far from the others."""
    names = {entry.metric.name for entry in entries}
    return any(flag.reason == TWO_GROUPS and flag.metric in names for flag in found)


def mixed(summary: Summary, found: Iterable[Flag]) -> list[int]:
    """Conditions whose seeds, in some metric, lie in two groups, or are partly at chance: what is one mixture in one
    metric is seldom one kind of run in another. Ascending."""
    flagged = {c for flag in found if flag.reason == TWO_GROUPS for c in flag.conditions}
    partly = {
        c
        for entry in summary.metrics
        for c in np.flatnonzero((entry.at_chance.sum(axis=1) % np.maximum(entry.description.n, 1)) > 0).tolist()
    }
    return sorted(flagged | partly)


def not_normal(summary: Summary, found: Iterable[Flag], claim: Claim) -> str:
    """Where the seeds of a claim do not vary normally, in words: flagged as two groups, or some at chance and others
    not. Empty if nowhere is known, which shows of no seeds that they do."""
    names, used = metrics_of_claim(claim), claim.question.conditions
    parts = (within(f, used) for f in found if f.metric in names and f.reason == TWO_GROUPS)
    flagged = sorted({condition for part in parts if part for condition in part.conditions})
    told = [f"at {_some([summary.place(c) for c in flagged])}"] if flagged else []
    entries = [entry for entry in summary.metrics if entry.metric.name in names]
    told += _partly_at_chance(summary, entries, sorted(set(used) - set(flagged)))
    return f"{', nor '.join(told)} (see below; elsewhere this is assumed)" if told else ""


def _partly_at_chance(summary: Summary, entries: Iterable[MetricSummary], conditions: Sequence[int]) -> Iterator[str]:
    """Conditions where some seeds have left chance and others have not, by how many; each once."""
    counts: dict[int, tuple[int, int]] = {}
    for entry in entries:
        for c in conditions:
            at, runs = int(entry.at_chance[c].sum()), int(entry.description.n[c])
            if 0 < at < runs:
                counts.setdefault(c, (at, runs))
    for at, runs in dict.fromkeys(counts.values()):
        where = _some([summary.place(c) for c in sorted(counts) if counts[c] == (at, runs)])
        others = "the other is" if runs - at == 1 else "the others are"
        yield f"at {where}, where {at} of {runs} seeds {'is' if at == 1 else 'are'} at chance and {others} not"


def doubtful_seeds(summary: Summary, found: Iterable[Flag], claim: Claim) -> list[int]:
    """Positions of the seeds that lie apart from the others somewhere in a claim, ascending."""
    names = metrics_of_claim(claim)
    parts = (within(f, claim.question.conditions) for f in found if f.metric in names and f.reason == TWO_GROUPS)
    seeds = {seed for part in parts if part for group in part.seeds for seed in group}
    return [i for i, seed in enumerate(summary.seeds) if seed in seeds]


def metrics_of_claim(claim: Claim) -> tuple[str, ...]:
    """Names of the metrics that a claim is about."""
    test = claim.question.test
    return (test.kept, test.other) if isinstance(test, Retention) else (test.metric,)


def within(flag: Flag, conditions: Collection[int]) -> Flag | None:
    """A flag as far as it touches some conditions; None if it touches none."""
    kept = [i for i, condition in enumerate(flag.conditions) if condition in conditions]
    if not kept:
        return None
    seeds = tuple(flag.seeds[i] for i in kept) if flag.seeds else ()
    return replace(flag, conditions=tuple(flag.conditions[i] for i in kept), seeds=seeds)


def flag_lines(summary: Summary, found: Iterable[Flag]) -> list[str]:
    """Which seeds are doubtful, and where; metrics that share all of it stand in one line."""
    entries = {entry.metric.name: entry for entry in summary.metrics}
    groups: dict[tuple[Flag, str], list[MetricSummary]] = {}
    for flag in found:
        entry = entries[flag.metric]
        bound = _told_at_bound(summary, flag, entry) if flag.reason == AT_BOUND else ""
        groups.setdefault((replace(flag, metric=""), bound), []).append(entry)
    return [
        f"{listed([e.metric.label for e in es])}: {bound or _told(summary, flag, es)}"
        for (flag, bound), es in groups.items()
    ]


def _others_at_chance(summary: Summary, entry: MetricSummary, condition: int, seeds: Sequence[int]) -> str:
    """Whether seeds that lie apart are those that left chance: then the others are the rule."""
    apart = np.isin(summary.seeds, seeds)
    chance = entry.at_chance[condition]
    others = ~apart & ~np.isnan(entry.values[condition])
    if chance[apart].any() or not chance[others].all():
        return ""
    return f" ({'the only one' if len(seeds) == 1 else 'the only ones'} there above chance)"


def _told(summary: Summary, flag: Flag, entries: Sequence[MetricSummary]) -> str:
    where = [summary.place(condition) for condition in flag.conditions]
    known = next((entry for entry in entries if entry.at_chance.any()), entries[0])
    places = [
        f"{seeds_named(group)} at {place}{_others_at_chance(summary, known, condition, group)}"
        for group, place, condition in zip(flag.seeds, where, flag.conditions, strict=True)
    ]
    lie = "lies" if sum(map(len, flag.seeds)) == 1 else "lie"
    skewed = any(entry.metric.kind == REAL for entry in entries)
    or_skewed = ", or the metric is skewed (without bounds, it is screened as if it were normal)" if skewed else ""
    return f"{_some(places)} {lie} far from the other seeds{or_skewed}"


def _told_at_bound(summary: Summary, flag: Flag, entry: MetricSummary) -> str:
    """Which bound it is, and whether any seed is off it."""
    places: dict[tuple[str, bool], list[str]] = {}
    for condition in flag.conditions:
        values = entry.values[condition]
        bounds = listed([f"{bound:g}" for bound in _bounds(entry) if (values == bound).any()])
        places.setdefault((bounds, bool(entry.description.zero_spread[condition])), []).append(summary.place(condition))
    return "; ".join(
        f"{'all' if alike else 'some'} seeds lie exactly at the bound {bounds} at {_some(where)}: what lies beyond it "
        f"cannot be seen, and {'there is no interval' if alike else 'no interval is to be trusted'}"
        for (bounds, alike), where in places.items()
    )


def _by_signs(claim: Claim) -> list[str]:
    """The p of a claim by a test that assumes no normality, in either unit."""
    question = claim.question
    nats = None if question.in_nats is None else weighted_test(question.in_nats, question.weights).per_seed
    told = [_sign_change(own) for own in (claim.test.per_seed, nats) if own is not None]
    if not told[0]:
        return []
    said = "; in nats, ".join(filter(None, told))
    return [f"{question.metric.label}: a test by changing signs, which needs symmetry, not normality, gives {said}"]


def _sign_change(per_seed: Floats) -> str:
    """A p, beside the smallest that so many seeds can give; empty if there is none."""
    own = per_seed[np.isfinite(per_seed)]
    p, smallest = sign_change_p(own), 2.0 ** (1 - len(own))
    if p != p:
        return ""
    if p <= smallest:
        return f"{p_equals(p)}, the smallest that {len(own)} seeds can give"
    return f"{p_equals(p)} (with {len(own)} seeds it is at least {p_text(smallest)})"


def unproven_lines(summary: Summary, claimed: Mapping[str, Collection[int]]) -> list[str]:
    """Gaps that stand beside no claim, since clean sweeps often have one as wide. claimed: by metric, the conditions of
    its claims."""
    told = [
        _unproven(summary, e, claimed[e.metric.name], common=True) for e in summary.metrics if e.metric.name in claimed
    ]
    return list(filter(None, told))


def _unproven(summary: Summary, entry: MetricSummary, conditions: Collection[int], *, common: bool = False) -> str:
    """Seeds that look like two groups, though no screen could tell from so few: the reader is to see them. common: only
    those that clean sweeps often have; else only the others."""
    seen = [
        gap
        for gap in gaps(_screened(entry), math.inf if common else _COMMON)
        if gap.wide and gap.alone <= FALSE_ALARMS < gap.anywhere and gap.condition in conditions
        if (gap.anywhere > _COMMON) == common
    ]
    if not seen:
        return ""
    places = [f"{_values(entry, gap)} at {summary.place(gap.condition)}" for gap in seen]
    guess = "" if entry.metric.chance is None else f"; guessing gives {entry.metric.chance:.3g}"
    most = percent(round(min(gap.anywhere for gap in seen), 2))
    tried = counted(int((entry.description.n > 2).sum()), "condition")
    return (
        f"{entry.metric.label}: {_some(places)}{guess}. These may be two groups; so few seeds cannot settle it: of "
        f"sweeps of {tried} without groups, with normally varying seeds, up to {most} have a gap as wide beside "
        "the spread on its two sides in at least one condition"
    )


def _values(entry: MetricSummary, gap: Gap) -> str:
    """The smaller of the two groups first."""
    groups = sorted((gap.lower, gap.upper), key=len)
    few, many = (", ".join(f"{v:.3g}" for v in np.sort(entry.values[gap.condition, list(g)])) for g in groups)
    lie = "lies" if len(groups[0]) == 1 else "lie"
    total = len(gap.lower) + len(gap.upper)
    return f"{len(groups[0])} of {total} seeds ({few}) {lie} apart from the other {len(groups[1])} ({many})"


def _some(places: Sequence[str]) -> str:
    return listed([*places[:_NAMED], *([f"{len(places) - _NAMED} more"] if len(places) > _NAMED else [])])


def _flags(summary: Summary, entry: MetricSummary) -> Iterator[Flag]:
    name = entry.metric.name
    apart = two_groups(_screened(entry))
    if (found := np.flatnonzero(apart.any(axis=1))).size:
        seeds = tuple(tuple(summary.seeds[i] for i in np.flatnonzero(apart[c])) for c in found)
        yield Flag(name, TWO_GROUPS, tuple(found.tolist()), seeds)
    if (found := np.flatnonzero(at_bound(entry))).size:
        yield Flag(name, AT_BOUND, tuple(found.tolist()))


def _screened(entry: MetricSummary) -> Floats:
    """The values on a scale on which seeds without groups are close to normal: near its ceiling an accuracy is skewed,
    and its raw gaps alone would flag one sweep in three of 10 seeds. Arcsine of the root: Anscombe 1948."""
    return np.arcsin(np.sqrt(entry.values)) if entry.method == DELTA_LOGIT else entry.scaled


def _bounds(entry: MetricSummary) -> tuple[float, ...]:
    """Values beyond which the metric cannot go, by its declaration."""
    return {BOUNDED: (0.0, 1.0), POSITIVE: (0.0,)}.get(entry.metric.kind, ())


def at_bound(entry: MetricSummary) -> NDArray[np.bool_]:
    """Where seeds lie exactly at a bound of their metric, some or all of them, shape (conditions,): the rest of the
    distribution lies beyond it. Of one seed alone nothing is said."""
    return np.asarray(np.isin(entry.values, _bounds(entry)).any(axis=1) & (entry.description.n > 1))
