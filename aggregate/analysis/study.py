"""A sweep gathered and computed: all that the documents, the figures and the report are made of. No drawing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from aggregate.analysis.claims import Claims, make_claims
from aggregate.analysis.comparisons import Comparison, Pairing, compare, pairings
from aggregate.analysis.contrasts import Mask
from aggregate.analysis.curves import Curves, curves
from aggregate.analysis.fixed_analysis import Analysis, Looks, looks_of
from aggregate.analysis.last_epochs import LastEpochs, last_epochs
from aggregate.analysis.missingness import Missingness, missingness
from aggregate.analysis.reliability import Flag, flags
from aggregate.analysis.summary import Summary, summarise
from aggregate.reading.declared import BOUNDED, POSITIVE, Metric, metrics_of
from aggregate.reading.histories import Histories
from aggregate.reading.records import Gathered
from aggregate.reading.sweep import Reading
from hpc.storage.results import paused_collector
from hpc.storage.revisions import begun_with
from hpc.sweep.states import COMPLETED


@dataclass(frozen=True)
class Study:
    """manifest: the content of sweep.json. analysis: of its first revision. remarks: on where the numbers come from.
    For the others see the module of each.
    """

    manifest: Mapping[str, Any]
    analysis: Analysis
    gathered: Gathered
    histories: Histories
    summary: Summary
    evidence: Evidence
    ends: LastEpochs
    flags: tuple[Flag, ...]
    remarks: tuple[str, ...] = ()

    def curves(self) -> Iterator[tuple[Metric, Curves]]:
        """The training curves of every metric that has any; made when asked for."""
        completed = self.summary.states == COMPLETED
        for metric in metrics_of(self.gathered.sweep, self.histories.columns):
            values = self.histories.columns[metric.name]
            if np.isfinite(values).any():
                position, epoch, log = self.histories.position, self.histories.epoch, metric.kind == POSITIVE
                bounded, level = metric.kind == BOUNDED, self.summary.level
                yield metric, curves(position, epoch, values, completed, log=log, bounded=bounded, level=level)


@paused_collector()
def study(reading: Reading) -> Study:
    """Compute everything. Raises OSError naming the path if a file cannot be read."""
    manifest, analysis = reading.manifest, Analysis.of(reading.sweep.analysis)
    gathered, histories = reading.gathered, reading.histories
    summary = summarise(gathered)
    return Study(
        manifest=manifest,
        analysis=analysis,
        gathered=gathered,
        histories=histories,
        summary=summary,
        evidence=weigh(
            summary, analysis, planned_conditions(manifest, summary), looks_of(analysis, manifest["revisions"])
        ),
        ends=last_epochs(gathered, summary, histories, analysis.last_epochs),
        flags=flags(summary),
        remarks=reading.remarks,
    )


@dataclass(frozen=True)
class Evidence:
    """See the modules of each part."""

    claims: Claims
    comparisons: tuple[Comparison, ...]
    pairings: tuple[Pairing, ...]
    missingness: tuple[Missingness, ...]


def weigh(summary: Summary, analysis: Analysis, planned: Mask, looks: Looks) -> Evidence:
    """planned: the conditions of the first revision of the grid, shape (conditions,)."""
    claims = make_claims(summary, analysis, planned, looks)
    return Evidence(claims, compare(summary, analysis), pairings(summary), missingness(summary))


def planned_conditions(manifest: Mapping[str, Any], summary: Summary) -> Mask:
    """Which conditions the sweep began with, shape (conditions,). manifest: the content of sweep.json.

    Raises SweepError if its first revision cannot be read.
    """
    first = begun_with(manifest)
    levels = {axis.name: set(axis.values) for axis in first.axes}
    planned = [all(value in levels.get(name, (value,)) for name, value in point) for point in summary.points]
    if first.rules and [axis.name for axis in first.axes] == [factor.name for factor in summary.factors]:
        planned = [here and first.has(point) for here, point in zip(planned, summary.points, strict=True)]
    return np.array(planned, dtype=bool)
