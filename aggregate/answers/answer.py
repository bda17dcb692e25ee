"""The answer to every question in a line or two, for a reader who reads no further. Computes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from aggregate.analysis.claims import NOT_SHOWN, SHOWN, UNTESTABLE, WITHHELD, Claim
from aggregate.analysis.questions import RETENTION, SLOPE, Question
from aggregate.analysis.study import Study
from aggregate.answers.combinations import MOST_OF_IT, averaged_over, course, direction, known_pieces
from aggregate.answers.estimates import bare_size, between, only_shares, with_level
from aggregate.answers.limits import limits, units
from aggregate.answers.sentences import factor_of, in_words, read_from
from aggregate.described.chance import above_chance
from aggregate.wording import listed, value_text
from hpc.units import counted

_VERDICTS = {SHOWN: "Detected", NOT_SHOWN: "Not detected", WITHHELD: "No verdict", UNTESTABLE: "Cannot be tested"}
_COUNTED = {"shares": "counted as a share of the error of guessing", "nats": "counted in nats (logarithmic)"}


@dataclass(frozen=True)
class Answer:
    """question: as it was asked. verdict: what was found. limits: what a reader of the verdict alone would miss, the
    weightiest first. names: what those in the question are names of. Both may be empty."""

    question: str
    verdict: str
    limits: tuple[str, ...] = ()
    names: str = ""


def answered(study: Study) -> list[Answer]:
    """Every question that was asked before the first job, in the order of its declaration; empty if none was."""
    family = study.evidence.claims.family
    told = {in_words(study, claim.question): claim for claim in family}
    return [
        Answer(asked, _in_one_line(study, claim), limits(study, claim), read_from(study, claim.question))
        for asked, claim in told.items()
    ]


def verdict(claim: Claim) -> str:
    told = _VERDICTS[claim.status]
    return told if claim.confirmatory else f"{told}, exploratory"


def as_a_step(study: Study, claim: Claim) -> str:
    counts = above_chance(study.summary, claim)
    step = counts is not None and counts.left >= MOST_OF_IT
    return ", mostly as a step from guessing to having learnt" if step else ""


def detectable(claim: Claim) -> str:
    """What would have been detected, beside an estimate that was not."""
    if claim.detectable != claim.detectable:
        return ""
    question, (low, high) = claim.question, claim.detectable_between
    size, seeds = bare_size(question, claim.detectable), counted(claim.test.seeds, "seed")
    return f"; detectable with 80 % power: roughly {size}, with {seeds} anything from {between(question, low, high)}"


def _in_one_line(study: Study, claim: Claim) -> str:
    question, found = claim.question, verdict(claim)
    if claim.scales_disagree:
        told = listed([f"{estimate} {_COUNTED[unit]}" for unit, _, estimate in units(claim)])
        return f"{found}: the unit of information decides. {_difference(claim)}{told}."
    if claim.status in (WITHHELD, UNTESTABLE):
        return f"{found}: {claim.reason.partition('; ')[0]}."
    more = detectable(claim) if claim.status == NOT_SHOWN else ""
    estimate = _estimated(question, claim.estimate, claim.low, claim.high, claim.level, more) + only_shares(question)
    if question.kind == SLOPE:
        over = f"{averaged_over(claim)}, " if len(known_pieces(claim)) > 1 else ""
        went = f"{over}{course(claim, factor_of(study, question))}{as_a_step(study, claim)}; slope "
        return f"{found}: {went if claim.status == SHOWN else ''}{estimate}."
    way = direction(question, claim.estimate > 0) if claim.status == SHOWN else ""
    if question.kind == RETENTION:
        return f"{found}{f': {way}' if way else ''}. {_difference(claim)}{estimate}."
    return f"{found}: {f'{way}, ' if way else ''}{estimate}."


def _difference(claim: Claim) -> str:
    """What the number of a retention is: of which levels, and of what minus what."""
    question, retained = claim.question, claim.question.retained
    if retained is None:
        return ""
    narrower = listed(list(map(value_text, question.levels[:-1])))
    head = "Averaged over" if len(question.values) > 1 else "At"
    kept, other = question.sides
    return f"{head} {retained.factor.label} {narrower}, the shares retained ({kept} minus {other}) differ by "


def _estimated(question: Question, estimate: float, low: float, high: float, level: float, more: str = "") -> str:
    per = f" per {question.unit}" if question.kind == SLOPE else ""
    return with_level(question, estimate, low, high, level, per, more)
