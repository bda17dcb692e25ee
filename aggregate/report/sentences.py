"""What was asked, what was found and how sure that is, in sentences. Reads claims; computes nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from aggregate.analysis.claims import NOT_SHOWN, SHOWN, UNTESTABLE, WITHHELD, Claim, Piece
from aggregate.analysis.fixed import Compared, Retention
from aggregate.analysis.questions import COMPARISON, RETENTION, SLOPE, Question
from aggregate.analysis.reliability import beside
from aggregate.analysis.study import Study
from aggregate.reading.declared import Factor
from aggregate.report.estimates import amount, bracket, limited, per, places, sides, size
from aggregate.wording import counted, listed, p_equals, percent, value_text
from hpc.sweep.cell import FactorValue

EXTREME_DZ = 5.0  # beyond it, the difference dwarfs what seeds vary by, whatever its own size


def asked(study: Study) -> str:
    """The question of the sweep as questions."""
    summary = study.summary
    family = study.evidence.claims.family
    questions = list(dict.fromkeys(_asked(study, claim.question) for claim in family))
    if not questions:
        names = listed([m.label for m in summary.primary] or [e.metric.label for e in summary.primary_metrics()])
        does = "do" if " and " in names else "does"
        over = listed([factor.label for factor in summary.factors])
        questions = [f"How {does} {names or 'the metrics'} depend on {over}?"]
    grid = listed([f"{f.label} {', '.join(map(value_text, f.values))}" for f in summary.factors])
    seeds = counted(len(summary.seeds), "seed")
    each = f"{seeds} in each" if len(summary.conditions) > 1 else seeds
    return f"{' '.join(questions)} Tried: {grid}; {counted(len(summary.conditions), 'condition')}, {each}."


def _asked(study: Study, question: Question) -> str:
    factor, test = _factor(study, question), question.test
    if isinstance(test, Retention):
        name = f"{_upper(test.name)}: as" if test.name else "As"
        kept, other = sides(question)
        return f"{name} {factor.label} narrows, is more left of {kept} than of {other}?"
    if isinstance(test, Compared):
        a, b = map(value_text, test.levels)
        return f"Does {factor.label} {a} differ from {b} in {question.metric.label}?"
    return f"Does {question.metric.label} change with {factor.label}?"


def information(study: Study) -> str:
    """What a retention counts: the unit, defined before it is used; empty without one."""
    retained = study.evidence.claims.retained
    if retained is None:
        return ""
    kept, other = retained.kept, retained.other
    formulas = f"{kept.formula} for {kept.name} and {other.formula} for {other.name}"
    ranges = listed([f"{low:.2f} to {high:.2f} for {name}" for name, low, high in retained.ranges])
    return (
        f"What is left is counted in information, {formulas}: 0 for guessing, 1 for no error, below 0 if worse than "
        f"guessing. Each is taken as a share of the same seed's at {retained.widest}, where it is {ranges}, over all "
        "runs; shares of the two are compared, not amounts."
    )


@dataclass(frozen=True)
class Finding:
    """A claim and its verdict, where it holds, and what speaks against it."""

    status: str
    claim: str
    remarks: str
    caveats: list[str]


def found(study: Study) -> Iterator[Finding]:
    """Every confirmatory claim; the declared hypothesis first, then what was detected."""
    order = {SHOWN: 0, WITHHELD: 1, NOT_SHOWN: 2, UNTESTABLE: 3}
    family = study.evidence.claims.family
    for claim in sorted(family, key=lambda claim: (claim.question.kind != RETENTION, order[claim.status])):
        said, *remarks = _told(study, claim)
        caveats = beside(study.summary, study.flags, claim) if claim.status in (SHOWN, NOT_SHOWN) else []
        stamp = "" if claim.confirmatory else "Exploratory. "
        yield Finding(claim.status, stamp + said, " ".join(filter(None, remarks)), caveats)


def _told(study: Study, claim: Claim) -> list[str]:
    """One claim in words and numbers: the verdict, then what else must be said of it."""
    subject = _subject(study, claim.question)
    if claim.status == UNTESTABLE:
        return [f"{subject}: cannot be tested, because {claim.reason}."]
    if claim.status == WITHHELD:
        return [f"{subject}: no verdict, because {claim.reason}.", *_pieces(study, claim)]
    average = _average(study, claim)
    rest = [_against(claim), f"{_upper(claim.reason)}." if claim.reason else ""]
    if _signs_lead(claim):
        return [f"{subject}{_signs(study, claim)}", f"{average}{_power(claim)}", _level(claim), *rest]
    return [average, _power(claim).strip(), *_pieces(study, claim), *rest]


def _average(study: Study, claim: Claim) -> str:
    """The verdict, which is about the average over the combinations of the other factors."""
    over = ""
    if _signs_lead(claim):
        over = f"On average over {places([piece.where for piece in _known(claim)])}, "
    if claim.status == SHOWN:
        return f"{over}{_finding(study, claim)}: {_numbers(claim)}."
    none = f"{over}no effect is" if over else f"{_subject(study, claim.question)}: not"
    return f"{none} detected. Estimated: {_numbers(claim)}."


def _power(claim: Claim) -> str:
    if claim.status != NOT_SHOWN or not math.isfinite(claim.detectable):
        return ""
    return (
        f" With the spread seen in these seeds, a true effect of about {size(claim, claim.detectable)} "
        "would have been detected with 80 % power."
    )


def sure(study: Study) -> str:
    """How many tests were made and corrected how, and what the numbers rest on."""
    claims, summary = study.evidence.claims, study.summary
    cells = f"{int(summary.completed.sum()):,} of {summary.states.size:,} cells completed."
    if not claims.family:
        return f"No test was declared before the first job; everything below is exploratory. {cells}"
    tests, looks = len(claims.family), claims.looks
    detected = sum(claim.status == SHOWN for claim in claims.family)
    if not looks.as_planned:
        planned = "none was planned" if looks.planned == 1 else f"{looks.planned} were planned"
        hold = (
            f"The sweep grew after its results could be seen ({looks.taken} looks; {planned}): no test counts as fixed "
            f"before the first job any more, and all are exploratory ({detected} of {tests} would be detected)"
        )
    elif tests == 1:
        hold = f"The one effect declared before the first job was {'' if detected else 'not '}detected"
    else:
        was = "was" if detected == 1 else "were"
        hold = f"{detected} of {tests} effects declared before the first job {was} detected"
    share = (
        f", shared by {looks.planned} planned looks, of which this is number {looks.taken}" if looks.planned > 1 else ""
    )
    error = (
        f"Where nothing has an effect, these tests detect one in at most {percent(claims.alpha)} of sweeps{share} "
        "(Holm's correction), as far as seeds vary normally; p values are corrected, and brackets are intervals at the "
        "level that decided"
    )
    scope = (
        "The seeds stand for what a trainer draws from its seed; the conclusions are about these levels and this data"
    )
    return f"{hold}. {error}. {scope}. {_pairing(study)}{cells}"


def _pairing(study: Study) -> str:
    """What pairing by seed was worth, for the metric of the first page."""
    first = study.summary.primary_metrics()[:1]
    pairing = next((p for p in study.evidence.pairings if first and p.metric.name == first[0].metric.name), None)
    if pairing is None or not math.isfinite(pairing.ratio) or not math.isfinite(pairing.correlation):
        return ""
    worth = "narrower" if pairing.ratio < 1 else "wider"
    change = percent(round(abs(1 - pairing.ratio), 2))
    return (
        f"Conditions are compared within seeds: runs of one seed correlate by {pairing.correlation:.2f} between "
        f"conditions in {pairing.metric.label}. With the degrees of freedom that pairing costs, the "
        f"interval of a difference of two conditions is {change} {worth} on average than for independent runs; for a "
        "slope or a retention it may be otherwise. "
    )


# --- the verdict ----------------------------------------------------------------------------------------------------


def _subject(study: Study, question: Question) -> str:
    factor, test = _factor(study, question), question.test
    if isinstance(test, Retention):
        return _upper(test.name) if test.name else "The hypothesis"
    if isinstance(test, Compared):
        return f"{_upper(question.metric.label)}, {factor.label} {' against '.join(map(value_text, test.levels))}"
    return f"{_upper(question.metric.label)} and {factor.label}"


def _finding(study: Study, claim: Claim) -> str:
    question, rises = claim.question, claim.estimate > 0
    factor = _factor(study, question)
    if isinstance(question.test, Retention):
        kept, other = sides(question)
        if _signs_lead(claim):
            return f"more is left of {kept if rises else other}"
        answer, more, less = ("Yes", kept, other) if rises else ("No, the reverse", other, kept)
        return f"{answer}{',' if rises else ':'} more is left of {more} than of {less}"
    if isinstance(question.test, Compared):
        a, b = map(value_text, question.test.levels)
        better = question.metric.better
        verb = "has more" if rises else "has less"
        if better:
            verb = "does better than" if rises == (better == "higher") else "does worse than"
            return f"{factor.label} {a} {verb} {b} in {question.metric.label}"
        return f"{factor.label} {a} {verb} {question.metric.label} than {b}"
    label = question.metric.label if _signs_lead(claim) else _upper(question.metric.label)
    return f"{label} has a {'positive' if rises else 'negative'} slope on {factor.label}"


def _others(study: Study, claim: Claim) -> str:
    return listed([factor.label for factor in study.summary.factors if factor.name not in claim.question.factors])


def _numbers(claim: Claim) -> str:
    question = claim.question
    parts = [f"{percent(round(claim.level, 4))} interval", p_equals(claim.adjusted)]
    if question.kind == COMPARISON and math.isfinite(claim.dz):
        parts.append(f"d_z {claim.dz:.2f}, the mean difference over its standard deviation{_extreme(claim.dz)}")
    seeds = counted(claim.test.seeds, "seed")
    parts.append(seeds if claim.test.seeds == claim.planned else f"{claim.test.seeds} of {claim.planned} seeds")
    interval = bracket(question, claim.low, claim.high)
    text = f"{amount(question, claim.estimate)}{per(question)} {interval} ({', '.join(parts)})"
    if question.retained is not None:
        kept, other = (percent(round(share, 2)) for share in question.retained.left)
        narrower = listed([value_text(level) for level in question.levels[:-1]])
        left = f"of the information at {question.retained.widest}, averaged over {narrower}"
        a, b = sides(question)
        text = f"{kept} of {a} and {other} of {b} is left {left}, a difference of {text}"
    improvement, low, high = claim.improvement
    if question.kind == COMPARISON and math.isfinite(improvement) and isinstance(question.test, Compared):
        a, b = map(value_text, question.test.levels)
        text += f"; a run of {a} does better than one of {b} with probability {improvement:.2f} [{low:.2f}, {high:.2f}]"
    return text


def _extreme(dz: float) -> str:
    """What a reader may take for a huge effect."""
    return "; so large because seeds hardly vary" if abs(dz) > EXTREME_DZ else ""


# --- by combination of the other factors ----------------------------------------------------------------------------


def _known(claim: Claim) -> list[Piece]:
    return [piece for piece in claim.pieces if not piece.why and math.isfinite(piece.estimate)]


def _signs_lead(claim: Claim) -> bool:
    """Whether the average would mislead: combinations differ in sign. For slopes and comparisons, an opposite sign
    beside an average of nothing is what chance gives, unless both signs are certain."""
    pieces = _known(claim)
    if len({piece.estimate > 0 for piece in pieces}) < 2 or claim.status not in (SHOWN, NOT_SHOWN):
        return False
    return claim.question.kind == RETENTION or claim.status == SHOWN or {1, -1} <= {piece.sign for piece in pieces}


def _signs(study: Study, claim: Claim) -> str:
    certain = {1, -1} <= {piece.sign for piece in claim.pieces}
    start = " depends on" if certain else ", by"
    told = [
        f"at {piece.where} {_direction(claim, piece)}{'' if piece.sign else ', an interval that includes 0'}"
        for piece in _known(claim)
    ]
    return f"{start} {_others(study, claim)}: {limited(told)}{_silent(claim)}."


def _direction(claim: Claim, piece: Piece) -> str:
    question = claim.question
    numbers = f"{amount(question, piece.estimate)} {bracket(question, piece.low, piece.high)}"
    if question.kind != RETENTION:
        return numbers
    kept, other = sides(question)
    return f"more is left of {kept if piece.estimate > 0 else other}, {numbers}"


def _pieces(study: Study, claim: Claim) -> list[str]:
    """The estimate in each combination. A description: verdicts are about the average."""
    told = [f"at {piece.where} {_direction(claim, piece)}" for piece in _known(claim)]
    if not told or (claim.status == NOT_SHOWN and claim.question.kind != RETENTION):
        return []
    return [f"By {_others(study, claim)}: {limited(told)}{_silent(claim)}.", _level(claim)]


def _level(claim: Claim) -> str:
    level = percent(round(1 - (1 - claim.level) / max(len(_known(claim)), 1), 4))
    return f"(Intervals of single combinations are at {level} and describe; the verdict is about the average.)"


def _silent(claim: Claim) -> str:
    """Combinations of which nothing is said, with the reason."""
    text = ""
    for why in dict.fromkeys(piece.why for piece in claim.pieces if piece.why):
        names = [piece.where for piece in claim.pieces if piece.why == why]
        text += f"; {places(names)} {'is' if len(names) == 1 else 'are'} withheld, because {why}"
    return text


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


def _factor(study: Study, question: Question) -> Factor:
    name = question.factors[0]
    unknown: tuple[FactorValue, ...] = ()
    return next(
        (factor for factor in study.summary.factors if factor.name == name),
        Factor(name, name, name, name, unknown, log=False, ordered=False),
    )


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
