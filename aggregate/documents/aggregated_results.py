"""aggregated_results.json: every condition with its statistics and its cells.

The document is the same bytes for the same outcomes: no times, nodes, paths or attempts, nothing that
depends on the order in which cells ended, null and never NaN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from aggregate.analysis.study import Study
from aggregate.analysis.summary import MetricSummary, Summary
from aggregate.arrays import rows
from aggregate.reading.records import Record
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
        **({"stopped_early": result["stopped_early"]} if record.stopped_early else {}),
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
    if summary.early is not None:
        counts["stopped_early"] = summary.early.sum(axis=1)
    return [{"planned": len(summary.seeds), **row} for row in rows(counts)]


def _total(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    return {key: sum(row[key] for row in counts) for key in counts[0]}


def _statistics(entry: MetricSummary) -> list[dict[str, Any]]:
    """The predecessor's statistics of one metric, one entry a condition, and what the report shows of it."""
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
        "centre": entry.centre,
        "centre_lower": entry.suited[0],
        "centre_upper": entry.suited[1],
    }
    return rows(columns)
