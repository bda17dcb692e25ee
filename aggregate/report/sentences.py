"""What was asked, what was found and how sure that is, in sentences. Reads claims; computes nothing."""

from __future__ import annotations

from collections.abc import Iterator

from aggregate.analysis.claims import NOT_SHOWN, RATIO, SHOWN, UNTESTABLE, WITHHELD, Claim
from aggregate.analysis.contrasts import SLOPE
from aggregate.analysis.study import Study
from aggregate.analysis.summary import Summary
from aggregate.wording import counted, p_equals, percent, short, value_text


def asked(study: Study) -> str:
    """The question of the sweep in a sentence."""
    summary = study.summary
    labels = [m.label for m in summary.primary or [entry.metric for entry in summary.primary_metrics()]]
    subject = " and ".join(labels) or "the trainer's metrics"
    depends = f"{subject} depends" if len(labels) == 1 else f"{subject} depend"
    factors = " and ".join(f"{f.label} ({', '.join(map(value_text, f.values))})" for f in summary.factors)
    seeds = f"{len(summary.seeds)} seeds" if len(summary.seeds) > 1 else "one seed"
    conditions = counted(len(summary.conditions), "condition")
    text = f"How {depends} on {factors}: {conditions}, {seeds}{' in each' if len(summary.conditions) > 1 else ''}."
    ratio = study.analysis.ratio
    if ratio is None:
        return text
    factor = next((f.label for f in summary.factors if f.name == ratio.factor), ratio.factor)
    kept, lost = _error(summary, ratio.numerator), _error(summary, ratio.denominator)
    question = f"As {factor} falls, does {kept} grow less than {lost}, each relative to guessing?"
    return f"{question} And: {text[0].lower()}{text[1:]}"


def found(study: Study) -> Iterator[tuple[str, str]]:
    """(status, sentence) of every confirmatory claim; the declared hypothesis first, then what is shown."""
    order = {SHOWN: 0, WITHHELD: 1, NOT_SHOWN: 2, UNTESTABLE: 3}
    family = study.evidence.claims.family
    for claim in sorted(family, key=lambda claim: (claim.kind != RATIO, order[claim.status])):
        yield claim.status, sentence(study, claim)


def sentence(study: Study, claim: Claim) -> str:
    """One claim in words and numbers."""
    if claim.status == UNTESTABLE:
        return f"{_subject(claim)}: cannot be tested, {claim.reason or 'no finite values'}."
    if claim.status == WITHHELD:
        return f"{_subject(claim)}: withheld, because {claim.reason}."
    numbers = f"{_signed(claim.estimate)} per {claim.unit} [{short(claim.low)}, {short(claim.high)}]"
    p = f"{p_equals(claim.adjusted)}, {claim.seeds} of {claim.planned} seeds"
    if claim.status == NOT_SHOWN:
        return f"{_subject(claim)}: not shown, {numbers} ({p})."
    remark = f" {claim.reason[0].upper()}{claim.reason[1:]}." if claim.reason else ""
    return f"{_finding(study, claim)}: {numbers} ({p}).{remark}"


def sure(study: Study) -> str:
    """How many tests were made and corrected how, and what the numbers rest on."""
    claims, summary = study.evidence.claims, study.summary
    shown = sum(claim.status == SHOWN for claim in claims.family)
    tests = len(claims.family)
    if not tests:
        return "No confirmatory test was declared; everything below is exploratory."
    hold = f"{shown} of {tests} tests fixed before the first job hold"
    if tests == 1:
        hold = f"The one test fixed before the first job {'holds' if shown else 'does not hold'}"
    error = f"at a family-wise error of {percent(claims.alpha)} ({claims.correction.capitalize()})"
    cells = f"{int(summary.completed.sum()):,} of {summary.states.size:,} cells completed"
    reading = f"p values are after correction, brackets are {percent(summary.level)} intervals"
    return f"{hold} {error}; {reading}. {cells}."


def _subject(claim: Claim) -> str:
    if claim.kind == RATIO:
        return "The hypothesis"
    kind = "slope" if claim.kind == SLOPE else "interaction"
    return f"{_upper(claim.metric.label)}, {kind} per {claim.unit}"


def _finding(study: Study, claim: Claim) -> str:
    rises = claim.estimate > 0
    if claim.kind == RATIO and study.analysis.ratio is not None:
        summary, ratio = study.summary, study.analysis.ratio
        factor = next(f.label for f in summary.factors if f.name == ratio.factor)
        kept, lost = _error(summary, ratio.numerator), _error(summary, ratio.denominator)
        verb = "grows less than" if rises else "grows more than"
        return f"{'Yes' if rises else 'No, the reverse'}: as {factor} falls, {kept} {verb} {lost}"
    if claim.kind == SLOPE:
        return f"{_upper(claim.metric.label)} {'rises' if rises else 'falls'} with {claim.unit.split(' of ', 1)[-1]}"
    return f"{_upper(claim.metric.label)}: the factors interact"


def _error(summary: Summary, metric: str) -> str:
    """What an error is called: the metric itself if it is one, else what the metric lacks."""
    for entry in summary.metrics:
        if entry.metric.name == metric:
            return f"the error in {entry.metric.label}" if entry.metric.better == "higher" else entry.metric.label
    return metric


def _signed(value: float) -> str:
    return f"+{short(value)}" if value > 0 else short(value)


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
