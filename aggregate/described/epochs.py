"""Which epoch a metric's value is of: the last, the run's best epoch, or the one where this metric itself was best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from aggregate.analysis.study import Study
from aggregate.analysis.summary import MetricSummary
from aggregate.arrays import Floats, Integers
from aggregate.reading.histories import Histories

_LAST, _BEST = "the last epoch", "the best epoch (best_epoch in results.json)"
UNKNOWN = "as the trainer reported it at the end"
_OF_ANOTHER = ("best_", "final_")  # what a metric made from the history of another is called after it


def value_of(study: Study) -> dict[str, str]:
    """By metric, in words. Only what is true of every completed run is said."""
    return {entry.metric.name: _rule(study, entry)[0] for entry in study.summary.metrics}


def value_at(study: Study, entry: MetricSummary, kept: Integers) -> Floats | None:
    """A metric of every run had its training been looked at earlier, by the rule that its value is made by now.

    kept: epochs that count, of each run with a history, 1 or more; shape (runs with a history,).
    Returns shape (conditions, seeds), NaN for a run without a history; None where the rule is unknown, or needs what
    was seen at the end.
    """
    rule, source = _rule(study, entry)
    if rule in (UNKNOWN, _BEST):
        return None
    return _by(rule, replace(study, histories=_cut(study.histories, kept, source)), source).reshape(entry.values.shape)


def _cut(histories: Histories, kept: Integers, column: str) -> Histories:
    """One column of the first epochs of every run."""
    _, starts, lengths = histories.runs
    rows = np.arange(lengths.sum()) - np.repeat(starts, lengths) < np.repeat(kept, lengths)
    return Histories(histories.position[rows], histories.epoch[rows], {column: histories.columns[column][rows]}, [])


def _rule(study: Study, entry: MetricSummary) -> tuple[str, str]:
    """(which epoch a metric's value is of, in words; the column of the histories that it is made from)."""
    name, reported = entry.metric.name, entry.values.ravel()
    sources = [name, *(name.removeprefix(prefix) for prefix in _OF_ANOTHER if name.startswith(prefix))]
    source = next((one for one in sources if one in study.histories.columns), "")
    known = np.isfinite(reported)
    if not source or not known.any():
        return UNKNOWN, source
    # Where every run is best at its end, the name decides. Most metrics are of the last epoch; no other rule is tried.
    order = sorted(_RULES, key=lambda rule: (rule == _LAST) == name.startswith("best_"))
    right = (rule for rule in order if np.array_equal(_by(rule, study, source)[known], reported[known]))
    return next(right, UNKNOWN), source


def _by(rule: str, study: Study, source: str) -> Floats:
    """What a metric would be by a rule, shape (cells,); NaN for a cell without a history."""
    cells, _, _ = study.histories.runs
    found = np.full(len(study.gathered.records), np.nan)
    found[cells] = _RULES[rule](study, study.histories.columns[source])
    return found


def _last(study: Study, column: Floats) -> Floats:
    _, starts, lengths = study.histories.runs
    return np.asarray(column[starts + lengths - 1])


def _lowest(study: Study, column: Floats) -> Floats:
    return np.asarray(np.fmin.reduceat(column, study.histories.runs[1]))


def _highest(study: Study, column: Floats) -> Floats:
    return np.asarray(np.fmax.reduceat(column, study.histories.runs[1]))


def _at_best(study: Study, column: Floats) -> Floats:
    cells, starts, lengths = study.histories.runs
    best = study.gathered.best_epochs[cells]
    rows = starts + np.clip(best, 1, lengths) - 1
    return np.where((best > 0) & (best <= lengths), column[rows], np.nan)


_RULES: dict[str, Callable[[Study, Floats], Floats]] = {
    _LAST: _last,
    "the lowest of all epochs": _lowest,
    "the highest of all epochs": _highest,
    _BEST: _at_best,
}
