"""Every claim for a reader: the verdict in words, its estimates drawn, and what speaks against it. Computes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from aggregate.analysis.claims import NOT_SHOWN, SCALES_DISAGREE, SHOWN, UNTESTABLE, WITHHELD, Claim
from aggregate.analysis.fixed_analysis import Compared, Retention
from aggregate.analysis.questions import RETENTION, Question
from aggregate.analysis.reliability import beside, metrics_of_claim, not_normal
from aggregate.analysis.study import Study
from aggregate.answers.answer import as_a_step, verdict
from aggregate.answers.caveats import cell_lines, elsewhere, on_claims, on_metric, on_the_whole
from aggregate.answers.claim_numbers import by_chance, estimated, power, signs
from aggregate.answers.combinations import (
    apart,
    averaged_over,
    by_combination,
    direction,
    level_by_level,
    mostly_steps,
    signs_differ,
    steps_against,
)
from aggregate.answers.estimates import bracketed, limited, numbers, only_shares
from aggregate.answers.limits import as_it_was, barely, units
from aggregate.answers.sentences import factor_of, upper, within
from aggregate.described.chance import chance_line, leaving_lines
from aggregate.described.earlier import Earlier, earlier
from aggregate.described.trade_offs import trade_off_lines, trade_offs, unjudged, unjudged_lines
from aggregate.described.without import Without, without_seeds
from aggregate.figures.axes import versus_name
from aggregate.figures.canvas import RETENTION as RETENTION_FIGURE
from aggregate.report.claim_tables import Detail, epochs, levels
from aggregate.report.forest import Forest, forest
from aggregate.wording import value_text


@dataclass(frozen=True)
class ClaimFinding:
    """A claim and its verdict.

    claim: the sentence that answers. estimated: its number; may be empty. remarks: what else must be said of it.
    caveats: what to know of the runs it rests on. forest: its estimates, to be drawn; None without any. figures: those
    that show it, by name below plots/, the most telling first. details: tables for who wants to know more.
    """

    status: str
    verdict: str
    claim: str
    estimated: str
    remarks: list[str]
    caveats: list[str]
    forest: Forest | None
    figures: list[str]
    details: list[Detail]


def found(study: Study) -> Iterator[ClaimFinding]:
    """Every confirmatory claim; the declared hypothesis first, then what was detected."""
    order = {SHOWN: 0, WITHHELD: 1, NOT_SHOWN: 2, UNTESTABLE: 3}
    told = set[str]()
    family = study.evidence.claims.family
    for claim in sorted(family, key=lambda claim: (claim.question.kind != RETENTION, order[claim.status])):
        before = earlier(study, claim)
        said, estimate, *remarks = _told(study, claim, before)
        caveats = caveats_of(study, claim)
        # What stands in full beside a claim above is told by its first sentence: this box may be all that is read.
        new = [f"{line.partition('. ')[0]} (see above)" if line in told else line for line in caveats]
        told.update(caveats)
        yield ClaimFinding(
            claim.status,
            verdict(claim),
            said,
            estimate,
            list(filter(None, remarks)),
            new,
            forest(claim, not_normal(study.summary, study.flags, claim)),
            _figures(study, claim),
            _details(study, claim, before),
        )


def caveats_of(study: Study, claim: Claim) -> list[str]:
    """What to know of the runs that a claim rests on; nothing where nothing is claimed."""
    if not claim.estimated:
        return []
    names = metrics_of_claim(claim)
    entries = [entry for entry in study.summary.metrics if entry.metric.name in names]
    used = claim.question.conditions
    lines = [line for entry in entries for line in on_metric(study.summary, entry, used)]
    chance = [chance_line(study.summary, entry, used) for entry in entries]
    chance += [line for entry in entries for line in leaving_lines(study.summary, study.histories, entry, used)]
    traded = []
    if claim.question.retained is not None:
        traded = trade_off_lines(study.summary, trade_offs(study), used)
        traded += unjudged_lines(study.summary, unjudged(study))
    doubtful = [*beside(study.summary, study.flags, claim), *_without_seeds(study, claim)]
    return [*lines, *filter(None, chance), *doubtful, *traded]


def _without_seeds(study: Study, claim: Claim) -> list[str]:
    """What the estimate would be without each seed that lies apart somewhere: whether one of them decides it."""
    told = [f"without seed {one.seed} {_estimates_without(claim, one)}" for one in without_seeds(study, claim)]
    return [f"{claim.question.metric.label}: {limited(told, 'seeds')} (described; nothing is removed)"] if told else []


def _estimates_without(claim: Claim, other: Without) -> str:
    question, nats, own = claim.question, claim.in_nats, other.in_nats
    told = f"the estimate would be {bracketed(question, other.test.estimate, other.low, other.high)} instead of "
    told += numbers(question, claim.estimate, claim.low, claim.high)
    if nats is None or own is None:
        return told
    now = numbers(question, nats.estimate, nats.low, nats.high)
    return f"{told}, in nats {numbers(question, own.estimate, own.low, own.high)} instead of {now}"


def told_by_claims(study: Study) -> dict[str, set[int]]:
    """By metric, the conditions of which the claims' caveats are told."""
    told: dict[str, set[int]] = {}
    for claim in study.evidence.claims.family:
        if claim.estimated:
            for name in metrics_of_claim(claim):
                told.setdefault(name, set()).update(claim.question.conditions)
    return told


