"""Claims, each with its statistics and its verdict: fixed before the first job or, stamped as such, exploratory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from aggregate.analysis.contrasts import Mask, ordered_levels
from aggregate.analysis.fixed_analysis import Analysis, Looks, before_there_were_tests
from aggregate.analysis.questions import Part, Question, others, question
from aggregate.analysis.retention import Retained
from aggregate.analysis.summary import Summary
from aggregate.arrays import Floats
from aggregate.reading.declared import BOUNDED
from aggregate.stats.improvement import improvement_interval, probability_of_improvement
from aggregate.stats.inference import benjamini_hochberg, hedges_factor, holm, holm_levels
from aggregate.stats.power import detectable_effect, spread_known
from aggregate.stats.weighted import WeightedTest, averaged, cancels, weighted_test
from hpc.units import counted

SHOWN, NOT_SHOWN, WITHHELD, UNTESTABLE = "shown", "not shown", "withheld", "untestable"
SCALES_DISAGREE = "information counted as a share of the error of guessing and counted in nats gives two answers"
NO_NATS = "information cannot be counted in nats: runs without any error have infinitely much"
_POWER = 0.8


@dataclass(frozen=True)
class Worst:
    """The same test with every failed cell counted as the worst value seen. cells: how many those are."""

    cells: int
    estimate: float
    p: float


@dataclass(frozen=True)
class InNats:
    """A retention with information counted in nats. level: of the interval low, high. p is uncorrected: it can take a
    verdict away and never give one."""

    estimate: float
    low: float
    high: float
    p: float
    level: float


def sign(low: float, high: float) -> int:
    """-1 or 1 where an interval leaves out 0, else 0."""
    return 1 if low > 0 else -1 if high < 0 else 0


@dataclass(frozen=True)
class Piece:
    """A claim within one combination of the other factors. per_seed: the estimate of each seed, shape (seeds,).
    in_nats: of a retention, the same with information counted in nats. why: nothing can be said there."""

    where: str
    estimate: float
    low: float
    high: float
    per_seed: Floats
    in_nats: InNats | None = None
    why: str = ""

    @property
    def sign(self) -> int:
        """-1 or 1 where the interval leaves out 0, else 0."""
        return sign(self.low, self.high)


@dataclass(frozen=True)
class Claim:
    """One test and its verdict.

    adjusted: p over the family (Holm), or over all exploratory tests (Benjamini-Hochberg). level: of the interval low,
    high; that at which the verdict fell, so that the interval leaves out 0 if and only if the test says so.
    detectable: the smallest estimate that would have been detected with 80 % power at that level. in_nats: of a
    retention that can be counted in nats too. status: shown, not shown, withheld or untestable; reason: why, or what
    else must be said.
    """

    question: Question
    confirmatory: bool
    planned: int
    test: WeightedTest
    worst: Worst | None
    adjusted: float = math.nan
    level: float = math.nan
    in_nats: InNats | None = None
    status: str = UNTESTABLE
    reason: str = ""

    @property
    def estimated(self) -> bool:
        """Whether there is a number to be told, with or without a verdict; none while cells are still to run."""
        known = math.isfinite(self.estimate) and math.isfinite(self.low)
        return known and self.status != UNTESTABLE and not self.question.waiting

    @property
    def scales_disagree(self) -> bool:
        """Whether it is withheld because shares and nats give two answers."""
        return self.status == WITHHELD and self.reason.startswith(SCALES_DISAGREE)

    @property
    def sign(self) -> int:
        """-1 or 1 where the interval leaves out 0, else 0."""
        return sign(self.low, self.high)

    @property
    def estimate(self) -> float:
        return self.test.estimate

    @property
    def low(self) -> float:
        return self.test.interval(self.level)[0]

    @property
    def high(self) -> float:
        return self.test.interval(self.level)[1]

    @property
    def dz(self) -> float:
        """Standardised estimate, corrected for few seeds (Hedges)."""
        if not self.test.error > 0 or self.test.seeds < 3:
            return math.nan
        return float(self.estimate / self.test.deviation * hedges_factor(self.test.seeds))

    @property
    def detectable(self) -> float:
        if not self.test.error > 0:
            return math.nan
        return detectable_effect(self.test.freedom + 1, 1 - self.level, _POWER) * self.test.deviation

    @property
    def detectable_between(self) -> tuple[float, float]:
        """The same if the true spread over seeds were at either end of its own 95 % interval."""
        low, high = spread_known(self.test.freedom)
        return low * self.detectable, high * self.detectable

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """The same estimate within every combination of the other factors: a description, without a verdict. All their
        intervals together hold as often as that of the claim."""
        asked = self.question
        possible = sum(bool(part.rows) for part in asked.parts)
        return tuple(_piece(asked, part, 1 - (1 - self.level) / max(possible, 1)) for part in asked.parts)

    @cached_property
    def unrelated(self) -> WeightedTest | None:
        """The same estimate, were the errors of its combinations unrelated within seeds, if that would widen the
        interval so much that a reader should know it; None if not. The test itself needs no such assumption, and keeps
        its level whatever they share (docs/statistics.md)."""
        tests = [_within(self.question, part) for part in self.question.parts if part.rows]
        if len(tests) < 2 or not all(test.error > 0 for test in (*tests, self.test)):
            return None
        other = averaged(tests)
        return other if cancels(self.test, other, self.level) else None

    @cached_property
    def improvement(self) -> tuple[float, float, float]:
        """Of a comparison: probability that a run of the first level does better, and its interval. Averaged over
        combinations; the interval is that of one of them, since they share their seeds."""
        asked = self.question
        if asked.pair is None or not asked.metric.better or not math.isfinite(self.estimate):
            return math.nan, math.nan, math.nan
        found, n = probability_of_improvement(*asked.pair, asked.metric.better)
        mean, runs = np.array([np.nanmean(found)]), np.array([n.min()])
        low, high = improvement_interval(mean, runs, self.level)
        return float(mean[0]), float(low[0]), float(high[0])

    @property
    def complete_seeds(self) -> int:
        """Seeds that have every condition the claim uses."""
        return int(np.isfinite(self.test.per_seed).sum())


@dataclass(frozen=True)
class Claims:
    """family: the tests fixed before the first job, adjusted together. exploratory: all others. alpha: of the family;
    looks: that it is shared by. left_out: what was not explored, with the reason."""

    family: tuple[Claim, ...]
    exploratory: tuple[Claim, ...]
    alpha: float
    looks: Looks
    left_out: tuple[str, ...] = ()

    @property
    def retained(self) -> Retained | None:
        """Of the hypothesis, or of that of an earlier version."""
        return next((c.question.retained for c in (*self.family, *self.exploratory) if c.question.retained), None)

    @property
    def spent(self) -> float:
        """Of alpha, by this look."""
        return self.looks.share(self.alpha)


def make_claims(summary: Summary, analysis: Analysis, planned: Mask, looks: Looks | None = None) -> Claims:
    """All claims of a sweep. planned: the conditions of the first revision of the grid, shape (conditions,); contrasts
    over those that were added later, and those of other metrics, are exploratory.

    looks: how often results could be seen before the seeds were settled; more often than planned, and no claim counts
    as fixed before the first job.
    """
    looks = looks or Looks(analysis.looks)
    tests = analysis.tests
    slopes = [
        factor.name
        for axis, factor in enumerate(summary.factors)
        if factor.ordered and len(ordered_levels(summary, axis, planned, logarithm=True)) > 1
    ]
    dropped = 0
    if tests is None:
        tests = before_there_were_tests(analysis.primary, slopes)
        # What such a sweep declared and is not tested any more still counts in its family.
        interactions = len(analysis.primary) * math.comb(len(slopes), 2)
        dropped = interactions + (analysis.former is not None)
    family = [_claim(summary, question(summary, test, planned), looks.as_planned) for test in tests]
    exploratory, left_out = others(summary, analysis, tests, slopes, planned)
    exploring = [_claim(summary, question(summary, test, planned), False) for test in exploratory]
    if not planned.all():
        exploring += [_claim(summary, question(summary, test, np.ones_like(planned)), False) for test in tests]
    share = looks.share(analysis.alpha)
    return Claims(
        family=_judged(family, share, dropped),
        exploratory=_explored(exploring, analysis.alpha),
        alpha=analysis.alpha,
        looks=looks,
        left_out=left_out,
    )


# --- the numbers ----------------------------------------------------------------------------------------------------


def _claim(summary: Summary, asked: Question, confirmatory: bool) -> Claim:
    test = weighted_test(asked.values, asked.weights)
    return Claim(asked, confirmatory, len(summary.seeds), test, _worst(asked, test))


def _worst(asked: Question, test: WeightedTest) -> Worst | None:
    """The test with every failed cell at its worst; of two possible worsts, the one that speaks more against it."""
    cells = int(asked.failed.sum())
    if not cells or not asked.worst:
        return None
    tests = [weighted_test(np.where(asked.failed, value, asked.values), asked.weights) for value in asked.worst]
    sign = np.sign(test.estimate) if math.isfinite(test.estimate) else 1.0
    found = min(tests, key=lambda one: float(one.estimate * sign))
    return Worst(cells, found.estimate, found.p)


# --- the verdict ----------------------------------------------------------------------------------------------------


def _judged(claims: Sequence[Claim], alpha: float, dropped: int) -> tuple[Claim, ...]:
    """The family: Holm's correction, and each interval at the level of the step that decided.

    dropped: tests that count, though nothing is said of them.
    """
    raw = [*(claim.test.p for claim in claims), *[math.nan] * dropped]
    adjusted = holm(raw)[: len(claims)]
    levels = holm_levels(raw, alpha)[: len(claims)]
    return tuple(
        _judge(replace(claim, adjusted=p, level=level), alpha)
        for claim, p, level in zip(claims, adjusted.tolist(), levels, strict=True)
    )


def _explored(claims: Sequence[Claim], alpha: float) -> tuple[Claim, ...]:
    adjusted = benjamini_hochberg([claim.test.p for claim in claims])
    return tuple(
        _judge(replace(claim, adjusted=p, level=1 - alpha), alpha)
        for claim, p in zip(claims, adjusted.tolist(), strict=True)
    )


def _piece(asked: Question, part: Part, level: float) -> Piece:
    test = _within(asked, part)
    low, high = test.interval(level)
    nats = (
        None if asked.in_nats is None or not part.rows else counted_in_nats(_within(asked, part, asked.in_nats), level)
    )
    return Piece(part.where, test.estimate, low, high, test.per_seed, nats, part.why)


def _within(asked: Question, part: Part, values: Floats | None = None) -> WeightedTest:
    """The test within one combination. values: in place of the question's, same shape."""
    return weighted_test((asked.values if values is None else values)[list(part.rows)], asked.whole(part))


