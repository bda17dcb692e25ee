"""aggregated_results.json and statistics.json.

Both documents are the same bytes for the same outcomes: no times, nodes, paths or attempts, nothing that
depends on the order in which cells ended, null and never NaN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from aggregate.evidence import evidence_document
from aggregate.gather import Record
from aggregate.last_epochs import LastEpochs
from aggregate.plain import rows
from aggregate.reliability import Flag
from aggregate.study import Study
from aggregate.summary import MetricSummary, Summary
from hpc.sweep.states import CONFLICT, DIVERGED, FAILED, MISSING, STARTED

_OUTCOME = ("status", "best_epoch", "epochs", "config_digest", "outcome_digest")


def encode(document: Mapping[str, Any]) -> bytes:
    """Plain JSON, a line for each entry; a number that is not finite becomes null. The standard library takes ten times
    as long. Raises TypeError for what JSON has no word for.
    """
    line = msgspec.json.encode
    return b"{\n" + b",\n".join(line(key) + b": " + line(value) for key, value in document.items()) + b"\n}\n"


def aggregated_results(study: Study) -> dict[str, Any]:
    """The seed-shaped document: conditions only at the top level."""
    summary = study.summary
    completeness = _completeness(summary)
    metrics = {entry.metric.name: _statistics(entry) for entry in summary.metrics}
    fields = [factor.field for factor in summary.factors]
    order = list(metrics)
    seeds = len(summary.seeds)
    document: dict[str, Any] = {}
    for i, (name, point) in enumerate(zip(summary.conditions, summary.points, strict=True)):
        factors = dict(zip(fields, (value for _, value in point), strict=True))
        own = slice(i * seeds, (i + 1) * seeds)
        cells = zip(study.gathered.records[own], study.gathered.names[own], strict=True)
        document[name] = {
            **factors,
            "n_runs": completeness[i]["completed"],
            "completeness": completeness[i],
            "aggregated_metrics": {metric: entries[i] for metric, entries in metrics.items()},
            "individual_results": [_outcome(r, n, factors, order) for r, n in cells if r.result is not None],
        }
    return document


def statistics_document(study: Study) -> dict[str, Any]:
    """What stands beside the t intervals: intervals that suit each metric, completion rates, flags, claims."""
    summary, ends = study.summary, study.ends
    completeness = _completeness(summary)
    return {
        "sweep": summary.name,
        "partial": not summary.complete,
        "level": summary.level,
        "completeness": _total(completeness),
        "primary_metrics": [metric.name for metric in summary.primary],
        "metrics": {entry.metric.name: _about(entry) for entry in summary.metrics},
        "last_epochs": {
            "count": ends.count,
            "epoch_budgets": list(ends.budgets),
            "ci_method": {entry.metric.name: entry.method for entry in ends.entries},
        },
        "conditions": _conditions(summary, ends),
        "unreliable": _unreliable(summary, study.flags),
        "zero_spread": _zero_spread(summary),
        "not_finite": _not_finite(summary),
        **evidence_document(summary, study.evidence),
    }


def _outcome(record: Record, name: str, factors: Mapping[str, Any], metrics: Sequence[str]) -> dict[str, Any]:
    """A cell's result without its provenance; every metric of the sweep in one order, null where it has no value."""
    result = record.result or {}
    cell, measured = record.cell, result["metrics"]
    return {
        "cell": name,
        **factors,
        "run_id": cell.run_id,
        "seed": cell.seed,
        "condition_id": name.rpartition("_run_")[0],
        **{key: result.get(key) for key in _OUTCOME},
        "metrics": {metric: None if (value := measured.get(metric)) is None else float(value) for metric in metrics},
    }


def _completeness(summary: Summary) -> list[dict[str, int]]:
    """Cells of each condition by state. Cells that were started count as missing: nothing of them is final."""
    counts = {
        "completed": summary.completed,
        "diverged": summary.count(DIVERGED),
        "failed": summary.count(FAILED),
        "conflict": summary.count(CONFLICT),
        "missing": summary.count(MISSING) + summary.count(STARTED),
    }
    return [{"planned": len(summary.seeds), **row} for row in rows(counts)]


def _total(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    return {key: sum(row[key] for row in counts) for key in counts[0]}


def _statistics(entry: MetricSummary) -> list[dict[str, Any]]:
    """The predecessor's statistics of one metric, one entry a condition."""
    d = entry.description
    columns = {
        "mean": d.mean,
        "std": d.std,
        "n": d.n,
        "ci_lower": entry.t[0],
        "ci_upper": entry.t[1],
        "sem": d.sem,
        "min": d.minimum,
        "max": d.maximum,
        "median": d.median,
    }
    return rows(columns)


def _about(entry: MetricSummary) -> dict[str, Any]:
    metric = entry.metric
    return {
        "kind": metric.kind,
        "better": metric.better or None,
        "chance": metric.chance,
        "ci_method": entry.method,
        "note": entry.note or None,
    }


def _conditions(summary: Summary, ends: LastEpochs) -> dict[str, Any]:
    completion = rows(
        {
            "completed": summary.completed,
            "planned": np.full(len(summary.conditions), len(summary.seeds)),
            "rate": summary.completed / len(summary.seeds),
            "ci_lower": summary.completion[0],
            "ci_upper": summary.completion[1],
        }
    )
    intervals = {entry.metric.name: _intervals(entry) for entry in summary.metrics}
    last = {entry.metric.name: _intervals(entry) for entry in ends.entries}
    return {
        name: {
            "completion": completion[i],
            "intervals": {metric: entries[i] for metric, entries in intervals.items()},
            "last_epochs": {metric: entries[i] for metric, entries in last.items()},
        }
        for i, name in enumerate(summary.conditions)
    }


def _intervals(entry: MetricSummary) -> list[dict[str, Any]]:
    """What suits the metric, one entry a condition."""
    d = entry.description
    return rows(
        {
            "mean": d.mean,
            "n": d.n,
            "ci_lower": entry.suited[0],
            "ci_upper": entry.suited[1],
            "median": d.median,
            "median_ci_lower": entry.median[0],
            "median_ci_upper": entry.median[1],
        }
    )


def _unreliable(summary: Summary, found: Sequence[Flag]) -> list[dict[str, Any]]:
    return [
        {
            "metric": flag.metric,
            "reason": flag.reason,
            "conditions": [summary.conditions[i] for i in flag.conditions] or "all",
        }
        for flag in found
    ]


def _zero_spread(summary: Summary) -> list[dict[str, Any]]:
    """Conditions in which all seeds gave the same number: no interval means anything there."""
    return [
        {"condition": summary.conditions[i], "metric": entry.metric.name, "value": float(entry.description.mean[i])}
        for entry in summary.metrics
        for i in np.flatnonzero(entry.description.zero_spread)
    ]


def _not_finite(summary: Summary) -> list[dict[str, Any]]:
    """Where COMPLETED cells have no finite value of a metric, so that its n is below n_runs."""
    return [
        {"condition": summary.conditions[i], "metric": entry.metric.name, "cells": int(entry.absent[i])}
        for entry in summary.metrics
        for i in np.flatnonzero(entry.absent)
    ]
