"""A sweep gathered and computed: all that the documents, the figures and the report are made of. No drawing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from aggregate.analysis import Analysis
from aggregate.curves import Curves, curves
from aggregate.declaration import BOUNDED, POSITIVE, Metric, metrics_of
from aggregate.evidence import Evidence, planned_levels, weigh
from aggregate.gather import Gathered
from aggregate.histories import Histories
from aggregate.last_epochs import LastEpochs, last_epochs
from aggregate.reading import Reading
from aggregate.reliability import Flag, flags
from aggregate.summary import Summary, summarise
from hpc.storage.results import paused_collector
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


def study(reading: Reading) -> Study:
    """Compute everything. Raises OSError naming the path if a file cannot be read."""
    with paused_collector():
        return _study(reading)


def _study(reading: Reading) -> Study:
    manifest, analysis = reading.manifest(), Analysis.of(reading.sweep.analysis)
    gathered, histories = reading.gathered(), reading.histories()
    summary = summarise(gathered)
    return Study(
        manifest=manifest,
        analysis=analysis,
        gathered=gathered,
        histories=histories,
        summary=summary,
        evidence=weigh(summary, analysis, planned_levels(manifest)),
        ends=last_epochs(gathered, summary, histories, analysis.last_epochs),
        flags=flags(summary),
        remarks=tuple(reading.remarks()),
    )