def _in_nats(asked: Question, level: float) -> InNats | None:
    return None if asked.in_nats is None else counted_in_nats(weighted_test(asked.in_nats, asked.weights), level)


def counted_in_nats(test: WeightedTest, level: float) -> InNats:
    """What a test with information counted so says."""
    return InNats(test.estimate, *test.interval(level), test.p, level)


def _judge(claim: Claim, alpha: float) -> Claim:
    """alpha: that the adjusted p is held against, and the p with failed cells as worst or with information in nats."""
    claim = replace(claim, in_nats=_in_nats(claim.question, 1 - alpha))
    asked, worst, nats = claim.question, claim.worst, claim.in_nats
    if asked.waiting:
        cells = counted(asked.waiting, "cell")
        status, why = WITHHELD, f"{cells} of it {'has' if asked.waiting == 1 else 'have'} not run yet"
    elif asked.bar:
        status, why = WITHHELD, asked.bar
    elif math.isnan(claim.adjusted):
        status, why = UNTESTABLE, _why_untestable(claim)
    elif claim.adjusted > alpha:
        # Nothing on one scale and something on the other is no answer either; both are held to the same step of Holm's.
        detected = nats is not None and nats.p <= 1 - claim.level
        status, why = (WITHHELD, SCALES_DISAGREE) if detected else (NOT_SHOWN, "")
    elif worst is not None and not _agrees(worst, claim, alpha):
        status, why = WITHHELD, _why_withheld(worst)
    elif nats is not None and math.isnan(nats.p):
        status, why = WITHHELD, NO_NATS
    elif nats is not None and not _agrees(nats, claim, alpha):
        status, why = WITHHELD, SCALES_DISAGREE
    else:
        status, why = SHOWN, ""
    return replace(claim, status=status, reason="; ".join(filter(None, (why, _gaps(claim), *asked.notes))))


