"""What was asked and tried, what the words mean, and how sure the answers are, in sentences. Computes nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator

from aggregate.analysis.claims import NOT_SHOWN, SHOWN, Claims
from aggregate.analysis.fixed_analysis import Compared, Retention
from aggregate.analysis.questions import Question
from aggregate.analysis.reliability import metrics_of_claim
from aggregate.analysis.retention import Retained
from aggregate.analysis.study import Study
from aggregate.analysis.summary import MetricSummary
from aggregate.described.epochs import UNKNOWN, value_of
from aggregate.reading.declared import SQUARED, Factor
from aggregate.wording import better_text, listed, percent, value_text
from hpc.sweep.cell import FactorValue
from hpc.units import counted

_MOST_LEVELS = 12  # named one by one
_NATS = "the natural unit of information; one bit is 0.69 nats"
_USUALLY = "usually the training and validation samples"
_UNDECLARED = "what the trainer draws from the seed, usually the initial weights and the order of the training samples"


def asked(study: Study) -> list[str]:
    """The questions of the sweep."""
    summary = study.summary
    family = study.evidence.claims.family
    questions = list(dict.fromkeys(in_words(study, claim.question) for claim in family))
    if questions:
        return questions
    names = listed([m.label for m in summary.primary] or [e.metric.label for e in summary.primary_metrics()])
    does = "do" if " and " in names else "does"
    factors = listed([factor.label for factor in summary.factors])
    return [f"How {does} {names or 'the metrics'} depend on {factors}{within(study)}?"]


def in_words(study: Study, question: Question) -> str:
    """A question as it is asked."""
    factor, test, length = factor_of(study, question), question.test, within(study)
    if isinstance(test, Retention):
        name = f"{upper(test.name)} (predicts yes): as" if test.name else "As"
        kept, other = question.sides
        ends = ""
        if len(question.levels) > 1:
            ends = f" from {value_text(question.levels[-1])} to {value_text(question.levels[0])}"
        return f"{name} {factor.label} narrows{ends}, is a larger share of {kept} retained than of {other}{length}?"
    if isinstance(test, Compared):
        a, b = map(value_text, test.levels)
        return f"Does {factor.label} {a} differ from {b} in {question.metric.label}{length}?"
    return f"Does {question.metric.label} change with {factor.label}{length}?"


def read_from(study: Study, question: Question) -> str:
    """What the names in a question are names of, where they are not those of metrics; empty if there are none."""
    test, entries = question.test, {entry.metric.name: entry.metric for entry in study.summary.metrics}
    if not isinstance(test, Retention):
        return ""
    sides = zip((test.kept_name, test.other_name), (test.kept, test.other), strict=True)
    told = [
        f"{name}: read from {metric.label}{f' ({about})' if (about := metric.about.partition('; ')[0]) else ''}"
        for name, key in sides
        if name and (metric := entries.get(key)) is not None and name != metric.label
    ]
    return f"{upper('; '.join(told))}." if told else ""


def within(study: Study) -> str:
    """How long the runs trained, with which every answer ends: longer training may give another."""
    length = _epochs(study)
    return f", within {length} of training" if length else ""


def _epochs(study: Study) -> str:
    """``6 epochs``, ``3 to 6 epochs``; empty if no run counts any."""
    budgets = study.ends.budgets
    if not budgets or not budgets[-1]:
        return ""
    return f"{f'{budgets[0]:,} to ' if budgets[0] != budgets[-1] else ''}{counted(budgets[-1], 'epoch')}"


def tried(study: Study) -> str:
    """The grid, the seeds, the epochs, and how much of it there is."""
    summary = study.summary
    grid = "; ".join(map(_levels, summary.factors))
    seeds = counted(len(summary.seeds), "seed")
    each = f"{seeds} in each" if len(summary.conditions) > 1 else seeds
    completed, planned = int(summary.completed.sum()), summary.states.size
    epochs = f" of {_epochs(study)}" if _epochs(study) else ""
    done = "all completed" if completed == planned else f"{completed:,} completed"
    runs = f"{counted(planned, 'run')}{epochs}, {done}"
    conditions = counted(len(summary.conditions), "condition")
    if not summary.crossings.full:
        conditions += f" of {math.prod(len(f.values) for f in summary.factors):,} combinations"
    return f"{conditions} ({grid}), {each}: {runs}.{_samples(study)}"


def _levels(factor: Factor) -> str:
    """Every level, or of many how many there are, the first and the last."""
    levels = list(map(value_text, factor.values))
    if len(levels) > _MOST_LEVELS:
        return f"{counted(len(levels), factor.label)}, from {levels[0]} to {levels[-1]}"
    return f"{factor.label} {', '.join(levels)}"


def _samples(study: Study) -> str:
    """How much data a run learns from, if planning wrote it down."""
    samples = study.gathered.sweep.sections.get("data", {}).get("samples")
    if not isinstance(samples, dict):  # none, or what is no plan of ours
        return ""
    told = listed([counted(number, f"{split} sample") for split, number in samples.items() if isinstance(number, int)])
    return f" Data of each run: {told}." if told else ""


def terms(study: Study) -> Iterator[tuple[str, str]]:
    """What a reader from outside has to know of the factors and metrics that are asked about."""
    summary, claims = study.summary, study.evidence.claims
    yield from ((factor.label, f"{factor.about}.") for factor in summary.factors if factor.about)
    retained = claims.retained
    sources: dict[str, str] = {}
    epochs = {name: value for name, value in value_of(study).items() if value != UNKNOWN}
    if retained is not None and (asked := study.analysis.hypothesis) is not None:
        sources = {asked.kept: retained.kept.name, asked.other: retained.other.name}
    for entry in _asked_about(study, claims):
        label, name = entry.metric.label, sources.get(entry.metric.name)
        text = _metric(entry, plain=name is None, value=epochs.get(entry.metric.name, ""))
        yield (name, f"information on it is read from {label}: {text}") if name else (label, text)
    if retained is not None:
        yield "information", _information(retained)


def _asked_about(study: Study, claims: Claims) -> list[MetricSummary]:
    names = {name for claim in claims.family for name in metrics_of_claim(claim)}
    if (former := study.analysis.hypothesis) is not None:
        names |= {former.kept, former.other}
    entries = [entry for entry in study.summary.metrics if entry.metric.name in names]
    return entries or study.summary.primary_metrics()


def _metric(entry: MetricSummary, *, plain: bool, value: str) -> str:
    """plain: not as information, which has its chance and its direction in the formula. value: which epoch it is of."""
    metric = entry.metric
    chance = "" if metric.chance is None else f"guessing gives {metric.chance:.4g}"
    told = (metric.about, chance, better_text(metric)) if plain else (metric.about or better_text(metric),)
    of = f"value of {value}" if value else ""
    return "; ".join(filter(None, (*told, of))) + "."


def _information(retained: Retained) -> str:
    """What a retention counts."""
    kept, other = retained.kept, retained.other
    return (
        f"{kept.formula} for {kept.name} and {other.formula} for {other.name}: 0 for guessing, 1 for no error, below 0 "
        f"if worse than guessing. It is what the trained model decodes: 0 may mean lost, or not yet learnt to decode. "
        f"What is retained is a share of the same seed's information at {retained.widest}; each run is trained from "
        f"scratch, and nothing is removed from a trained one. Shares of the two are compared, not amounts; such "
        f"a share is no lower bound of anything. {_scales(retained)}"
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
        return f"Both are counted in nats, {_NATS}."
    names = [side.name for side in (retained.kept, retained.other) if side.error == SQUARED]
    return (
        "The answer may depend on the unit of information, so it is counted in nats as well "
        f"({_NATS}; -1/2 ln(1 - information) for {listed(names)}, as for one Gaussian variable, which need not fit: an "
        f"approximation that gives great weight to the last percent, and no bound either), and a verdict needs both to "
        f"agree. {_one_sided(retained)}"
    ).rstrip()


def _one_sided(retained: Retained) -> str:
    """Which way the second unit can move a difference of which only one side is counted anew: -1/2 ln(1 - I) is convex
    and 0 at 0, so a share of it is at most that of I."""
    kept, other = retained.kept, retained.other
    if kept.error == other.error:
        return ""
    changed, gains = (kept, other) if kept.error == SQUARED else (other, kept)
    taken, kept_up = ("yes", "no") if changed is kept else ("no", "yes")
    return (
        f"In nats, the difference is never less in favour of {gains.name} than in shares, as long as the information "
        f"on {changed.name}, the only one whose unit changes, is between 0 and its value at {retained.widest}. So the "
        f'check in nats can overturn a "{taken}" or a "not detected", but hardly ever a "{kept_up}".'
    )


def sure(study: Study) -> list[str]:
    """How many tests were made and corrected how, and what the numbers rest on."""
    claims = study.evidence.claims
    if not claims.family:
        return ["No test was declared before the first job; everything below is exploratory."]
    return list(filter(None, (_counted(claims), _error(claims), _scope(study))))


def _scope(study: Study) -> str:
    """What varies from seed to seed, and so what intervals over seeds can know of."""
    # Samples are written down where the trainer is known to give every run the same ones.
    alike = "the training and validation samples among it" if _samples(study) else _USUALLY
    return (
        f"Runs with different seeds differ in {study.gathered.sweep.trainer.seeded or _UNDECLARED}. Intervals and "
        f"tests cover that alone. They do not cover what is the same in all runs, {alike}: the conclusions are about "
        "this data, and about these levels."
    )


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
        became = "detected an effect" if detected else "has no verdict" if undecided else "detected no effect"
        return f"The one test declared before the first job {became}."
    without = f"; {undecided} {'has' if undecided == 1 else 'have'} no verdict" if undecided else ""
    return f"Of {tests} tests declared before the first job, {detected} detected an effect{without}."


def _error(claims: Claims) -> str:
    looks = claims.looks
    share = (
        f", shared by {looks.planned} planned looks, of which this is number {looks.taken}" if looks.planned > 1 else ""
    )
    text = (
        f"As far as seeds vary normally, at most {percent(claims.alpha)} of sweeps detect any effect that does not "
        f"exist, whichever those are{share}; a collapse that none of these seeds shows is not allowed for"
    )
    levels = sorted({round(claim.level, 4) for claim in claims.family if math.isfinite(claim.low)})
    if not levels:  # nothing was tested, so nothing can be detected in error
        return ""
    tests = round(claims.spent / (1 - levels[-1]))
    if tests == 1:
        return f"{text}."
    alpha = percent(round(claims.spent, 4))
    following = f"{alpha} / {tests - 1}" if tests > 2 else alpha
    return (
        f"{text}. For that, p values are corrected by Holm's method: the smallest of {tests} is held against {alpha} / "
        f"{tests}, the next against {following}, up to the first that fails. Each interval has the level of its test "
        f"(here {listed([percent(level) for level in levels])}), so that it leaves out 0 exactly if the test detects."
    )


def pairing(study: Study) -> str:
    """What pairing by seed was worth, for the metric of the first page; empty if that is unknown."""
    first = study.summary.primary_metrics()[:1]
    found = next((p for p in study.evidence.pairings if first and p.metric.name == first[0].metric.name), None)
    if found is None or not math.isfinite(found.ratio) or not math.isfinite(found.correlation):
        return ""
    worth = "narrower" if found.ratio < 1 else "wider"
    change = percent(round(abs(1 - found.ratio), 2))
    return (
        f"Conditions are compared within seeds: in {found.metric.label}, runs of one seed correlate by "
        f"{found.correlation:+.2f} between two conditions, on average over all pairs (Pearson's r over "
        f"{counted(found.seeds, 'seed')}; unrelated runs give 0, with a standard deviation of "
        f"{found.by_chance:.2f}). With such a correlation, and with the degrees of freedom that pairing costs, the "
        f"interval of a difference of two conditions of equal spread is {change} {worth} than for independent runs; "
        "for a slope or a retention it may be otherwise."
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
