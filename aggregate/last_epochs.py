"""The mean of the last epochs of every run: what a best epoch, a minimum over noise, promises too well."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aggregate.declaration import Metric, metrics_of
from aggregate.gather import Gathered
from aggregate.histories import Histories
from aggregate.statistics import Floats, Integers
from aggregate.summary import MetricSummary, Summary, summarise_metric
from aggregate.wording import counted
from hpc.sweep.states import COMPLETED


@dataclass(frozen=True)
class LastEpochs:
    """count: how many epochs were averaged at most. entries: one for each metric with a history, in which a cell's
    value is its mean over those epochs. budgets: the different numbers of epochs that COMPLETED cells trained."""

    count: int
    entries: tuple[MetricSummary, ...]
    budgets: tuple[int, ...]

    @property
    def span(self) -> str:
        """Which epochs were averaged, in words: no run has more than it trained."""
        if not self.budgets or self.budgets[0] >= self.count:
            return f"the last {counted(self.count, 'epoch')}"
        most = counted(min(self.count, self.budgets[-1]), "epoch")
        return f"the last {most}" + (", or of all that a run has" if len(self.budgets) > 1 else "")

    def beside(self, metric: Metric) -> MetricSummary | None:
        """The entry that stands beside a metric of a best epoch: ``best_val_loss`` and ``val_loss``."""
        name = metric.name.removeprefix("best_")
        return next((e for e in self.entries if name != metric.name and e.metric.name == name), None)


def last_epochs(gathered: Gathered, summary: Summary, histories: Histories, count: int) -> LastEpochs:
    """Average the last ``count`` epochs of every history, and describe that over seeds."""
    cells = summary.states.size
    present, starts, lengths = np.unique(histories.position, return_index=True, return_counts=True)
    rows = _last_rows(starts, lengths, count)
    owner = np.repeat(np.arange(len(present)), np.minimum(lengths, count))
    entries = []
    for metric in metrics_of(gathered.sweep, histories.columns):
        values = np.full(cells, np.nan)
        values[present] = _means(histories.columns[metric.name][rows], owner, len(present))
        entries.append(summarise_metric(metric, summary.states, values.reshape(summary.states.shape), summary.level))
    budgets = {record.result["epochs"] for record in gathered.records if record.result and record.state == COMPLETED}
    return LastEpochs(count, tuple(entries), tuple(sorted(budgets)))


def _last_rows(starts: Integers, lengths: Integers, count: int) -> Integers:
    """Rows of the last epochs of every cell; the rows of a cell lie together, in the order of its epochs."""
    kept = np.minimum(lengths, count)
    first = starts + lengths - kept
    return np.repeat(first - (np.cumsum(kept) - kept), kept) + np.arange(kept.sum())


def _means(values: Floats, owner: Integers, cells: int) -> Floats:
    """Mean of each cell's rows; NaN if one of them is missing: an average of what is left would be of other epochs."""
    total = np.bincount(owner, weights=values, minlength=cells)
    return total / np.maximum(np.bincount(owner, minlength=cells), 1)
