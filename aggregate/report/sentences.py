"""What was asked, what was found and how sure that is, in sentences. Reads claims; computes nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator

from aggregate.analysis.claims import NOT_SHOWN, SHOWN, UNTESTABLE, WITHHELD, Claim, Piece
from aggregate.analysis.fixed import Compared, Retention
from aggregate.analysis.questions import COMPARISON, RETENTION, SLOPE, Question
from aggregate.analysis.reliability import beside
from aggregate.analysis.study import Study
from aggregate.reading.declared import Factor
from aggregate.wording import counted, listed, p_equals, percent, short, signed, value_text
from hpc.sweep.cell import FactorValue


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
        kept, other = _sides(question)
        return f"{name} {factor.label} narrows, is more left of {kept} than of {other}?"
    if isinstance(test, Compared):
        a, b = map(value_text, test.levels)
        return f"Does {factor.label} {a} differ from {b} in {question.metric.label}?"
    return f"Does {question.metric.label} change with {factor.label}?"


def found(study: Study) -> Iterator[tuple[str, str]]:
    """(status, sentence) of every confirmatory claim; the declared hypothesis first, then what was detected."""
    order = {SHOWN: 0, WITHHELD: 1, NOT_SHOWN: 2, UNTESTABLE: 3}
    family = study.evidence.claims.family
    for claim in sorted(family, key=lambda claim: (claim.question.kind != RETENTION, order[claim.status])):
        yield claim.status, sentence(study, claim)


def sentence(study: Study, claim: Claim) -> str:
    """One claim in words and numbers."""
    stamp = "" if claim.confirmatory else "Exploratory. "
    apart = beside(study.summary, study.flags, claim) if claim.status in (SHOWN, NOT_SHOWN) else ""
    return stamp + _sentence(study, claim) + (f" But {apart}." if apart else "")


def _sentence(study: Study, claim: Claim) -> str:
    subject = _subject(study, claim.question)
    if claim.status == UNTESTABLE:
        return f"{subject}: cannot be tested, because {claim.reason}."
    if claim.status == WITHHELD:
        return f"{subject}: no verdict, because {claim.reason}.{_pieces(study, claim)}"
    remark = f" {_upper(claim.reason)}." if claim.reason else ""
    if claim.status == SHOWN:
        return f"{_finding(study, claim)}: {_numbers(claim)}.{_pieces(study, claim)}{remark}"
    power = ""
    if math.isfinite(claim.detectable):
        power = (
            f" With the spread seen in these seeds, a true effect of about {_size(claim, claim.detectable)} "
            "would have been detected with 80 % power."
        )
    return f"{subject}: not detected. Estimated: {_numbers(claim)}.{power}{_pieces(study, claim)}{remark}"


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
        f"conditions in {pairing.metric.label}. With the degrees of freedom that pairing costs, intervals are {change} "
        f"{worth} than for independent runs. "
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
        return _kept(study, claim)
    if isinstance(question.test, Compared):
        a, b = map(value_text, question.test.levels)
        better = question.metric.better
        verb = "has more" if rises else "has less"
        if better:
            verb = "does better than" if rises == (better == "higher") else "does worse than"
            return f"{factor.label} {a} {verb} {b} in {question.metric.label}"
        return f"{factor.label} {a} {verb} {question.metric.label} than {b}"
    return f"{_upper(question.metric.label)} {'rises' if rises else 'falls'} with {factor.label}"


def _kept(study: Study, claim: Claim) -> str:
    kept, other = _sides(claim.question)
    better = kept if claim.estimate > 0 else other
    if {1, -1} <= {piece.sign for piece in claim.pieces}:
        return f"It depends on {_others(study, claim)}, but on average more is left of {better}"
    if claim.estimate > 0:
        return f"Yes, more is left of {kept} than of {other}"
    return f"No, the reverse: more is left of {other} than of {kept}"


def _others(study: Study, claim: Claim) -> str:
    return listed([factor.label for factor in study.summary.factors if factor.name not in claim.question.factors])


def _numbers(claim: Claim) -> str:
    question = claim.question
    parts = [f"{percent(round(claim.level, 4))} interval", p_equals(claim.adjusted)]
    if question.kind == COMPARISON and math.isfinite(claim.dz):
        parts.append(f"d_z {claim.dz:.2f}, the mean difference over its standard deviation")
    seeds = counted(claim.test.seeds, "seed")
    parts.append(seeds if claim.test.seeds == claim.planned else f"{claim.test.seeds} of {claim.planned} seeds")
    bracket = _bracket(question, claim.low, claim.high)
    text = f"{_value(question, claim.estimate)}{_per(question)} {bracket} ({', '.join(parts)})"
    if question.retained is not None:
        kept, other = question.retained.left
        text = f"{percent(round(kept, 2))} against {percent(round(other, 2))}, a difference of {text}"
    improvement, low, high = claim.improvement
    if question.kind == COMPARISON and math.isfinite(improvement) and isinstance(question.test, Compared):
        a, b = map(value_text, question.test.levels)
        text += f"; a run of {a} does better than one of {b} with probability {improvement:.2f} [{low:.2f}, {high:.2f}]"
    return text


def _pieces(study: Study, claim: Claim) -> str:
    """What the numbers say in each combination of the other factors, where that is not what they say on average, and
    of a hypothesis always. A description: verdicts are about the average."""
    mixed = _mixed(claim)
    told = [piece for piece in claim.pieces if not piece.why and math.isfinite(piece.estimate)]
    text = ""
    if told and (mixed or claim.question.kind == RETENTION):
        start = f"The sign differs by {_others(study, claim)}" if mixed else f"By {_others(study, claim)}"
        level = percent(round(1 - (1 - claim.level) / len(told), 4))
        text = f" {start}: {'; '.join(_piece(claim, piece) for piece in told)} ({level} intervals; a description)."
    silent = [piece for piece in claim.pieces if piece.why] if told else []
    for why in dict.fromkeys(piece.why for piece in silent):
        text += f" Nothing is said at {listed([piece.where for piece in silent if piece.why == why])}: {why}."
    return text


def _mixed(claim: Claim) -> bool:
    known = [piece for piece in claim.pieces if math.isfinite(piece.estimate)]
    return len({piece.estimate > 0 for piece in known}) > 1


def _piece(claim: Claim, piece: Piece) -> str:
    question = claim.question
    numbers = f"{_value(question, piece.estimate)} {_bracket(question, piece.low, piece.high)}"
    if question.kind != RETENTION:
        return f"at {piece.where} {numbers}"
    kept, other = _sides(question)
    return f"at {piece.where} {numbers}, more left of {kept if piece.estimate > 0 else other}"


def _bracket(question: Question, low: float, high: float) -> str:
    return f"[{_number(question, low)}, {_number(question, high)}]"


# --- words for values -----------------------------------------------------------------------------------------------


def _number(question: Question, value: float) -> str:
    """An estimate or an end of its interval: points of retention, a change in per cent on a logarithmic scale."""
    if question.kind == RETENTION:
        return _whole(100 * value)
    return _whole(100 * math.expm1(min(value, 700.0))) if question.log else signed(value)


def _value(question: Question, value: float) -> str:
    unit = " points" if question.kind == RETENTION else " %" if question.log else ""
    return _number(question, value) + unit


def _size(claim: Claim, value: float) -> str:
    question = claim.question
    if question.log and question.kind != RETENTION:
        return f"-{100 * -math.expm1(-value):.2g} % or +{100 * math.expm1(min(value, 700.0)):.2g} %{_per(question)}"
    return f"{100 * value:.2g} points" if question.kind == RETENTION else f"{short(value)}{_per(question)}"


def _per(question: Question) -> str:
    if question.retained is not None:
        narrower = listed([value_text(level) for level in question.levels[:-1]])
        return f" of what is learnt at {question.retained.widest}, averaged over {narrower}"
    return f" per {question.unit}" if question.kind == SLOPE else ""


def _whole(value: float) -> str:
    return f"{value:+.0f}" if abs(value) >= 10 else f"{value:+.2g}"


def _sides(question: Question) -> tuple[str, str]:
    retained, test = question.retained, question.test
    if retained is not None:
        return retained.kept.name, retained.other.name
    assert isinstance(test, Retention)
    return test.kept_name or test.kept, test.other_name or test.other


def _factor(study: Study, question: Question) -> Factor:
    name = question.factors[0]
    unknown: tuple[FactorValue, ...] = ()
    return next(
        (factor for factor in study.summary.factors if factor.name == name),
        Factor(name, name, name, name, unknown, log=False, ordered=False),
    )


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
