"""A claim by combination of the other factors: where its average is made of what, in words. Computes nothing.

All of it describes: verdicts are about the average.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from aggregate.analysis.claims import NOT_SHOWN, SHOWN, Claim, Piece, sign
from aggregate.analysis.fixed_analysis import Compared
from aggregate.analysis.questions import RETENTION, SLOPE, Question
from aggregate.analysis.study import Study
from aggregate.answers.estimates import amount, bracket, limited, places, with_level
from aggregate.answers.sentences import upper
from aggregate.arrays import Floats
from aggregate.described.between import Between, between
from aggregate.described.levels import by_level, reversed_at
from aggregate.reading.declared import Factor
from aggregate.stats.weighted import WeightedTest
from aggregate.wording import listed, percent, value_text
from hpc.sweep.cell import FactorValue
from hpc.units import counted

MOST_OF_IT = 0.75  # of a change: then it is a step rather than a slope
_NEARLY_ALL = 0.9  # of a change


def averaged_over(claim: Claim) -> str:
    """What a verdict is about: the average over the combinations of the other factors, or the only one of them."""
    known = known_pieces(claim)
    if len(known) < 2:
        return f"at {claim.question.alone}" if claim.question.alone else ""
    over = f"on average over {places([piece.where for piece in known], claim.question.combinations)}"
    return over + (", where the estimates differ in sign" if signs_differ(claim) else "")


def known_pieces(claim: Claim) -> list[Piece]:
    return [piece for piece in claim.pieces if not piece.why and math.isfinite(piece.estimate)]


def signs_differ(claim: Claim) -> bool:
    """Whether the average alone would mislead, with a verdict or without: combinations differ in sign. For slopes and
    comparisons, an opposite sign beside an average of nothing is what chance gives, unless both signs are certain."""
    pieces = known_pieces(claim)
    if len({piece.estimate > 0 for piece in pieces}) < 2 or not claim.estimated:
        return False
    return claim.question.kind == RETENTION or claim.sign != 0 or {1, -1} <= {piece.sign for piece in pieces}


def by_combination(study: Study, claim: Claim) -> str:
    """Which way it goes in which combination, and whose interval includes 0: a sign alone would be believed. A
    description: verdicts are about the average. The numbers stand where they are drawn."""
    groups: dict[bool, list[str]] = {}
    for piece in known_pieces(claim):
        groups.setdefault(piece.estimate > 0, []).append(piece.where)
    if claim.status == NOT_SHOWN and claim.question.kind != RETENTION and not signs_differ(claim):
        groups = {}
    told = [f"{_estimated(claim.question, rises)} at {places(where)}" for rises, where in groups.items()]
    others = listed([factor.label for factor in study.summary.factors if factor.name not in claim.question.factors])
    untested = f"described after the fact (that {others} matters to it was not declared and is not tested)"
    by = f"By {others}, {untested}: {'; '.join([*told, *_uncertain(claim)])}." if told else ""
    return " ".join(filter(None, (by, _silent(claim))))


def _uncertain(claim: Claim) -> list[str]:
    """Of which combinations the sign may be another: the interval includes 0, or it is another in nats."""
    known = known_pieces(claim)
    nats = [(piece, piece.in_nats) for piece in known if piece.in_nats and math.isfinite(piece.in_nats.low)]
    other = [piece.where for piece, own in nats if own.estimate * piece.estimate < 0]
    return [
        *_including([piece.where for piece in known if not piece.sign and math.isfinite(piece.low)], ""),
        *([f"in nats, the other way at {places(other)}"] if other else []),
        *_including([piece.where for piece, own in nats if not sign(own.low, own.high)], "in nats, "),
    ]


def _including(where: Sequence[str], unit: str) -> list[str]:
    if len(where) == 1:
        return [f"{unit}the interval at {where[0]} includes 0"]
    return [f"{unit}the intervals at {places(where)} include 0"] if where else []


def _estimated(question: Question, rises: bool) -> str:
    """The sign of an estimate that nothing is claimed of."""
    if question.kind == RETENTION:
        return f"estimated in favour of {in_favour(question, rises)}"
    way = direction(question, rises)
    return f"estimated {way}" if question.kind == SLOPE else way.replace(" is ", " is estimated ", 1)


def in_favour(question: Question, rises: bool) -> str:
    """Of a retention, the kind of information of which a larger share is retained."""
    kept, other = question.sides
    return kept if rises else other


def direction(question: Question, rises: bool) -> str:
    if question.kind == RETENTION:
        return f"a larger share of {in_favour(question, rises)} is retained"
    if isinstance(question.test, Compared):
        return f"{value_text(question.test.levels[0])} is {'higher' if rises else 'lower'}"
    return f"{'positive' if rises else 'negative'}"


def _silent(claim: Claim) -> str:
    """Combinations of which nothing is said; the reason stands beside each where they are drawn."""
    names = [piece.where for piece in claim.pieces if piece.why]
    if not names:
        return ""
    rule = (
        "by Holdfast's own rule, which is the same for every sweep: both must be learnt at the widest level, where the "
        "interval over seeds for the information on either, and every seed, must lie above 0"
    )
    return f"{upper(places(names))} {'is' if len(names) == 1 else 'are'} left out {rule}."


def apart(claim: Claim) -> str:
    """How far apart combinations are whose estimates differ in sign, where a reader is told that they do."""
    if not signs_differ(claim):
        return ""
    told = [_apart(claim.question, pair) for pair in between(claim)]
    return (
        f"How far apart they are (paired by seed, described and not tested): {limited(told, 'pairs')}." if told else ""
    )


def _apart(question: Question, pair: Between) -> str:
    head, _, level = pair.more.rpartition(" ")
    less = pair.less.removeprefix(f"{head} ") if "," not in pair.more else pair.less
    told = f"{head} {level} minus {less}, {_tested(question, pair.test, pair.level)}".lstrip()
    if pair.in_nats is None:
        return told
    return f"{told}; in nats, {_tested(question, pair.in_nats, pair.level_in_nats)}"


def _tested(question: Question, test: WeightedTest, level: float) -> str:
    return with_level(question, test.estimate, *test.interval(level), level)


def level_by_level(claim: Claim, factor: Factor) -> str:
    """Where a retention goes one way at some levels and the other way at others, by intervals that hold together, in
    either unit."""
    kept, other = claim.question.sides
    told = [
        ("in nats, " if in_nats else "")
        + (f"at {where}, " if where else "")
        + f"a larger share of {other} is retained at {factor.label} {_levels(below)}, of {kept} at {_levels(above)}"
        for in_nats in (False, True)
        for where, (below, above) in reversed_at(by_level(claim), in_nats=in_nats).items()
    ]
    if not told:
        return ""
    where = limited(told, "(statistics.json)")
    return (
        f"The sign depends on the level as well, by intervals that hold together (described, not tested): {where}. "
        "The average gives every level of this grid the same weight; over other levels it would be another."
    )


def _levels(values: Sequence[FactorValue]) -> str:
    return listed(list(map(value_text, values)))


def course(claim: Claim, factor: Factor) -> str:
    """From which value to which a slope leads, averaged over the other factors, and where nearly all of that lies. An
    average need be the value of no combination: theirs stand beside it."""
    question, means = claim.question, claim.question.means
    own = question.means_within
    ends, singles = (np.exp(means), np.exp(own)) if question.log else (means, own)
    first, last = (f"{end:.3g}" for end in (ends[0], ends[-1]))
    here, there = (_in_single(singles[i]) for i in (0, -1))
    levels = list(map(value_text, question.levels))
    ways = {True: "rises", False: "falls"}
    rises = bool(ends[-1] > ends[0])
    way = ways[rises] if rises == (claim.estimate > 0) else "goes"
    part = _nearly_all(means)
    where = f", nearly all of it from {levels[part[0]]} to {levels[part[1]]}" if part else ""
    return f"{way} from {first} at {factor.label} {levels[0]}{here} to {last} at {levels[-1]}{there}{where}"


def _in_single(means: Floats) -> str:
    """From where to where the combinations' own means go, if that is any way."""
    low, high = f"{means.min():.3g}", f"{means.max():.3g}"
    return "" if low == high else f" ({low} to {high} by combination)"


