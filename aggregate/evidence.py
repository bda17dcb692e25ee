"""All that a sweep is evidence of: claims, comparisons, what pairing was worth, whether failures hang on a factor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from aggregate.analysis import Analysis
from aggregate.claims import Claim, Claims, make_claims
from aggregate.comparisons import Comparison, Pairing, compare, pairings
from aggregate.contrasts import Levels
from aggregate.missingness import Missingness, missingness
from aggregate.plain import number, rows
from aggregate.summary import Summary


@dataclass(frozen=True)
class Evidence:
    """See the modules of each part."""

    claims: Claims
    comparisons: tuple[Comparison, ...]
    pairings: tuple[Pairing, ...]
    missingness: tuple[Missingness, ...]


def weigh(summary: Summary, analysis: Analysis, planned: Levels) -> Evidence:
    """planned: the levels of every factor in the first revision of the grid."""
    return Evidence(
        make_claims(summary, analysis, planned), compare(summary, analysis), pairings(summary), missingness(summary)
    )


def evidence_document(summary: Summary, evidence: Evidence) -> dict[str, Any]:
    """The evidence as plain data, for statistics.json."""
    claims = evidence.claims
    return {
        "claims": {
            "alpha": claims.alpha,
            "correction": claims.correction,
            "family": [_claim(claim) for claim in claims.family],
            "exploratory_correction": "benjamini-hochberg",
            "exploratory": [_claim(claim) for claim in claims.exploratory],
        },
        "comparisons": {entry.metric.name: _comparison(summary, entry) for entry in evidence.comparisons},
        "pairing": {entry.metric.name: _pairing(entry) for entry in evidence.pairings},
        "missingness": [_missing(entry) for entry in evidence.missingness],
    }


def _claim(claim: Claim) -> dict[str, Any]:
    worst = claim.worst
    return {
        "metric": claim.metric.name,
        "label": claim.metric.label,
        "kind": claim.kind,
        "factors": list(claim.factors),
        "per": claim.unit,
        "confirmatory": claim.confirmatory,
        "status": claim.status,
        "reason": claim.reason or None,
        "seeds": claim.seeds,
        "planned_seeds": claim.planned,
        **{name: number(getattr(claim, name)) for name in ("estimate", "low", "high", "p", "adjusted")},
        "page_p": number(claim.page),
        "failed_as_worst": worst
        and {"cells": worst.cells, "seeds": worst.seeds, "estimate": number(worst.estimate), "p": number(worst.p)},
        "per_seed": [number(value) for value in claim.per_seed],
    }


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
        "equivalence_p": entry.equivalence,
    }
    found = zip(summary.conditions, rows(columns), strict=True)
    return {
        "reference": summary.conditions[entry.reference],
        "stamp": "exploratory",
        "equivalence_margin": entry.margin,
        "conditions": {name: row for i, (name, row) in enumerate(found) if i != entry.reference},
    }


def _pairing(entry: Pairing) -> dict[str, Any]:
    return {
        "seed_correlation": number(entry.correlation),
        "seeds": entry.seeds,
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


def planned_levels(manifest: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The levels of every factor when the sweep began. manifest: the content of sweep.json."""
    return {str(name): list(values) for name, values in manifest["revisions"][0]["grid"]["axes"]}
