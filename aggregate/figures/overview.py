"""The statistical summary: every condition's mean, interval and seeds for each primary metric, on one page."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aggregate.analysis.summary import MetricSummary, Summary
from aggregate.arrays import Floats
from aggregate.figures.axes import limits
from aggregate.figures.canvas import GREY, colours, set_scale, sheet
from aggregate.figures.labels import fitted, footnote, name_rows, row_stretch, text_width, title
from aggregate.wording import better_text, percent, value_text

_MOST_METRICS = 4
_ROW, _TALLEST, _WIDTH = 0.19, 16.0, 2.7
_SMALLEST_LABELLED_ROW = 0.13
_HEADED, _HEADER_LINE = 1.15, 0.1  # inches, so that factors are named above their levels


def draw_overview(summary: Summary) -> Figure:
    """Conditions from top to bottom in the order of the grid, a column for each primary metric."""
    metrics = summary.primary_metrics()[:_MOST_METRICS]
    count = len(summary.conditions)
    names = [", ".join(value_text(value) for _, value in point) for point in summary.points]
    margin = max(0.35 + text_width(names), _HEADED)
    height = min(max(row_stretch(margin) * _ROW * count, 0.9), _TALLEST)
    header, points = fitted(", ".join(factor.label for factor in summary.factors), margin - 0.15, 8.0, lines=None)
    top = max(0.4, 0.1 + _HEADER_LINE * (header.count("\n") + 1))
    page = sheet(len(metrics), len(metrics), (_WIDTH, height), left=margin, right=0.6, top=top, rows=True)
    for entry, ax in zip(metrics, page.panels, strict=True):
        _draw(ax, summary, entry)
    for panel, ax in enumerate(page.panels):
        if page.at_left(panel):
            _label_rows(ax, names, height / count)
        if panel % page.columns == page.columns - 1 or panel == len(metrics) - 1:
            _counts(ax, summary, height / count)
    place = 0.1 / page.figure.get_figwidth(), page.panels[0].get_position().y1 + 0.05 / page.figure.get_figheight()
    page.figure.text(*place, header, fontsize=points, va="bottom", linespacing=0.95)
    footnote(page.figure, _legend(summary, metrics))
    return page.figure


def _draw(ax: Axes, summary: Summary, entry: MetricSummary) -> None:
    rows = np.arange(len(summary.conditions))
    palette = _palette(summary)
    low, high = entry.suited
    ax.hlines(rows, low, high, colors=[tuple(colour) for colour in palette], linewidth=1.3, zorder=3)
    seeds = entry.values.shape[1]
    ax.scatter(
        entry.values.ravel(), np.repeat(rows + 0.25, seeds), s=6, c=np.repeat(palette, seeds, axis=0), alpha=0.55, lw=0
    )
    ax.scatter(entry.centre, rows, s=18, c=palette, zorder=4)
    ax.set_ylim(len(rows) - 0.3, -0.7)
    ax.grid(visible=False)
    ax.grid(visible=True, axis="x")
    span = limits(entry.metric, [entry.values], entry.suited)
    set_scale(ax, entry.metric, span, across=False)
    title(ax, entry.metric.label)
    ax.set_xlabel(", ".join(filter(None, [better_text(entry.metric), "log scale" if span.log else ""])))
    slower = summary.crossings.places[:, :-1]  # a rule between groups of the slower factors
    for edge in np.flatnonzero((np.diff(slower, axis=0) != 0).any(axis=1)).tolist():
        ax.axhline(edge + 0.5, color="#d8d8d8", linewidth=0.6)


def _palette(summary: Summary) -> Floats:
    """A colour for each condition, by its level of the fastest factor; shape (conditions, 4)."""
    return np.array(colours(len(summary.factors[-1].values)))[summary.crossings.places[:, -1]]


def _label_rows(ax: Axes, names: list[str], row: float) -> None:
    """row: height of a row in inches; if it is too small for a label, only some rows get one."""
    step = int(np.ceil(_SMALLEST_LABELLED_ROW / row))
    ax.tick_params(labelleft=True, length=0, axis="y")
    name_rows(ax, names, 7.5, beside=0.15, step=step)


def _counts(ax: Axes, summary: Summary, row: float) -> None:
    """COMPLETED of planned cells beside every row."""
    if row < _SMALLEST_LABELLED_ROW:
        return
    planned = len(summary.seeds)
    for i, completed in enumerate(summary.completed.tolist()):
        text, weight = f"{completed}/{planned}", "normal" if completed == planned else "bold"
        ax.text(1.02, i, text, transform=ax.get_yaxis_transform(), va="center", fontsize=7, color=GREY, weight=weight)


def _legend(summary: Summary, metrics: list[MetricSummary]) -> str:
    methods = " / ".join(dict.fromkeys(entry.method for entry in metrics))
    centres = " / ".join(dict.fromkeys(entry.centre_name for entry in metrics))
    drawn = (
        f"{centres}, seeds and {percent(summary.level)} {methods} interval" if len(summary.seeds) > 1 else "one seed"
    )
    chance = "; dashed: chance" if any(entry.metric.chance is not None for entry in metrics) else ""
    return f"{drawn}; right: completed of planned cells{chance}"