def _nearly_all(means: Floats) -> tuple[int, int] | None:
    """The fewest neighbouring steps that make nearly all of the change from the first level to the last; None if these
    are all steps, or if the change goes back and forth."""
    total = float(means[-1] - means[0])
    for length in range(1, len(means) - 1):
        shares = (means[length:] - means[:-length]) / total if total else np.zeros(0)
        fit = [i for i, share in enumerate(shares.tolist()) if _NEARLY_ALL <= share <= 2 - _NEARLY_ALL]
        if fit:
            best = min(fit, key=lambda i: abs(1 - shares[i]))
            return best, best + length
    return None


def mostly_steps(claim: Claim) -> str:
    """Where nearly all of a detected slope is one step between neighbouring levels."""
    question = claim.question
    if question.kind != SLOPE or claim.status != SHOWN or len(question.levels) < 3:
        return ""
    where: dict[int, list[str]] = {}
    for c, steps in enumerate(question.steps.T):
        total, largest = float(steps.sum()), int(np.argmax(np.abs(np.nan_to_num(steps))))
        if total * claim.estimate > 0 and float(steps[largest]) / total >= MOST_OF_IT:
            where.setdefault(largest, []).append(question.parts[c].where if question.parts else "")
    told = [
        f"from {value_text(question.levels[i])} to {value_text(question.levels[i + 1])}"
        + (f" at {places(names)}" if names[0] else "")
        for i, names in where.items()
    ]
    return f"Most of the change is a step rather than a slope: {'; '.join(told)}." if told else ""


