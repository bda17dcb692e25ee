"""What was estimated of a claim, how sure that is, and what it rests on, in words. Computes nothing."""

from __future__ import annotations

import math

import numpy as np

from aggregate.analysis.claims import NOT_SHOWN, SHOWN, Claim
from aggregate.analysis.fixed_analysis import Compared
from aggregate.analysis.questions import COMPARISON, SLOPE
from aggregate.analysis.study import Study
from aggregate.answers.answer import detectable
from aggregate.answers.combinations import MOST_OF_IT, known_pieces
from aggregate.answers.estimates import amount, between, bracket, bracketed, per, places, size
from aggregate.answers.sentences import factor_of, upper
from aggregate.described.chance import above_chance, of_each
from aggregate.described.levels import by_level
from aggregate.stats.weighted import chance_of_narrower
from aggregate.wording import listed, p_equals, percent, value_text
from hpc.units import counted

EXTREME_DZ = 5.0  # beyond it, the difference dwarfs what seeds vary by, whatever its own size


def estimated(claim: Claim) -> str:
    """The estimate with its interval, and what that depends on; empty if there is none to be told."""
    return f"Estimated: {_numbers(claim)}.{_cancelling(claim)}{_in_nats(claim)}" if claim.estimated else ""


def _numbers(claim: Claim) -> str:
    question = claim.question
    parts = [f"{percent(round(claim.level, 4))} interval", f"{p_equals(claim.adjusted)} after Holm's correction"]
    if question.kind == COMPARISON and math.isfinite(claim.dz):
        parts.append(f"d_z {claim.dz:.2f}, the mean difference over its standard deviation{_extreme(claim.dz)}")
    seeds = counted(claim.test.seeds, "seed")
    parts.append(seeds if claim.test.seeds == claim.planned else f"{claim.test.seeds} of {claim.planned} seeds")
    told, interval = amount(question, claim.estimate, claim.low, claim.high), bracket(question, claim.low, claim.high)
    text = f"{told}{per(question)} {interval} ({', '.join(parts)}{'' if claim.sign else detectable(claim)})"
    if question.retained is not None:
        kept, other = (percent(round(share, 2)) for share in question.retained.shares)
        narrower = listed([value_text(level) for level in question.levels[:-1]])
        a, b = question.sides
        kept, other = kept + _from_to(claim, kept=True), other + _from_to(claim, kept=False)
        over = places([piece.where for piece in known]) if (known := known_pieces(claim)) else ""
        text = (
            f"averaged over {question.retained.factor.label} {narrower}{f' ({over})' if over else ''}, {kept} of the "
            f"information on {a} at {question.retained.widest} is retained and {other} of that on {b}: {text}"
        )
    improvement, low, high = claim.improvement
    if question.kind == COMPARISON and math.isfinite(improvement) and isinstance(question.test, Compared):
        a, b = map(value_text, question.test.levels)
        text += f"; a run of {a} does better than one of {b} with probability {improvement:.2f} [{low:.2f}, {high:.2f}]"
    return text


def _from_to(claim: Claim, *, kept: bool) -> str:
    """Between which shares a mean of them lies, which may be that of no condition."""
    shares = [one.kept if kept else one.other for one in by_level(claim)]
    if len(shares) < 2:
        return ""
    return f" (from {percent(round(min(shares), 2))} to {percent(round(max(shares), 2))} by condition)"


def _in_nats(claim: Claim) -> str:
    """The estimate of a retention if the unit of information is another."""
    nats = claim.in_nats
    if nats is None or not math.isfinite(nats.low):
        return ""
    told = bracketed(claim.question, nats.estimate, nats.low, nats.high)
    retained = claim.question.retained
    shares = [f"{percent(round(share, 2))}" for share in retained.shares_of_nats] if retained else []
    return (
        f" In nats: {f'{listed(shares)}, ' if shares else ''}{told} "
        f"({percent(round(nats.level, 4))} interval, {p_equals(nats.p)}, uncorrected)."
    )


def _cancelling(claim: Claim) -> str:
    """The interval that would hold without what the combinations share within seeds, where that narrowed it."""
    other = claim.unrelated
    if other is None:
        return ""
    question, (low, high) = claim.question, other.interval(claim.level)
    seeds = counted(claim.test.seeds, "seed")
    would = "would include 0, so the verdict rests on that" if low <= 0 <= high else "would still leave out 0"
    rests = f" and {would}" if claim.status == SHOWN else ""
    chance = percent(round(chance_of_narrower(claim.test, other), 2))
    return (
        " This interval is narrow because the combinations' errors cancel within seeds. Were they unrelated, it would "
        f"be {bracket(question, low, high)}{rests}; with {seeds}, unrelated errors seem to cancel as much in up to "
        f"{chance} of sweeps."
    )


def _extreme(dz: float) -> str:
    """What a reader may take for a huge effect."""
    return "; so large because seeds hardly vary" if abs(dz) > EXTREME_DZ else ""


def signs(claim: Claim) -> str:
    """In how many seeds the estimate has the sign of their mean: what needs no assumption."""
    own = claim.test.per_seed[np.isfinite(claim.test.per_seed)]
    if claim.status != SHOWN or len(own) < 2:
        return ""
    alike = int((np.sign(own) == np.sign(claim.estimate)).sum())
    single = [int((np.sign(piece.per_seed) == np.sign(claim.estimate)).sum()) for piece in known_pieces(claim)]
    what = "slope" if claim.question.kind == SLOPE else "difference"
    if len(single) < 2:
        return f"The sign of the {what} is the same in {alike} of {len(own)} seeds."
    if {alike, *single} == {len(own)}:
        return f"The sign of the {what} is the same in all {len(own)} seeds, and so is that of each combination."
    of = f"{min(single)} to {max(single)}" if min(single) < max(single) else f"{min(single)}"
    return (
        f"The average {what} has the sign of the estimate in {alike} of {len(own)} seeds; each "
        f"combination has it in {of} of the {len(own)} seeds."
    )


def power(claim: Claim) -> str:
    """What a claim that nothing was detected of leaves open."""
    if claim.status != NOT_SHOWN or not math.isfinite(claim.detectable):
        return ""
    question, (low, high) = claim.question, claim.detectable_between
    return (
        f"This does not show that there is none: the data are compatible with all of "
        f"{bracket(question, claim.low, claim.high)}. "
        f"With the spread seen in these seeds, a true effect of about {size(question, claim.detectable)} would have "
        f"been detected with 80 % power; {counted(claim.test.seeds, 'seed')} determine this only roughly "
        f"({between(question, low, high)})."
    )


def by_chance(study: Study, claim: Claim) -> str:
    """What a slope is made of where some runs are at chance: of more runs that learn at all, or of better ones."""
    counts = above_chance(study.summary, claim)
    if counts is None or not claim.estimated:
        return ""
    question = claim.question
    levels = f"{factor_of(study, question).label} {listed(list(map(value_text, question.levels)))}"
    means = listed(["-" if mean != mean else f"{mean:.3g}" for mean in counts.means.tolist()])
    said = f"Runs above chance at {levels}: {of_each(counts)}, with means of {means}."
    if claim.status != SHOWN or not math.isfinite(counts.left):
        return said
    left = (
        f"{percent(round(counts.left, 2))} of the slope is left if every run above chance is given one common value, "
        "and every run at chance another"
    )
    so = "mostly it is how many runs learnt at all, not how well they did: " if counts.left >= MOST_OF_IT else ""
    return f"{said} {upper(so + left)}."
