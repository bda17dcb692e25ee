"""Every claim for a reader: the verdict in words, its estimates drawn, and what speaks against it. Computes nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from aggregate.analysis.claims import NOT_SHOWN, SCALES_DISAGREE, SHOWN, UNTESTABLE, WITHHELD, Claim
from aggregate.analysis.fixed import Compared, Retention
from aggregate.analysis.questions import COMPARISON, RETENTION, SLOPE, Question
from aggregate.analysis.reliability import beside, metrics_of_claim, not_normal
from aggregate.analysis.study import Study
from aggregate.described.chance import above_chance, chance_line, leaving_lines, of_each
from aggregate.described.earlier import Earlier, earlier, named, unsettled
from aggregate.described.trade_offs import trade_off_lines, trade_offs
from aggregate.described.without import Without, without_seeds
from aggregate.figures.axes import versus_name
from aggregate.figures.canvas import RETENTION as RETENTION_FIGURE
from aggregate.report.answers import as_a_step, as_it_was, detectable, two_answers, verdict, would_be
from aggregate.report.caveats import cell_lines, elsewhere, on_claims, on_metric, on_the_whole
from aggregate.report.combinations import (
    MOST_OF_IT,
    apart,
    averaged_over,
    by_combination,
    direction,
    known_pieces,
    level_by_level,
    mostly_steps,
    signs_differ,
    steps_against,
)
from aggregate.report.estimates import (
    amount,
    between,
    bracket,
    bracketed,
    limited,
    numbers,
    only_shares,
    per,
    places,
    size,
)
from aggregate.report.forest import Forest, forest
from aggregate.report.sentences import factor_of, upper, within
from aggregate.report.tables import Detail, epochs, levels
from aggregate.stats.weighted import chance_of_narrower
from aggregate.wording import counted, listed, p_equals, percent, value_text

EXTREME_DZ = 5.0  # beyond it, the difference dwarfs what seeds vary by, whatever its own size


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
        said, estimated, *remarks = _told(study, claim, before)
        caveats = caveats_of(study, claim)
        # What stands in full beside a claim above is told by its first sentence: this box may be all that is read.
        new = [f"{line.partition('. ')[0]} (see above)" if line in told else line for line in caveats]
        told.update(caveats)
        yield ClaimFinding(
            claim.status,
            verdict(claim),
            said,
            estimated,
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
    traded = trade_off_lines(study.summary, trade_offs(study), used) if claim.question.retained is not None else []
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
    estimated = f"Estimated: {_numbers(claim)}.{_cancelling(claim)}{_in_nats(claim)}" if claim.estimated else ""
    if claim.status == WITHHELD:
        return [_withheld(study, claim), estimated, *_where(study, claim, before), _besides(claim)]
    rest = [
        _by_chance(study, claim),
        *_where(study, claim, before),
        mostly_steps(claim),
        steps_against(claim),
        _signs(claim),
    ]
    rest.append(_power(claim))
    return [_answer(study, claim), estimated, *rest, f"{upper(claim.reason)}." if claim.reason else ""]


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
    alike = unsettled(claim, before)
    now = as_it_was(claim, alike[-1]) if alike else None
    if now is None:
        return ""
    told = "; ".join(f"in {unit}, {way}: {estimate}" for unit, way, estimate in two_answers(now))
    told = told if now.in_nats else told.partition(", ")[2]
    of = f"; numbers of {alike[-1].after}" if len(alike) > 1 else ""
    return (
        f"Read after {named(alike)}, the same runs say otherwise (described, not tested{of}): "
        f"{told}{would_be(claim, alike[-1])}."
    )


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
    return f"{subject}: {'; '.join(f'in {unit}, {way}' for unit, way, _ in two_answers(claim))}."


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


def _signs(claim: Claim) -> str:
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


def _power(claim: Claim) -> str:
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


def _by_chance(study: Study, claim: Claim) -> str:
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
