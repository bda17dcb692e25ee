"""What a reader must be told before believing the numbers, as lines of text: incomplete cells, doubtful values."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from aggregate.analysis.fixed_analysis import Analysis, Looks
from aggregate.analysis.reliability import at_bound, flag_lines, unproven_lines, within
from aggregate.analysis.study import Evidence, Study
from aggregate.analysis.summary import MetricSummary, Summary
from aggregate.described.trade_offs import trade_off_lines, trade_offs, unjudged, unjudged_lines
from aggregate.reading.histories import Fault
from aggregate.reading.records import Gathered, Record
from aggregate.wording import p_equals
from hpc.storage.revisions import codes_together
from hpc.sweep.definition import PRESENTATION
from hpc.sweep.states import COMPLETED, CONFLICT, DIVERGED, FAILED, MISSING, STARTED
from hpc.units import counted

_NAMED = 6  # cells named in one line
Called = Callable[[str], str]  # what readers call a cell, by the name of its directory
_ORDER = (CONFLICT, FAILED, STARTED, MISSING, DIVERGED)


def cell_lines(gathered: Gathered, called: Called) -> list[str]:
    """One line for every state and cause of the cells that have no number to give, naming cells."""
    groups: dict[tuple[int, str], list[str]] = defaultdict(list)
    for record, name in zip(gathered.records, gathered.names, strict=True):
        if record.state != COMPLETED:
            groups[_ORDER.index(record.state), _cause(record.state, record.status.cause)].append(called(name))
    lines = []
    for (state, cause), names in sorted(groups.items()):
        lines.append(f"{_ORDER[state]}: {_cells(names)}" + (f": {cause}" if cause else ""))
    return lines


def on_claims(study: Study, called: Called) -> list[str]:
    """What touches every claim alike, to be read before them."""
    summary, claims = study.summary, study.evidence.claims
    return [
        *still_learning(study.gathered),
        *_hanging_failures(summary, study.evidence),
        *_stopped_early(study),
        *_budgets(study.ends.budgets),
        *_codes(study.gathered, called),
        *_mixtures(study.gathered, called),
        *_redone(study.gathered, called),
        *_former(study.analysis),
        *_revisions(study.manifest["revisions"], claims.looks),
    ]


def on_metric(summary: Summary, entry: MetricSummary, conditions: Collection[int]) -> list[str]:
    """What is doubtful about a metric besides its seeds, as far as it touches some conditions."""
    label = entry.metric.label
    lines = [f"{label}: {entry.note}"] if entry.note and conditions else []
    if absent := int(entry.absent[sorted(conditions)].sum()):
        lines.append(f"{label}: {counted(absent, 'completed cell')} without a finite value; see n")
    alike = np.flatnonzero(entry.description.zero_spread & ~at_bound(entry)).tolist()  # a bound has a line of its own
    if same := [summary.place(i) for i in alike if i in conditions]:
        lines.append(f"{label}: the same for all seeds at {_named(same)}, so there is no interval")
    return lines


def elsewhere(study: Study, told: Mapping[str, Collection[int]]) -> list[str]:
    """The same, doubtful seeds and trade-offs of what no claim is about. told: by metric, the conditions that claims
    use."""
    summary = study.summary
    rest = {
        entry.metric.name: set(range(len(summary.conditions))).difference(told.get(entry.metric.name, ()))
        for entry in summary.metrics
    }
    lines = [line for entry in summary.metrics for line in on_metric(summary, entry, rest[entry.metric.name])]
    flags = (within(flag, rest[flag.metric]) for flag in study.flags)
    family = study.evidence.claims.family
    beside_claim = any(claim.estimated and claim.question.retained is not None for claim in family)
    traded = [] if beside_claim else trade_off_lines(summary, trade_offs(study))
    traded += [] if beside_claim else unjudged_lines(summary, unjudged(study))
    return [*lines, *flag_lines(summary, [flag for flag in flags if flag]), *unproven_lines(summary, told), *traded]


def on_the_whole(study: Study, called: Called) -> list[str]:
    """What else a reader of anything should know."""
    lines = [*study.remarks, *_unmeasured(study.summary)]
    if len(study.summary.seeds) == 1:
        lines.append("one seed per condition: no intervals")
    if study.gathered.strays:
        lines.append(f"individual_results holds what is no planned cell, not counted: {_named(study.gathered.strays)}")
    return lines + _history_lines(study.histories.faults, called)


def _former(analysis: Analysis) -> list[str]:
    """What became of tests that an earlier version declared."""
    if analysis.former is None:
        return []
    return [
        "this sweep declared `analysis.ratio`, which says which error grew more and not what was kept: retention of "
        "the same two metrics is shown instead, as exploratory. Interactions of factors "
        "are not tested any more, but still count in Holm's correction"
    ]


def _unmeasured(summary: Summary) -> list[str]:
    """Primary metrics of which nothing came back, though cells completed."""
    found = {entry.metric.name for entry in summary.metrics}
    if not (completed := int(summary.completed.sum())):
        return []
    cells = counted(completed, "completed cell")
    return [
        f"{metric.label}: none of {cells} has a finite value; it is in no table or figure"
        for metric in summary.primary
        if metric.name not in found
    ]


def _stopped_early(study: Study) -> list[str]:
    """What stop_when did to the runs that claims are about, and what their values are of therefore."""
    early, rule = study.summary.early, study.gathered.sweep.stop_rule
    if early is None or not early.any():
        return []
    runs = [record for record in study.gathered.records if record.stopped_early and record.state == COMPLETED]
    ends = sorted(record.result["epochs"] for record in runs if record.result is not None)
    after = f"after {ends[0]} epochs" if ends[0] == ends[-1] else f"after {ends[0]} to {ends[-1]} epochs"
    completed = study.summary.completed
    shares = early.sum(axis=1)[completed > 0] / completed[completed > 0]
    uneven = f", from {shares.min():.0%} to {shares.max():.0%} of them by condition" if np.ptp(shares) else ""
    return [
        f"stopped early: {int(early.sum())} of {counted(int(completed.sum()), 'completed run')}{uneven}, {after} "
        f"({rule}): a value of the last epoch is of the epoch at which the rule gave up, a best value is the "
        "best of fewer epochs, and runs that would have improved later were cut off"
    ]


def _budgets(budgets: Sequence[int]) -> list[str]:
    if len(budgets) < 2:
        return []
    return [
        f"runs trained from {budgets[0]} to {budgets[-1]} epochs: a best epoch out of more is better by chance alone"
    ]


def still_learning(gathered: Gathered) -> list[str]:
    """Where most runs were best at their last epoch: then what is lost cannot be told from what is to come."""
    runs = [record.result for record in gathered.records if record.state == COMPLETED and record.result is not None]
    known = [run for run in runs if run.get("best_epoch") is not None and run["epochs"] > 1]
    last = sum(run["best_epoch"] == run["epochs"] for run in known)
    if 2 * last <= len(known):
        return []
    return [
        f"of {counted(len(known), 'completed run')} with a best epoch on record, {last} had it last, "
        "so training had probably not converged: conditions may differ in how fast they learn rather than in what they "
        "can learn"
    ]


def _mixtures(gathered: Gathered, called: Called) -> list[str]:
    """Cells that one code, or one numerics, did not train from the first step to the last."""
    lines = []
    for key, what in (("code", "by more than one code"), ("numerics", "under more than one numerics")):
        names = [
            called(name)
            for record, name in zip(gathered.records, gathered.names, strict=True)
            if len({json.dumps(part[key], sort_keys=True) for part in record.trained_by if part[key]}) > 1
        ]
        if names:
            lines.append(f"trained {what}: {_cells(names)}; see trained_by in table.parquet")
    return lines


def _codes(gathered: Gathered, called: Called) -> list[str]:
    """Cells that ended with other code than most did, whatever the revisions say."""
    by_code: dict[str, list[str]] = defaultdict(list)
    for record, name in zip(gathered.records, gathered.names, strict=True):
        if record.code is not None:
            by_code[record.code].append(called(name))
    others = [name for names in sorted(by_code.values(), key=len)[:-1] for name in names]
    if not others:
        return []
    return [
        f"trained by another code of the trainer than the others (provenance.trainer_digest): {_cells(others)}; "
        "differences between conditions may be differences of code"
    ]


def _redone(gathered: Gathered, called: Called) -> list[str]:
    """Cells that were trained again when their results could be seen; and those of them that ended otherwise."""
    everything = zip(gathered.records, gathered.names, strict=True)
    redone = [(record, called(name)) for record, name in everything if record.redone]
    if not redone:
        return []
    others = [name for record, name in redone if _ended_otherwise(record)]
    what = f"{len(others)} of them ended otherwise than before: {_cells(others)}" if others else "all ended as before"
    names = _cells([name for _, name in redone])
    return [f"redone after their results could be seen (holdfast redo): {names}; {what}"]


def _ended_otherwise(record: Record) -> bool:
    now = (record.result or {}).get("outcome_digest")
    return any(earlier["outcome_digest"] != now for earlier in record.redone)


def _hanging_failures(summary: Summary, evidence: Evidence) -> list[str]:
    """Failures that depend on a factor: the cells that are left are not like those that failed."""
    return [
        f"failures depend on {entry.factor.label} ({p_equals(entry.p)}, uncorrected; {entry.method}): means of what is "
        "left mislead"
        for entry in evidence.missingness
        if entry.p <= 1 - summary.level
    ]


def _history_lines(faults: Sequence[Fault], called: Called) -> list[str]:
    groups: dict[str, list[str]] = defaultdict(list)
    for name, reason in faults:
        groups[reason].append(called(name))
    return [f"no training curve of {_cells(names)}: {reason}" for reason, names in groups.items()]


def limited(lines: Sequence[str], most: int) -> list[str]:
    """The first lines and how many more there are."""
    return list(lines) if len(lines) <= most else [*lines[:most], f"... and {len(lines) - most} more"]


def _cause(state: str, cause: str) -> str:
    note = "training left the finite numbers; not in the statistics" if state == DIVERGED else ""
    return " ".join((cause or note).split())


def _cells(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{counted(len(names), 'cell')}: {_named(names)}"


def _named(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ("; " if any(", " in name for name in names) else ", ").join(names[:_NAMED]) + (
        f" and {more} more" if more > 0 else ""
    )


def _revisions(revisions: Sequence[Mapping[str, Any]], looks: Looks) -> list[str]:
    """What was changed after the first job could have been seen."""
    first, last = revisions[0], revisions[-1]
    lines = []
    if len(codes_together(revisions)[-1]) > 1:
        lines.append(
            "the trainer's code was changed while the sweep ran (--allow-code-change): cells of before and after are "
            "mixed, and differences between conditions may be differences of code"
        )
    if _tested_in(first) != _tested_in(last):
        lines.append(
            "the analysis was edited after the sweep began: the first one governs, and anything else is exploratory"
        )
    before, after = first["grid"], last["grid"]
    if not looks.as_planned:
        lines.append(
            f"seeds were added after results could be seen ({len(before['seeds'])}, now {len(after['seeds'])}; "
            f"{looks.taken} looks, {looks.planned} planned): no claim counts as fixed before the first job"
        )
    if before["axes"] != after["axes"]:
        lines.append("conditions were added after the sweep began: comparisons with them are exploratory")
    return lines


def _tested_in(revision: Mapping[str, Any]) -> dict[str, Any]:
    """What a revision tests, without how it is shown."""
    return {key: value for key, value in (revision.get("analysis") or {}).items() if key not in PRESENTATION}