def _agrees(other: Worst | InNats, claim: Claim, alpha: float) -> bool:
    """Whether the same test, made otherwise, detects the same."""
    return other.p <= alpha and bool(np.sign(other.estimate) == np.sign(claim.estimate))


def _why_withheld(worst: Worst) -> str:
    cells = counted(worst.cells, "failed cell")
    p = f", uncorrected p = {worst.p:.2g}" if worst.p == worst.p else ""
    return f"it does not hold if the {cells} had the worst value seen (then {worst.estimate:+.3g}{p})"


def _gaps(claim: Claim) -> str:
    """The stamp of a claim that some cells are missing from."""
    complete = claim.complete_seeds
    if complete == claim.planned or not math.isfinite(claim.test.error):
        return ""
    return (
        f"{complete} of {claim.planned} seeds have every condition; the others count with those they have, "
        "in an error that keeps each seed together"
    )


def _why_untestable(claim: Claim) -> str:
    if claim.question.why:
        return claim.question.why
    if claim.planned == 1:
        return "one seed says nothing about chance"
    if claim.test.error == 0:
        return f"every seed gave the same number, so nothing is known of chance{_all_at_bound(claim.question)}"
    return "too few runs have a finite value"


def _all_at_bound(asked: Question) -> str:
    """Where that is no coincidence: all runs reached a bound of their metric."""
    seen = np.unique(asked.values[np.isfinite(asked.values)])
    if asked.metric.kind != BOUNDED or len(seen) != 1 or seen[0] not in (0, 1):
        return ""
    return f": all runs are at the bound {seen[0]:g} of {asked.metric.label}, and what lies beyond it cannot be seen"