def problems(study: Study) -> list[str]:
    """All that a user should be told of a sweep, one line each, as a terminal shows it: cells by their names."""
    of_claims = (line for claim in study.evidence.claims.family for line in caveats_of(study, claim))
    return [
        *cell_lines(study.gathered, str),
        *on_claims(study, str),
        *dict.fromkeys(of_claims),
        *elsewhere(study, told_by_claims(study)),
        *on_the_whole(study, str),
    ]


def _figures(study: Study, claim: Claim) -> list[str]:
    question = claim.question
    metrics = {entry.metric.name: entry.metric for entry in study.summary.metrics}
    factor = factor_of(study, question)
    shown = [versus_name(metrics[name], factor) for name in metrics_of_claim(claim) if name in metrics]
    return [RETENTION_FIGURE, *shown] if question.retained is not None else shown


def _told(study: Study, claim: Claim, before: tuple[Earlier, ...]) -> list[str]:
    """One claim in words and numbers: the verdict, the estimate, then what else must be said of it."""
    subject = _subject(study, claim.question)
    if claim.status == UNTESTABLE:
        return [f"{subject}: cannot be tested, because {claim.reason}.", ""]
    estimate = estimated(claim)
    if claim.status == WITHHELD:
        return [_withheld(study, claim), estimate, *_where(study, claim, before), _besides(claim)]
    rest = [by_chance(study, claim), *_where(study, claim, before), mostly_steps(claim), steps_against(claim)]
    rest += [signs(claim), power(claim)]
    return [_answer(study, claim), estimate, *rest, f"{upper(claim.reason)}." if claim.reason else ""]


def _where(study: Study, claim: Claim, before: tuple[Earlier, ...]) -> list[str]:
    """Which way it goes where, and for how long of the training it has."""
    return [
        by_combination(study, claim),
        apart(claim),
        level_by_level(claim, factor_of(study, claim.question)),
        _then(claim, before),
    ]


def _then(claim: Claim, before: tuple[Earlier, ...]) -> str:
    """What the last epochs before the end would have said, if it is not what the claim says, and the numbers of the
    last of them."""
    told = as_it_was(claim, before, brief=False)
    return f"{upper(told)}." if told else ""


def _details(study: Study, claim: Claim, before: tuple[Earlier, ...]) -> list[Detail]:
    return [*levels(claim, factor_of(study, claim.question)), *epochs(claim, before)]


# --- the verdict ----------------------------------------------------------------------------------------------------


def _withheld(study: Study, claim: Claim) -> str:
    """Why there is no verdict. Where the two units decide that, what each of them says: the reason is about the
    average, and in no combination need the unit matter."""
    subject, over = _subject(study, claim.question), averaged_over(claim)
    subject += f", {over}" if over else ""
    if not claim.scales_disagree:
        return f"{subject}: no verdict, because {claim.reason}."
    told = [
        f"in {unit}, {way.replace(' is in favour', ' is barely in favour') if seeds else way}"
        for (unit, way, _), seeds in zip(units(claim), barely(study, claim), strict=True)
    ]
    return f"{subject}: {'; '.join(told)}."


def _besides(claim: Claim) -> str:
    """What else must be said of a claim whose two answers stand in its first sentence."""
    if not claim.scales_disagree:
        return ""
    rest = claim.reason.removeprefix(SCALES_DISAGREE).removeprefix("; ")
    return f"{upper(rest)}." if rest else ""


def _answer(study: Study, claim: Claim) -> str:
    """The verdict, which is about the average over the combinations of the other factors."""
    over, differ = averaged_over(claim), signs_differ(claim)
    alone = f"at {claim.question.alone}" if claim.question.alone else ""
    if claim.status == SHOWN:
        finding = f"{_finding(study, claim)}{within(study)}{as_a_step(study, claim)}{only_shares(claim.question)}"
        return f"{upper(over)}: {finding}." if over else f"{upper(finding)}."
    subject = _subject(study, claim.question) + (f" {alone}" if alone else "")
    answer = f"no difference detected {over}" if differ else "not detected"
    return f"{subject}: {answer}{only_shares(claim.question)}."


def _subject(study: Study, question: Question) -> str:
    """What a claim is about where it answers nothing, and how long the runs trained."""
    factor, test = factor_of(study, question), question.test
    if isinstance(test, Retention):
        subject = upper(test.name) if test.name else "The hypothesis"
    elif isinstance(test, Compared):
        subject = f"{upper(question.metric.label)}, {factor.label} {' against '.join(map(value_text, test.levels))}"
    else:
        subject = f"{upper(question.metric.label)} and {factor.label}"
    return f"{subject}{within(study)}"


def _finding(study: Study, claim: Claim) -> str:
    question, rises = claim.question, claim.estimate > 0
    factor = factor_of(study, question)
    if isinstance(question.test, Retention):
        kept, other = question.sides
        if signs_differ(claim):
            return direction(question, rises)
        answer, more, less = ("yes,", kept, other) if rises else ("no, the reverse:", other, kept)
        return f"{answer} a larger share of {more} is retained than of {less}"
    if isinstance(question.test, Compared):
        a, b = map(value_text, question.test.levels)
        better = question.metric.better
        verb = "has more" if rises else "has less"
        if better:
            verb = "does better than" if rises == (better == "higher") else "does worse than"
            return f"{factor.label} {a} {verb} {b} in {question.metric.label}"
        return f"{factor.label} {a} {verb} {question.metric.label} than {b}"
    return f"{question.metric.label} {'rises' if rises else 'falls'} with {factor.label}"
