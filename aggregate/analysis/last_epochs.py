"""The mean of the last epochs of every run. A best epoch is a minimum over noise, and looks better than the run was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aggregate.analysis.summary import MetricSummary, Summary, summarise_metric
from aggregate.arrays import Floats, Integers
from aggregate.reading.declared import Metric, metrics_of
from aggregate.reading.histories import Histories
from aggregate.reading.records import Gathered
from hpc.sweep.states import COMPLETED
from hpc.units import counted

_PART = 3  # a third of its epochs is the end of a run


@dataclass(frozen=True)
class LastEpochs:
    """asked: `analysis.last_epochs`. count: how many epochs were averaged at most; fewest: at least, in the shortest
    COMPLETED run. entries: one for each metric with a history, in which a cell's value is its mean over those epochs.
    budgets: the different numbers of epochs that COMPLETED cells trained."""

    asked: int
    count: int
    fewest: int
    entries: tuple[MetricSummary, ...]
    budgets: tuple[int, ...]

    @property
    def span(self) -> str:
        """What was averaged, in words."""
        if self.count == 1:
            return "of the last epoch"
        fewest = f"{self.fewest} to " if self.fewest < self.count else ""
        return f"mean of the last {fewest}{counted(self.count, 'epoch')}{self.shortened}"

    @property
    def shortened(self) -> str:
        """Why these are fewer than `analysis.last_epochs`; empty where they are not."""
        return f" (at most a third of a run, not {self.asked})" if self.count < self.asked else ""

    def beside(self, metric: Metric) -> MetricSummary | None:
        """The entry that stands beside a metric of a best epoch: ``best_val_loss`` and ``val_loss``."""
        name = metric.name.removeprefix("best_")
        return next((e for e in self.entries if name != metric.name and e.metric.name == name), None)


def last_epochs(gathered: Gathered, summary: Summary, histories: Histories, count: int) -> LastEpochs:
    """Average the last epochs of every history, and describe that over seeds. count: how many of them at most; of a
    short run no more than a third, since a mean over most of its epochs would be of its training, not of its end."""
    cells = summary.states.size
    present, starts, lengths = histories.runs
    kept = np.minimum(count, np.maximum(lengths // _PART, 1))
    rows = _last_rows(starts, lengths, kept)
    owner = np.repeat(np.arange(len(present)), kept)
    entries = []
    for metric in metrics_of(gathered.sweep, histories.columns):
        values = np.full(cells, np.nan)
        values[present] = _means(histories.columns[metric.name][rows], owner, len(present))
        entries.append(summarise_metric(metric, summary.states, values.reshape(summary.states.shape), summary.level))
    budgets = {record.result["epochs"] for record in gathered.records if record.result and record.state == COMPLETED}
    done = kept[summary.states.ravel()[present] == COMPLETED]
    most, fewest = (int(done.max()), int(done.min())) if done.size else (count, count)
    return LastEpochs(count, most, fewest, tuple(entries), tuple(sorted(budgets)))


def _last_rows(starts: Integers, lengths: Integers, kept: Integers) -> Integers:
    """Rows of the last epochs of every cell; the rows of a cell lie together, in the order of its epochs."""
    first = starts + lengths - kept
    return np.repeat(first - (np.cumsum(kept) - kept), kept) + np.arange(kept.sum())


def _means(values: Floats, owner: Integers, cells: int) -> Floats:
    """Mean of each cell's rows; NaN if one of them is missing: an average of what is left would be of other epochs."""
    total = np.bincount(owner, weights=values, minlength=cells)
    return total / np.maximum(np.bincount(owner, minlength=cells), 1)
