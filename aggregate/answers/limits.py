"""Reasons to doubt one claim, and what its answer alone leaves out: short sentences, the weightiest first.

Computes nothing. caveats.py has what concerns the sweep as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from aggregate.analysis.claims import NOT_SHOWN, SHOWN, Claim, Piece, sign
from aggregate.analysis.questions import RETENTION, SLOPE, Question
from aggregate.analysis.reliability import not_normal
from aggregate.analysis.study import Study
from aggregate.answers.combinations import (
    direction,
    in_favour,
    known_pieces,
    mostly_steps,
    signs_differ,
)
from aggregate.answers.estimates import numbers, places, with_level
from aggregate.answers.sentences import factor_of, upper
from aggregate.arrays import Floats
from aggregate.described.chance import above_chance, of_each
from aggregate.described.earlier import Earlier, earlier, named, signs, signs_now, steady, unsettled, verdict_then
from aggregate.described.levels import Reversed, at_chance, by_level, reversed_at, unanimous
from aggregate.described.without import Without, lost_without, without_seeds
from aggregate.stats.exact import sign_change_p
from aggregate.stats.weighted import weighted_test
from aggregate.wording import listed, p_equals, p_text, value_text
from hpc.units import counted

VERDICTS = {SHOWN: "detected", NOT_SHOWN: "not detected"}
_MOST_SEEDS = 2  # of which it is said in the first lines what would be found without them
_MOST_GROUPS = 2  # of combinations, named in the first lines
_MOST_PIECES = 4  # combinations whose numbers are told in the first lines


def limits(study: Study, claim: Claim) -> tuple[str, ...]:
    """What the verdict leaves out or averages over; each stands in full beside the claim."""
    if not claim.estimated:
        return ()
    found = earlier(study, claim)
    told = [
        _opposite(claim),
        _one_way(study, claim),
        _barely(study, claim),
        _opposite_levels(claim, factor_of(study, claim.question).label),
        _chance(study, claim),
        _uncertain(claim),
        mostly_steps(claim).rstrip(".") if len(known_pieces(claim)) > 1 else "",
        _one_seed(study, claim),
        _left_out(claim),
        _no_normality(study, claim),
        as_it_was(claim, found, brief=True),
    ]
    return tuple(f"{upper(sentence)}." for sentence in told if sentence)


# --- where the average is made of what -------------------------------------------------------------------------------


def _opposite(claim: Claim) -> str:
    """The combinations whose estimates differ in sign, with their numbers in both units where they are few."""
    if not signs_differ(claim):
        return ""
    known = known_pieces(claim)
    if len(known) > _MOST_PIECES:
        return f"this is an average over opposite signs: estimates differ in sign between {_at(known)}"
    told = [f"{numbers(claim.question, piece.estimate, piece.low, piece.high)} at {piece.where}" for piece in known]
    nats = [
        numbers(claim.question, own.estimate, own.low, own.high)
        for piece in known
        if (own := piece.in_nats) is not None and math.isfinite(own.low)
    ]
    in_nats = f"; in nats, {listed(nats)}" if len(nats) == len(known) else ""
    return f"this is an average over opposite signs: {listed(_named_once(told, known))}{in_nats}"


def _at(pieces: Sequence[Piece]) -> str:
    return places([piece.where for piece in pieces])


def _named_once(told: Sequence[str], pieces: Sequence[Piece]) -> list[str]:
    """Phrases that end with a place, of which only the first names a factor that they share."""
    heads = {piece.where.rpartition(" ")[0] for piece in pieces}
    if len(heads) > 1 or any(", " in piece.where for piece in pieces):
        return list(told)
    return [told[0], *(one.replace(f" at {min(heads)} ", " at ") for one in told[1:])]


def _one_way(study: Study, claim: Claim) -> str:
    """Levels at which the answer is the same in every combination and unit, where the average says less, and whether
    one kind of information is at chance there."""
    found = {at: way for at, way in unanimous(by_level(claim)).items() if way != claim.sign or claim.scales_disagree}
    label, question = factor_of(study, claim.question).label, claim.question
    everywhere = "every combination" if len(known_pieces(claim)) > 1 else ""
    units = ("both units" if everywhere else "either unit") if claim.in_nats else ""
    so = f"in {' and in '.join(filter(None, (everywhere, units)))}, " if everywhere or units else ""
    told = []
    for at, way in found.items():
        chance = listed(at_chance(study, claim, at))
        why = f": {chance} was at chance in every run used" if chance else ""
        told.append(f"at {label} {value_text(at)}, {so}{direction(question, way > 0)}{why}")
    return "; ".join(told)


def _opposite_levels(claim: Claim, label: str) -> str:
    """Between which levels estimates differ in sign within a combination, in either unit: in another, they need not."""
    found = by_level(claim)
    if claim.scales_disagree and len(set(unanimous(found).values())) == 2:
        return ""  # said already, with which way at which level
    shares, nats = (_levels(claim, reversed_at(found, in_nats=own)) for own in (False, True))
    if not shares and not nats:
        return ""
    told = [f"{'in shares, ' if claim.in_nats else ''}{shares}" if shares else "", f"in nats, {nats}" if nats else ""]
    if shares == nats:
        told = [f"in both units, {shares}"]
    return f"the sign changes between levels of {label}: {'; '.join(filter(None, told))}"


def _levels(claim: Claim, found: Reversed) -> str:
    """``4 against 8 and 16 at scale 1``."""
    groups: dict[str, list[str]] = {}
    for where, ends in found.items():
        first, second = sorted(ends, key=lambda end: min(map(claim.question.levels.index, end)))
        both = (listed(list(map(value_text, end))) for end in (first, second))
        groups.setdefault(" against ".join(both), []).append(where)
    if len(groups) > _MOST_GROUPS:
        return f"within {counted(len(found), 'combination')}"
    return ", ".join(f"{levels} at {places(where)}" if where[0] else levels for levels, where in groups.items())


def _uncertain(claim: Claim) -> str:
    """Combinations in which a detected average may be none."""
    known = [piece for piece in known_pieces(claim) if math.isfinite(piece.low)]
    unsure = [piece for piece in known if not piece.sign]
    if claim.status != SHOWN or signs_differ(claim) or not unsure or len(known) < 2:
        return ""
    if len(unsure) > _MOST_PIECES:
        return f"the intervals at {_at(unsure)} include 0"
    told = [numbers(claim.question, one.estimate, one.low, one.high) for one in unsure]
    include = "the interval includes 0" if len(unsure) == 1 else "the intervals include 0"
    return f"at {_at(unsure)}, {include}: {listed(told)}"


def _chance(study: Study, claim: Claim) -> str:
    """How many runs a slope counts that learnt nothing."""
    counts = above_chance(study.summary, claim)
    if counts is None:
        return ""
    runs, above = sum(counts.runs), sum(counts.above)
    levels = f"{factor_of(study, claim.question).label} {listed(list(map(value_text, claim.question.levels)))}"
    return f"{runs - above} of {counted(runs, 'run')} are at chance; above it are {of_each(counts)} at {levels}"


def _left_out(claim: Claim) -> str:
    names: dict[str, list[str]] = {}
    for combination, piece in enumerate(claim.pieces):
        if piece.why:
            names.setdefault(_why_left_out(claim.question, combination), []).append(piece.where)
    told = [f"{places(where)} {'is' if len(where) == 1 else 'are'} left out: {why}" for why, where in names.items()]
    return "; ".join([*told, *(note for note in claim.question.notes if " left out" in note)])


def _why_left_out(question: Question, combination: int) -> str:
    """Which of the two kinds of information had not been learnt: a reader would take it for both."""
    retained = question.retained
    if retained is None:
        return "no estimate there"
    sides = sorted((retained.kept, retained.other), key=lambda side: bool(side.learnt[combination]))
    lacking, had = sides
    if not had.learnt[combination]:
        return f"at {retained.widest}, neither {lacking.name} nor {had.name} had been learnt there"
    return f"at {retained.widest}, {lacking.name} had not been learnt there ({had.name} had)"


# --- how much hangs on so few seeds ----------------------------------------------------------------------------------


def _barely(study: Study, claim: Claim) -> str:
    """Where an interval leaves out 0 only just: it would not without single seeds."""
    nats = claim.in_nats
    told = []
    for unit, seeds in zip(("in shares, " if nats else "", "in nats, "), barely(study, claim), strict=True):
        if not seeds:
            continue
        p = claim.adjusted if unit != "in nats, " or nats is None else nats.p
        told.append(
            f"{unit}the interval barely leaves out 0 ({p_equals(p)}{_by_signs(claim, unit == 'in nats, ')}): without "
            f"any one of {_seeds(seeds)} it would include 0"
        )
    return "; ".join(told)


def barely(study: Study, claim: Claim) -> tuple[tuple[int, ...], ...]:
    """As the claim is and in nats: the seeds without any one of which an interval that leaves out 0 would include it,
    if these are at least half of all. Of a few that lie apart, see _one_seed."""
    found = lost_without(study, claim)
    return tuple(seeds if 2 * len(seeds) >= claim.test.seeds else () for seeds in found)


def _seeds(names: Sequence[int]) -> str:
    if len(names) > _MOST_PIECES:
        return f"{len(names)} of the seeds"
    return f"the seeds {', '.join(map(str, names[:-1]))} or {names[-1]}"


def _by_signs(claim: Claim, in_nats: bool) -> str:
    """The p of a test without normality, where it is larger than alpha: `; 0.0625 without ...`."""
    question = claim.question
    values = question.in_nats if in_nats else question.values
    p = math.nan if values is None else _sign_change(weighted_test(values, question.weights).per_seed)
    level = claim.in_nats.level if in_nats and claim.in_nats else claim.level
    return f"; {p_text(p)} without assuming normality" if p > 1 - level else ""


def _sign_change(per_seed: Floats) -> float:
    return sign_change_p(per_seed[np.isfinite(per_seed)])


def _no_normality(study: Study, claim: Claim) -> str:
    """Of a detected effect whose seeds do not vary normally, that a test without that assumption detects none."""
    if claim.status != SHOWN or not not_normal(study.summary, study.flags, claim):
        return ""
    own = claim.test.per_seed[np.isfinite(claim.test.per_seed)]
    p, least = sign_change_p(own), 2.0 ** (1 - len(own))
    if not p > 1 - claim.level:
        return ""
    few = f", the least that {counted(len(own), 'seed')} can give" if p <= least else ""
    return f"seeds do not vary normally everywhere; without assuming it, {p_equals(p)}{few}"


def _one_seed(study: Study, claim: Claim) -> str:
    """What would be found without a seed that lies apart somewhere, where that is another result."""
    found = [one for one in without_seeds(study, claim) if one.differs(claim)]
    told = [f"without seed {one.seed} it would be {_numbers_without(claim, one)}" for one in found[:_MOST_SEEDS]]
    more = f"; and {len(found) - len(told)} more seeds" if len(found) > len(told) else ""
    weigh = "one seed weighs" if len(found) == 1 else "single seeds weigh"
    return f"{weigh} heavily: {'; '.join(told)}{more}" if told else ""


def _numbers_without(claim: Claim, other: Without) -> str:
    told, nats = numbers(claim.question, other.test.estimate, other.low, other.high), other.in_nats
    if nats is None:
        return told
    return f"{told} in shares and {numbers(claim.question, nats.estimate, nats.low, nats.high)} in nats"


# --- fewer epochs ----------------------------------------------------------------------------------------------------


def as_it_was(claim: Claim, found: tuple[Earlier, ...], *, brief: bool) -> str:
    """What the last epochs before the end would have said, if it is not what the claim says; an interval that has come
    to include 0 is no other answer by itself. brief: without intervals."""
    alike = unsettled(claim, found)
    if not alike:
        return ""
    last = alike[-1]
    if not steady(claim, last):
        return _another(claim, alike, brief=brief)
    same = tuple(at for at in alike if steady(claim, at))
    then, now = signs(claim, last) or (0, 0), signs_now(claim)
    other = [(own, b) for own, a, b in zip((False, True), then, now, strict=True) if a != b]
    told = "; ".join(_steady(claim, same, in_nats=own, brief=brief) for own, _ in other)
    did = "included 0" if other[0][1] else "left out 0"
    how = "" if brief else " (paired by seed; described, not tested, and not corrected for looking so often)"
    be = would_be(claim, last)
    return (
        f"after {named(same)}, the estimate did not differ detectably from that at the end{how}, though the interval "
        f"{did}: {told}{'' if brief and '; still' in be else be}"
    )


def _steady(claim: Claim, same: tuple[Earlier, ...], *, in_nats: bool, brief: bool) -> str:
    """Estimates then and at the end, each with its interval unless brief."""
    now = claim.in_nats if in_nats and claim.in_nats else claim
    tests = [test for at in same if (test := at.in_nats if in_nats else at.test) is not None]
    ends = [*((test.estimate, *test.interval(now.level)) for test in tests), (now.estimate, now.low, now.high)]
    told = [numbers(claim.question, *one) for one in ends]
    told = [one.partition(" [")[0] for one in told] if brief else told
    unit = ("in nats, " if in_nats else "in shares, ") if claim.in_nats else ""
    return f"{unit}{', '.join(told[:-1])}, and {told[-1]} at the end"


def _another(claim: Claim, alike: tuple[Earlier, ...], *, brief: bool) -> str:
    last = alike[-1]
    if last.test is None:
        return ""
    now = replace(claim, test=last.test, in_nats=last.of_nats(claim))
    said = [
        (unit, way, estimate)
        for (unit, way, estimate), then, end in zip(units(now), signs_now(now), signs_now(claim), strict=False)
        if then != end or not brief
    ]
    of = f"; numbers of {last.after}" if len(alike) > 1 else ""
    how = "" if brief else f" (described, not tested{of})"
    told = "; ".join(
        (f"in {unit}, " if claim.in_nats else "") + way + ("" if brief else f": {estimate}")
        for unit, way, estimate in said
    )
    at_end = " instead of at the end" if brief else ""
    return f"read after {named(alike)}{at_end}, the same runs say otherwise{how}: {told}{would_be(claim, last)}"


def would_be(claim: Claim, at: Earlier) -> str:
    """Whether the verdict would be another; empty where that is unknown."""
    then = verdict_then(claim, at)
    if then is None:
        return ""
    told = VERDICTS.get(then, "no verdict")
    if then != claim.status:
        return f"; that would be: {told}"
    return f"; that would be: {told}, the other way" if then == SHOWN else f"; still {told}"


# --- two units -------------------------------------------------------------------------------------------------------


def units(claim: Claim) -> list[tuple[str, str, str]]:
    """What shares say and what nats: the unit, which way if any, and the estimate with its interval."""
    question, own = claim.question, [("shares", claim), ("nats", claim.in_nats)]
    return [
        (
            unit,
            _way(question, sign(one.low, one.high)),
            with_level(
                question,
                one.estimate,
                one.low,
                one.high,
                one.level,
                f" per {question.unit}" if question.kind == SLOPE else "",
                ", uncorrected" if unit == "nats" else "",
            ),
        )
        for unit, one in own
        if one is not None
    ]


def _way(question: Question, way: int) -> str:
    """What an interval says of the direction, and no more than that."""
    if not way:
        return "the interval includes 0"
    if question.kind == RETENTION:
        return f"the interval is in favour of {in_favour(question, way > 0)}"
    told = direction(question, way > 0)
    return f"{'the slope is ' if question.kind == SLOPE else ''}{told} (the interval leaves out 0)"
