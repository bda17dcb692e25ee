"""What was asked and tried, what the words mean, and how sure the answers are, in sentences. Computes nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator

from aggregate.analysis.claims import NOT_SHOWN, SHOWN, Claims
from aggregate.analysis.fixed import Compared, Retention
from aggregate.analysis.questions import Question
from aggregate.analysis.reliability import metrics_of_claim
from aggregate.analysis.retention import Retained
from aggregate.analysis.study import Study
from aggregate.analysis.summary import MetricSummary
from aggregate.reading.declared import SQUARED, Factor
from aggregate.wording import better_text, counted, listed, percent, value_text
from hpc.sweep.cell import FactorValue

_SCOPE = "The seeds stand for what a trainer draws from its seed; the conclusions are about these levels and this data."


def asked(study: Study) -> list[str]:
    """The questions of the sweep."""
    summary = study.summary
    family = study.evidence.claims.family
    questions = list(dict.fromkeys(_asked(study, claim.question) for claim in family))
    if questions:
        return questions
    names = listed([m.label for m in summary.primary] or [e.metric.label for e in summary.primary_metrics()])
    does = "do" if " and " in names else "does"
    return [f"How {does} {names or 'the metrics'} depend on {listed([factor.label for factor in summary.factors])}?"]


def _asked(study: Study, question: Question) -> str:
    factor, test = factor_of(study, question), question.test
    if isinstance(test, Retention):
        name = f"{upper(test.name)}: as" if test.name else "As"
        kept, other = question.sides
        ends = ""
        if len(question.levels) > 1:
            ends = f" from {value_text(question.levels[-1])} to {value_text(question.levels[0])}"
        return f"{name} {factor.label} narrows{ends}, is a larger share of {kept} retained than of {other}?"
    if isinstance(test, Compared):
        a, b = map(value_text, test.levels)
        return f"Does {factor.label} {a} differ from {b} in {question.metric.label}?"
    return f"Does {question.metric.label} change with {factor.label}?"


def tried(study: Study) -> str:
    """The grid, the seeds, the epochs, and how much of it there is."""
    summary, budgets = study.summary, study.ends.budgets
    grid = "; ".join(f"{f.label} {', '.join(map(value_text, f.values))}" for f in summary.factors)
    seeds = counted(len(summary.seeds), "seed")
    each = f"{seeds} in each" if len(summary.conditions) > 1 else seeds
    completed, planned = int(summary.completed.sum()), summary.states.size
    epochs = ""
    if budgets and budgets[-1]:
        to = f"{budgets[0]:,} to " if budgets[0] != budgets[-1] else ""
        epochs = f" of {to}{counted(budgets[-1], 'epoch')}"
    done = "all completed" if completed == planned else f"{completed:,} completed"
    runs = f"{counted(planned, 'run')}{epochs}, {done}"
    conditions = counted(len(summary.conditions), "condition")
    return f"{conditions} ({grid}), {each}: {runs}.{_samples(study)}"


def _samples(study: Study) -> str:
    """How much data a run learns from, if planning wrote it down."""
    samples = study.gathered.sweep.sections.get("data", {}).get("samples", {})
    told = listed([counted(number, f"{split} sample") for split, number in samples.items() if isinstance(number, int)])
    return f" Data of each run: {told}." if told else ""


def terms(study: Study) -> Iterator[tuple[str, str]]:
    """What a reader from outside has to know of the factors and metrics that are asked about."""
    summary, claims = study.summary, study.evidence.claims
    yield from ((factor.label, f"{factor.about}.") for factor in summary.factors if factor.about)
    retained = claims.retained
    sources: dict[str, str] = {}
    if retained is not None and (asked := study.analysis.hypothesis) is not None:
        sources = {asked.kept: retained.kept.name, asked.other: retained.other.name}
    for entry in _asked_about(study, claims):
        label, name = entry.metric.label, sources.get(entry.metric.name)
        text = _metric(entry, plain=name is None)
        yield (name, text if label.startswith(name) else f"measured by {label}: {text}") if name else (label, text)
    if retained is not None:
        yield "information", _information(retained)


def _asked_about(study: Study, claims: Claims) -> list[MetricSummary]:
    names = {name for claim in claims.family for name in metrics_of_claim(claim)}
    if (former := study.analysis.hypothesis) is not None:
        names |= {former.kept, former.other}
    entries = [entry for entry in study.summary.metrics if entry.metric.name in names]
    return entries or study.summary.primary_metrics()


def _metric(entry: MetricSummary, *, plain: bool) -> str:
    """plain: not as information, which has its chance and its direction in the formula."""
    metric = entry.metric
    chance = "" if metric.chance is None else f"guessing gives {metric.chance:.4g}"
    told = (metric.about, chance, better_text(metric)) if plain else (metric.about or better_text(metric),)
    return "; ".join(filter(None, told)) + "."


def _information(retained: Retained) -> str:
    """What a retention counts."""
    kept, other = retained.kept, retained.other
    return (
        f"{kept.formula} for {kept.name} and {other.formula} for {other.name}: 0 for guessing, 1 for no error, below 0 "
        f"if worse than guessing. What is retained of it is a share of the same seed's at {retained.widest}, in a run "
        f"trained by itself: nothing is taken from a run that had it. Shares of the two are compared, not amounts. "
        f"{_scales(retained)}"
    )


def _scales(retained: Retained) -> str:
    """Whether the unit of information could decide the answer."""
    errors = {retained.kept.error, retained.other.error}
    if "" in errors:
        return (
            "Each is counted on the scale of its own metric. Whether the answer would be the same on a common one, in "
            "nats, is unknown: the trainer does not declare which kind of `error` both metrics are."
        )
    if retained.difference_in_nats is None:
        return "Both are counted in nats."
    names = [side.name for side in (retained.kept, retained.other) if side.error == SQUARED]
    return (
        "A share of a squared error and nats are different units, and the answer may depend on them. So information is "
        f"counted in nats as well, which is -1/2 ln(1 - information) for {listed(names)}, as for a Gaussian variable; "
        "a verdict needs both to agree."
    )


def sure(study: Study) -> list[str]:
    """How many tests were made and corrected how, and what the numbers rest on."""
    claims = study.evidence.claims
    if not claims.family:
        return ["No test was declared before the first job; everything below is exploratory."]
    return list(filter(None, (_counted(claims), _error(claims), _SCOPE, _pairing(study))))


def _counted(claims: Claims) -> str:
    tests, looks = len(claims.family), claims.looks
    detected = sum(claim.status == SHOWN for claim in claims.family)
    if not looks.as_planned:
        planned = "none was planned" if looks.planned == 1 else f"{looks.planned} were planned"
        return (
            f"The sweep grew after its results could be seen ({looks.taken} looks; {planned}): no test counts as fixed "
            f"before the first job any more, and all are exploratory ({detected} of {tests} would be detected)."
        )
    undecided = sum(claim.status not in (SHOWN, NOT_SHOWN) for claim in claims.family)
    if tests == 1:
        became = "was detected" if detected else "has no verdict" if undecided else "was not detected"
        return f"The one effect declared before the first job {became}."
    without = f"; {undecided} {'has' if undecided == 1 else 'have'} no verdict" if undecided else ""
    was = "was" if detected == 1 else "were"
    return f"Of {tests} effects declared before the first job, {detected} {was} detected{without}."


def _error(claims: Claims) -> str:
    looks = claims.looks
    share = (
        f", shared by {looks.planned} planned looks, of which this is number {looks.taken}" if looks.planned > 1 else ""
    )
    text = (
        f"Where nothing has an effect, these tests detect one in at most {percent(claims.alpha)} of sweeps{share}, as "
        "far as seeds vary normally"
    )
    levels = sorted({round(claim.level, 4) for claim in claims.family if math.isfinite(claim.level)})
    tests = round(claims.spent / (1 - levels[-1])) if levels else 1
    if tests == 1:
        return f"{text}."
    alpha = percent(round(claims.spent, 4))
    following = f"{alpha} / {tests - 1}" if tests > 2 else alpha
    return (
        f"{text}. For that, p values are corrected by Holm's method: the smallest of {tests} is held against {alpha} / "
        f"{tests}, the next against {following}, up to the first that fails. Each interval has the level of its test "
        f"(here {listed([percent(level) for level in levels])}), so that it leaves out 0 exactly if the test detects."
    )


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
        f"conditions in {pairing.metric.label}, as far as {counted(pairing.seeds, 'seed')} can tell: so few know a "
        "correlation only roughly. If it is that, and with the degrees of freedom that pairing costs, the interval of "
        f"a difference of two conditions is {change} {worth} on average than for independent runs; for a slope or a "
        "retention it may be otherwise."
    )


def factor_of(study: Study, question: Question) -> Factor:
    """The factor that a question is about, even if the grid has none of that name."""
    name = question.factors[0]
    unknown: tuple[FactorValue, ...] = ()
    return next(
        (factor for factor in study.summary.factors if factor.name == name),
        Factor(name, name, name, name, unknown, log=False, ordered=False),
    )


def upper(text: str) -> str:
    """A sentence begins with a capital."""
    return text[:1].upper() + text[1:]
