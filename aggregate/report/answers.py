"""The answer to every question in a line or two, for a reader who reads no further. Computes nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace

from aggregate.analysis.claims import NOT_SHOWN, SHOWN, UNTESTABLE, WITHHELD, Claim, sign
from aggregate.analysis.questions import SLOPE, Question
from aggregate.analysis.study import Study
from aggregate.described.chance import above_chance
from aggregate.described.earlier import Earlier, earlier, named, signs_now, unsettled, verdict_then
from aggregate.described.levels import by_level, reversed_at
from aggregate.described.without import Without, without_seeds
from aggregate.report.caveats import still_learning
from aggregate.report.combinations import MOST_OF_IT, course, direction, known_pieces, signs_differ
from aggregate.report.estimates import bare_size, numbers, only_shares, places, with_level
from aggregate.report.sentences import factor_of, in_words, upper
from aggregate.wording import listed, value_text

_VERDICTS = {SHOWN: "Detected", NOT_SHOWN: "Not detected", WITHHELD: "No verdict", UNTESTABLE: "Cannot be tested"}
_SHARES, _NATS = "shares", "nats"
_MOST_SEEDS = 2  # of which it is said in the first lines what would be found without them
_MOST_GROUPS = 2  # of combinations, named in the first lines
_COUNTED = {_SHARES: "counted as a share of the error of guessing", _NATS: "counted in nats (logarithmic)"}


@dataclass(frozen=True)
class Answer:
    """question: as it was asked. verdict: what was found. limits: what a reader of the verdict alone would miss; may be
    empty."""

    question: str
    verdict: str
    limits: str = ""


def answered(study: Study) -> list[Answer]:
    """Every question that was asked before the first job, in the order of its declaration; empty if none was."""
    family = study.evidence.claims.family
    told = {in_words(study, claim.question): (_in_one_line(study, claim), _limits(study, claim)) for claim in family}
    found = [Answer(question, *answer) for question, answer in told.items()]
    if found and still_learning(study.gathered):
        first = "Most runs had their best epoch last, so training had probably not converged."
        found[0] = Answer(found[0].question, found[0].verdict, " ".join(filter(None, (found[0].limits, first))))
    return found


def verdict(claim: Claim) -> str:
    told = _VERDICTS[claim.status]
    return told if claim.confirmatory else f"{told}, exploratory"


def two_answers(claim: Claim) -> list[tuple[str, str, str]]:
    """What shares say and what nats: the unit, what is found, and the estimate with its interval."""
    question, units = claim.question, ((_SHARES, claim), (_NATS, claim.in_nats))
    nothing = f"no {'change' if question.kind == SLOPE else 'difference'} is detected"
    return [
        (
            unit,
            direction(question, own.estimate > 0) if sign(own.low, own.high) else nothing,
            _estimated(question, own.estimate, own.low, own.high, own.level, ", uncorrected" if unit == _NATS else ""),
        )
        for unit, own in units
        if own is not None
    ]


def as_a_step(study: Study, claim: Claim) -> str:
    counts = above_chance(study.summary, claim)
    step = counts is not None and counts.left >= MOST_OF_IT
    return ", mostly as a step from guessing to having learnt" if step else ""


def detectable(claim: Claim) -> str:
    """What would have been detected, beside an estimate that was not."""
    if claim.detectable != claim.detectable:
        return ""
    return f"; detectable with 80 % power: {bare_size(claim.question, claim.detectable)}"


def _in_one_line(study: Study, claim: Claim) -> str:
    question, found = claim.question, verdict(claim)
    if claim.scales_disagree:
        told = [f"{_COUNTED[unit]}, {way}: {estimate}" for unit, way, estimate in two_answers(claim)]
        return f"{found}: the unit of information decides. {upper('; '.join(told))}."
    if claim.status in (WITHHELD, UNTESTABLE):
        return f"{found}: {claim.reason.partition('; ')[0]}."
    more = detectable(claim) if claim.status == NOT_SHOWN else ""
    estimate = _estimated(question, claim.estimate, claim.low, claim.high, claim.level, more) + only_shares(question)
    if question.kind == SLOPE:
        went = f"{course(claim, factor_of(study, question))}{as_a_step(study, claim)}; slope "
        return f"{found}: {went if claim.status == SHOWN else ''}{estimate}."
    way = f"{direction(question, claim.estimate > 0)}, " if claim.status == SHOWN else ""
    return f"{found}: {way}{estimate}."


def _estimated(question: Question, estimate: float, low: float, high: float, level: float, more: str = "") -> str:
    per = f" per {question.unit}" if question.kind == SLOPE else ""
    return with_level(question, estimate, low, high, level, per, more)


def _limits(study: Study, claim: Claim) -> str:
    """What the verdict leaves out or averages over, in short sentences; each stands in full beside the claim."""
    if not claim.estimated:
        return ""
    told = [_opposite(study, claim), _left_out(claim), _one_seed(study, claim), _not_settled(study, claim)]
    return " ".join(f"{upper(sentence)}." for sentence in told if sentence)


def _opposite(study: Study, claim: Claim) -> str:
    """Between which combinations the estimates differ in sign, or between which levels, and within which combination:
    in another one, they need not."""
    told = [f"between {places([piece.where for piece in known_pieces(claim)])}"] if signs_differ(claim) else []
    told += _opposite_levels(claim, factor_of(study, claim.question).label)
    if not told:
        return ""
    separate = " and, " if any(one.startswith(("at ", "within ")) for one in told[1:]) else " and "
    return f"this is an average: estimates differ in sign {separate.join(told)}"


def _opposite_levels(claim: Claim, label: str) -> list[str]:
    groups: dict[str, list[str]] = {}
    found = reversed_at(by_level(claim))
    for where, ends in found.items():
        levels = {level for end in ends for level in end}
        ordered = [value_text(level) for level in claim.question.levels if level in levels]
        groups.setdefault(f"between {label} {listed(ordered)}", []).append(where)
    if len(groups) > _MOST_GROUPS:
        return [f"within {len(found)} combinations, between levels of {label}"]
    return [f"at {places(where)}, {between}" if where[0] else between for between, where in groups.items()]


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


def _not_settled(study: Study, claim: Claim) -> str:
    """Which of the two units would have said something else before the end, and whether the verdict hangs on that."""
    alike = unsettled(claim, earlier(study, claim))
    now = as_it_was(claim, alike[-1]) if alike else None
    if now is None:
        return ""
    pairs = zip(two_answers(now), signs_now(now), signs_now(claim), strict=False)
    told = [(unit, _found_then(claim.question, way, bool(then))) for (unit, way, _), then, end in pairs if then != end]
    said = "; ".join(f"in {unit}, {way}" if claim.in_nats else way for unit, way in told)
    return (
        f"read after {named(alike)} instead of at the end, the same runs say otherwise: {said}"
        f"{would_be(claim, alike[-1])}"
    )


def _found_then(question: Question, way: str, certain: bool) -> str:
    way = f"the slope is {way}" if certain and question.kind == SLOPE else way
    return f"{way} (the interval leaves out 0)" if certain else way


def as_it_was(claim: Claim, at: Earlier) -> Claim | None:
    """The claim with what its test found after fewer epochs; its verdict is none of it."""
    return None if at.test is None else replace(claim, test=at.test, in_nats=at.of_nats(claim))


def would_be(claim: Claim, at: Earlier) -> str:
    """Whether the verdict would be another; empty where that is unknown."""
    then = verdict_then(claim, at)
    if then is None:
        return ""
    told = _VERDICTS[then].lower()
    if then != claim.status:
        return f"; that would be: {told}"
    return f"; that would be: {told}, the other way" if then == SHOWN else f"; still {told}"