def steps_against(claim: Claim) -> str:
    """Steps between neighbouring levels that go against a detected slope, those first whose intervals leave out 0: a
    slope is no monotone change. Nothing without any of those: a step of noise is no evidence of that."""
    question = claim.question
    if question.kind != SLOPE or claim.status != SHOWN:
        return ""
    where = [f" at {part.where}" for part in question.parts] or [""]
    steps = [(i, c, question.step(i, c)) for i, c in np.ndindex(question.steps.shape)]
    against = [one for one in steps if one[2].estimate * claim.estimate < 0]
    against.sort(key=lambda one: not sign(*one[2].interval(claim.level)))
    if not against or not sign(*against[0][2].interval(claim.level)):
        return ""
    uncorrected = f"not corrected for the {counted(len(steps), 'step')} looked at"
    told = [
        f"from {value_text(question.levels[i])} to {value_text(question.levels[i + 1])}{where[c]}, "
        + _changed(claim, step, "" if n else uncorrected)
        for n, (i, c, step) in enumerate(against)
    ]
    way, other = ("rise", "falls") if claim.estimate > 0 else ("fall", "rises")
    return f"The mean does not {way} at every step: it {other} {limited(told, 'steps')}. Described, not tested."


def _changed(claim: Claim, step: WeightedTest, first: str) -> str:
    """By how much, and whether its interval includes 0. first: what is said of all intervals, with the first one."""
    question, (low, high) = claim.question, step.interval(claim.level)
    by = f"by {amount(question, step.estimate, low, high).lstrip('+-')}"
    if not math.isfinite(low):
        return f"{by} in every seed"
    if first:
        level = percent(round(claim.level, 4))
        return f"{by} ({level} interval of the change {bracket(question, low, high)}, {first})"
    return f"{by} ({bracket(question, low, high)}{'' if sign(low, high) else ', includes 0'})"
