"""Every claim for a reader: the verdict in words, its estimates drawn, and what speaks against it. Computes nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from aggregate.analysis.claims import NOT_SHOWN, SHOWN, UNTESTABLE, WITHHELD, Claim, Piece
from aggregate.analysis.fixed import Compared, Retention
from aggregate.analysis.questions import COMPARISON, RETENTION, SLOPE, Question
from aggregate.analysis.reliability import beside, chance_line, metrics_of_claim
from aggregate.analysis.study import Study
from aggregate.figures.axes import versus_name
from aggregate.figures.canvas import RETENTION as RETENTION_FIGURE
from aggregate.report.caveats import cell_lines, elsewhere, on_claims, on_metric, on_the_whole
from aggregate.report.estimates import amount, between, bracket, limited, per, places, size
from aggregate.report.forest import Forest, forest
from aggregate.report.sentences import factor_of, upper
from aggregate.wording import counted, listed, p_equals, percent, value_text

EXTREME_DZ = 5.0  # beyond it, the difference dwarfs what seeds vary by, whatever its own size
_MOST_OF_IT = 0.75  # of a change: then it is a step rather than a slope
_VERDICTS = {SHOWN: "Detected", NOT_SHOWN: "Not detected", WITHHELD: "No verdict", UNTESTABLE: "Cannot be tested"}


@dataclass(frozen=True)
class ClaimFinding:
    """A claim and its verdict.

    claim: the sentence that answers. estimated: its number; may be empty. remarks: what else must be said of it.
    caveats: what to know of the runs it rests on. forest: its estimates, to be drawn; None without any. figures: those
    that show it, by name below plots/, the most telling first.
    """

    status: str
    verdict: str
    claim: str
    estimated: str
    remarks: str
    caveats: list[str]
    forest: Forest | None
    figures: list[str]


def found(study: Study) -> Iterator[ClaimFinding]:
    """Every confirmatory claim; the declared hypothesis first, then what was detected."""
    order = {SHOWN: 0, WITHHELD: 1, NOT_SHOWN: 2, UNTESTABLE: 3}
    told = set[str]()
    family = study.evidence.claims.family
    for claim in sorted(family, key=lambda claim: (claim.question.kind != RETENTION, order[claim.status])):
        said, estimated, *remarks = _told(study, claim)
        verdict, caveats = _VERDICTS[claim.status], caveats_of(study, claim)
        # What stands in full beside a claim above is told by its first sentence: this box may be all that is read.
        new = [f"{line.partition('. ')[0]} (see above)" if line in told else line for line in caveats]
        told.update(caveats)
        yield ClaimFinding(
            claim.status,
            verdict if claim.confirmatory else f"{verdict}, exploratory",
            said,
            estimated,
            " ".join(filter(None, remarks)),
            new,
            forest(claim),
            _figures(study, claim),
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
    return [*lines, *filter(None, chance), *beside(study.summary, study.flags, claim)]


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


def _told(study: Study, claim: Claim) -> list[str]:
    """One claim in words and numbers: the verdict, the estimate, then what else must be said of it."""
    subject = _subject(study, claim.question)
    if claim.status == UNTESTABLE:
        return [f"{subject}: cannot be tested, because {claim.reason}.", ""]
    estimated = f"Estimated: {_numbers(claim)}.{_in_nats(claim)}" if claim.estimated else ""
    if claim.status == WITHHELD:
        return [f"{subject}: no verdict, because {claim.reason}.", estimated, _pieces(study, claim)]
    rest = [_pieces(study, claim), _steps(claim), _against(claim), _signs(claim), _power(claim)]
    return [_answer(study, claim), estimated, *rest, f"{upper(claim.reason)}." if claim.reason else ""]


# --- the verdict ----------------------------------------------------------------------------------------------------


def _answer(study: Study, claim: Claim) -> str:
    """The verdict, which is about the average over the combinations of the other factors."""
    known, differ = _known(claim), _signs_differ(claim)
    over = f"on average over {places([piece.where for piece in known])}" if len(known) > 1 else ""
    over += ", where the estimates differ in sign" if differ else ""
    if claim.status == SHOWN:
        return f"{upper(over)}: {_finding(study, claim)}." if over else f"{upper(_finding(study, claim))}."
    subject = _subject(study, claim.question)
    return f"{subject}: no difference detected {over}." if differ else f"{subject}: not detected."


def _subject(study: Study, question: Question) -> str:
    factor, test = factor_of(study, question), question.test
    if isinstance(test, Retention):
        return upper(test.name) if test.name else "The hypothesis"
    if isinstance(test, Compared):
        return f"{upper(question.metric.label)}, {factor.label} {' against '.join(map(value_text, test.levels))}"
    return f"{upper(question.metric.label)} and {factor.label}"


def _finding(study: Study, claim: Claim) -> str:
    question, rises = claim.question, claim.estimate > 0
    factor = factor_of(study, question)
    if isinstance(question.test, Retention):
        kept, other = question.sides
        if _signs_differ(claim):
            return f"a larger share is retained of {kept if rises else other}"
        answer, more, less = ("yes,", kept, other) if rises else ("no, the reverse:", other, kept)
        return f"{answer} a larger share is retained of {more} than of {less}"
    if isinstance(question.test, Compared):
        a, b = map(value_text, question.test.levels)
        better = question.metric.better
        verb = "has more" if rises else "has less"
        if better:
            verb = "does better than" if rises == (better == "higher") else "does worse than"
            return f"{factor.label} {a} {verb} {b} in {question.metric.label}"
        return f"{factor.label} {a} {verb} {question.metric.label} than {b}"
    return f"{question.metric.label} has a {'positive' if rises else 'negative'} slope on {factor.label}"


def _numbers(claim: Claim) -> str:
    question = claim.question
    parts = [f"{percent(round(claim.level, 4))} interval", f"{p_equals(claim.adjusted)} after Holm's correction"]
    if question.kind == COMPARISON and math.isfinite(claim.dz):
        parts.append(f"d_z {claim.dz:.2f}, the mean difference over its standard deviation{_extreme(claim.dz)}")
    seeds = counted(claim.test.seeds, "seed")
    parts.append(seeds if claim.test.seeds == claim.planned else f"{claim.test.seeds} of {claim.planned} seeds")
    interval = bracket(question, claim.low, claim.high)
    text = f"{amount(question, claim.estimate)}{per(question)} {interval} ({', '.join(parts)})"
    if question.retained is not None:
        kept, other = (percent(round(share, 2)) for share in question.retained.shares)
        narrower = listed([value_text(level) for level in question.levels[:-1]])
        of = f"of the information at {question.retained.widest}, averaged over {narrower}"
        a, b = question.sides
        text = f"{kept} is retained for {a} and {other} for {b} {of}, a difference of {text}"
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
    interval = bracket(claim.question, nats.low, nats.high)
    return (
        f" With information counted in nats, the difference is {amount(claim.question, nats.estimate)} {interval} "
        f"({percent(round(nats.level, 4))} interval, {p_equals(nats.p)}, uncorrected)."
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
    single = [int((np.sign(piece.per_seed) == np.sign(claim.estimate)).sum()) for piece in _known(claim)]
    if len(single) < 2:
        return f"The sign is the same in {alike} of {len(own)} seeds."
    of = f"{min(single)} to {max(single)}" if min(single) < max(single) else f"{min(single)}"
    return f"The average has this sign in {alike} of {len(own)} seeds; a single combination has it in {of} of them."


def _power(claim: Claim) -> str:
    if claim.status != NOT_SHOWN or not math.isfinite(claim.detectable):
        return ""
    question, (low, high) = claim.question, claim.detectable_between
    return (
        f"This does not show that there is none: the data are compatible with all of "
        f"{bracket(question, claim.low, claim.high)}. "
        f"With the spread seen in these seeds, a true effect of about {size(question, claim.detectable)} would have "
        f"been detected with 80 % power; so few seeds know that only roughly ({between(question, low, high)})."
    )


# --- by combination of the other factors ----------------------------------------------------------------------------


def _known(claim: Claim) -> list[Piece]:
    return [piece for piece in claim.pieces if not piece.why and math.isfinite(piece.estimate)]


def _signs_differ(claim: Claim) -> bool:
    """Whether the average alone would mislead: combinations differ in sign. For slopes and comparisons, an opposite
    sign beside an average of nothing is what chance gives, unless both signs are certain."""
    pieces = _known(claim)
    if len({piece.estimate > 0 for piece in pieces}) < 2 or claim.status not in (SHOWN, NOT_SHOWN):
        return False
    return claim.question.kind == RETENTION or claim.status == SHOWN or {1, -1} <= {piece.sign for piece in pieces}


def _pieces(study: Study, claim: Claim) -> str:
    """Which way it goes in which combination. A description: verdicts are about the average, and nothing here says
    which interval includes 0, which would read as a test."""
    groups: dict[bool, list[str]] = {}
    for piece in _known(claim):
        groups.setdefault(piece.estimate > 0, []).append(piece.where)
    if claim.status == NOT_SHOWN and claim.question.kind != RETENTION and not _signs_differ(claim):
        groups = {}
    told = [f"{_way(claim.question, rises)} at {places(where)}" for rises, where in groups.items()]
    others = listed([factor.label for factor in study.summary.factors if factor.name not in claim.question.factors])
    untested = f"described after the fact (that {others} matters to it was not declared and is not tested)"
    by = f"By {others}, {untested}: {'; '.join(told)}." if told else ""
    return " ".join(filter(None, (by, _silent(claim))))


def _way(question: Question, rises: bool) -> str:
    if question.kind == RETENTION:
        kept, other = question.sides
        return f"a larger share is retained of {kept if rises else other}"
    if isinstance(question.test, Compared):
        return f"{value_text(question.test.levels[0])} is {'higher' if rises else 'lower'}"
    return f"{'positive' if rises else 'negative'}"


def _silent(claim: Claim) -> str:
    """Combinations of which nothing is said; the reason stands beside each where they are drawn."""
    names = [piece.where for piece in claim.pieces if piece.why]
    if not names:
        return ""
    rule = "by a rule that was fixed beforehand: both must be learnt at the widest level"
    return f"{upper(places(names))} {'is' if len(names) == 1 else 'are'} left out {rule}."


def _steps(claim: Claim) -> str:
    """Where nearly all of a detected slope is one step between neighbouring levels."""
    question = claim.question
    if question.kind != SLOPE or claim.status != SHOWN or len(question.levels) < 3:
        return ""
    where: dict[int, list[str]] = {}
    for c, steps in enumerate(question.steps.T):
        total, largest = float(steps.sum()), int(np.argmax(np.abs(np.nan_to_num(steps))))
        if total * claim.estimate > 0 and float(steps[largest]) / total >= _MOST_OF_IT:
            where.setdefault(largest, []).append(question.parts[c].where if question.parts else "")
    told = [
        f"from {value_text(question.levels[i])} to {value_text(question.levels[i + 1])}"
        + (f" at {places(names)}" if names[0] else "")
        for i, names in where.items()
    ]
    return f"Most of the change is a step rather than a slope: {'; '.join(told)}." if told else ""


def _against(claim: Claim) -> str:
    """Steps between neighbouring levels that do not go the way of a detected slope: a slope is no monotone change."""
    question = claim.question
    if question.kind != SLOPE or claim.status != SHOWN:
        return ""
    where = [f" at {part.where}" for part in question.parts] or [""]
    told = [
        f"from {value_text(question.levels[i])} to {value_text(question.levels[i + 1])}{where[c]} "
        f"({amount(question, float(question.steps[i, c]))})"
        for i, c in np.argwhere(question.steps * np.sign(claim.estimate) <= 0).tolist()
    ]
    way = "rise" if claim.estimate > 0 else "fall"
    return f"The mean does not {way} at every step: not {limited(told)}." if told else ""
