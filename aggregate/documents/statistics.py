"""statistics.json: claims, comparisons, intervals and what is doubtful about them.

The document is the same bytes for the same outcomes: no times, nodes, paths or attempts, nothing that
depends on the order in which cells ended, null and never NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from aggregate.analysis.claims import Claim, Piece
from aggregate.analysis.comparisons import Comparison, Pairing
from aggregate.analysis.last_epochs import LastEpochs
from aggregate.analysis.missingness import Missingness
from aggregate.analysis.reliability import Flag
from aggregate.analysis.study import Evidence, Study
from aggregate.analysis.summary import MetricSummary, Summary
from aggregate.arrays import number, rows
from aggregate.described.earlier import Earlier, earlier
from aggregate.described.epochs import value_of
from aggregate.described.levels import AtLevel, by_level
from aggregate.described.trade_offs import TradeOff, trade_offs
from aggregate.documents.aggregated_results import _completeness, _total
from aggregate.stats.weighted import WeightedTest


def statistics_document(study: Study) -> dict[str, Any]:
    """What stands beside the t intervals: intervals that suit each metric, completion rates, flags, claims."""
    summary, ends, epochs = study.summary, study.ends, value_of(study)
    completeness = _completeness(summary)
    return {
        "sweep": summary.name,
        "partial": not summary.complete,
        "level": summary.level,
        "completeness": _total(completeness),
        "primary_metrics": [metric.name for metric in summary.primary],
        "metrics": {entry.metric.name: _about(entry, epochs[entry.metric.name]) for entry in summary.metrics},
        "last_epochs": {
            "count": ends.count,
            "epoch_budgets": list(ends.budgets),
            "ci_method": {entry.metric.name: entry.method for entry in ends.entries},
        },
        "conditions": _conditions(summary, ends),
        "unreliable": _unreliable(summary, study.flags),
        "zero_spread": _zero_spread(summary),
        "not_finite": _not_finite(summary),
        "trade_offs": [_traded(summary, one) for one in trade_offs(study)],
        **evidence_document(summary, study.evidence),
        "earlier_epochs": [_over_epochs(claim, earlier(study, claim)) for claim in study.evidence.claims.family],
    }


def _over_epochs(claim: Claim, found: Sequence[Earlier]) -> dict[str, Any]:
    """What a claim would have been after fewer epochs of the same runs; no entry where that is unknown."""
    question, nats = claim.question, claim.in_nats
    return {
        "metric": question.metric.name,
        "kind": question.kind,
        "factors": list(question.factors),
        "epochs": [
            {
                "after": at.after,
                **_interval(at.test, claim.level),
                "in_nats": at.in_nats and nats and _interval(at.in_nats, nats.level),
                "reason": at.why or None,
            }
            for at in found
        ],
    }


def _interval(test: WeightedTest | None, level: float) -> dict[str, float | None]:
    if test is None:
        return dict.fromkeys(("estimate", "low", "high"))
    low, high = test.interval(level)
    return {"estimate": number(test.estimate), "low": number(low), "high": number(high)}


def _traded(summary: Summary, one: TradeOff) -> dict[str, Any]:
    return {
        "metrics": [entry.metric.name for entry in one.metrics],
        "condition": summary.conditions[one.condition],
        "correlation": number(one.correlation),
        "seeds": one.seeds,
        "adjusted": number(one.adjusted),
        "tried": one.tried,
    }


def _about(entry: MetricSummary, value_of: str) -> dict[str, Any]:
    metric = entry.metric
    return {
        "kind": metric.kind,
        "better": metric.better or None,
        "chance": metric.chance,
        "ci_method": entry.method,
        "value_of": value_of,
        "note": entry.note or None,
    }


def _conditions(summary: Summary, ends: LastEpochs) -> dict[str, Any]:
    completion = rows(
        {
            "completed": summary.completed,
            "ended": summary.ended,
            "planned": np.full(len(summary.conditions), len(summary.seeds)),
            "rate": np.divide(
                summary.completed, summary.ended, out=np.full(len(summary.ended), np.nan), where=summary.ended > 0
            ),
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
            "centre": entry.centre,
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
            "conditions": [summary.conditions[i] for i in flag.conditions],
            "seeds": [list(seeds) for seeds in flag.seeds],
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


def evidence_document(summary: Summary, evidence: Evidence) -> dict[str, Any]:
    """The evidence as plain data, for statistics.json."""
    claims = evidence.claims
    return {
        "claims": {
            "alpha": claims.alpha,
            "looks": {"planned": claims.looks.planned, "taken": claims.looks.taken, "alpha_of_this_look": claims.spent},
            "correction": "holm",
            "family": [_claim(claim) for claim in claims.family],
            "exploratory_correction": "benjamini-hochberg",
            "exploratory": [_claim(claim) for claim in claims.exploratory],
            "exploratory_left_out": list(claims.left_out),
        },
        "comparisons": {entry.metric.name: _comparison(summary, entry) for entry in evidence.comparisons},
        "pairing": {entry.metric.name: _pairing(entry) for entry in evidence.pairings},
        "missingness": [_missing(entry) for entry in evidence.missingness],
    }


def _claim(claim: Claim) -> dict[str, Any]:
    asked, worst, nats, test = claim.question, claim.worst, claim.in_nats, claim.test
    improvement, low, high = map(number, claim.improvement)
    return {
        "metric": asked.metric.name,
        "label": asked.metric.label,
        "kind": asked.kind,
        "factors": list(asked.factors),
        "levels": list(asked.levels),
        "per": asked.unit,
        "scale": "log" if asked.log else "raw",
        "confirmatory": claim.confirmatory,
        "status": claim.status,
        "reason": claim.reason or None,
        "seeds": test.seeds,
        "complete_seeds": claim.complete_seeds,
        "planned_seeds": claim.planned,
        "estimate": number(claim.estimate),
        "level": number(claim.level),
        "low": number(claim.low),
        "high": number(claim.high),
        "degrees_of_freedom": number(test.freedom),
        "p": number(test.p),
        "adjusted": number(claim.adjusted),
        "dz_hedges": number(claim.dz),
        "detectable": number(claim.detectable),
        "probability_of_improvement": improvement and {"estimate": improvement, "low": low, "high": high},
        "failed_as_worst": worst and {"cells": worst.cells, "estimate": number(worst.estimate), "p": number(worst.p)},
        "in_nats": nats and {key: number(getattr(nats, key)) for key in ("estimate", "low", "high", "level", "p")},
        "if_unrelated": _unrelated(claim),
        "combinations": [_combination(piece) for piece in claim.pieces],
        "by_level": [_at_level(one) for one in by_level(claim)],
        "per_seed": [number(value) for value in test.per_seed.tolist()],
    }


def _combination(piece: Piece) -> dict[str, Any]:
    nats = piece.in_nats
    return {
        "where": piece.where,
        "estimate": number(piece.estimate),
        "low": number(piece.low),
        "high": number(piece.high),
        "in_nats": nats and number(nats.estimate),
        "in_nats_low": nats and number(nats.low),
        "in_nats_high": nats and number(nats.high),
        "reason": piece.why or None,
    }


def _at_level(one: AtLevel) -> dict[str, Any]:
    return {
        "level": one.at,
        "where": one.where or None,
        "kept": number(one.kept),
        "other": number(one.other),
        **_interval(one.test, one.level),
        "in_nats": one.in_nats and _interval(one.in_nats, one.level),
    }


def _unrelated(claim: Claim) -> dict[str, Any] | None:
    """The interval, were the errors of the combinations unrelated within seeds; None where that says nothing new."""
    other = claim.unrelated
    if other is None:
        return None
    low, high = other.interval(claim.level)
    return {"low": number(low), "high": number(high), "degrees_of_freedom": number(other.freedom)}


def _comparison(summary: Summary, entry: Comparison) -> dict[str, Any]:
    test = entry.test
    columns = {
        "difference": test.mean,
        "n": test.n,
        "ci_lower": test.low,
        "ci_upper": test.high,
        "p": test.p,
        "p_benjamini_hochberg": entry.adjusted,
        "dz_hedges": entry.dz,
        "probability_of_improvement": entry.improvement,
        "probability_of_improvement_low": entry.improvement_low,
        "probability_of_improvement_high": entry.improvement_high,
        "equivalence_p": entry.equivalence,
    }
    found = zip(summary.conditions, rows(columns), strict=True)
    return {
        "reference": summary.conditions[entry.reference],
        "stamp": "exploratory",
        "scale": "log" if entry.log else "raw",
        "equivalence_margin": entry.margin,
        "conditions": {name: row for i, (name, row) in enumerate(found) if i != entry.reference},
    }


def _pairing(entry: Pairing) -> dict[str, Any]:
    return {
        "seed_correlation": number(entry.correlation),
        "seeds": entry.seeds,
        "standard_deviation_if_unrelated": number(entry.by_chance),
        "paired_over_unpaired_width": number(entry.ratio),
    }


def _missing(entry: Missingness) -> dict[str, Any]:
    levels = zip(entry.factor.values, np.asarray(entry.failed).tolist(), np.asarray(entry.ended).tolist(), strict=True)
    return {
        "factor": entry.factor.name,
        "method": entry.method,
        "p": number(entry.p),
        "levels": [{"value": value, "failed": failed, "ended": ended} for value, failed, ended in levels],
    }
