"""The statistical summary: every condition's mean, interval and seeds for each primary metric, on one page."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aggregate.analysis.summary import MetricSummary, Summary
from aggregate.arrays import Floats
from aggregate.figures.axes import limits
from aggregate.figures.canvas import GREY, colours, draw_chance, sheet
from aggregate.figures.labels import footnote, text_width, title
from aggregate.wording import better_text, percent, value_text

_MOST_METRICS = 4
_ROW, _TALLEST, _WIDTH = 0.19, 16.0, 2.7
_SMALLEST_LABELLED_ROW = 0.13


def draw_overview(summary: Summary) -> Figure:
    """Conditions from top to bottom in the order of the grid, a column for each primary metric."""
    metrics = summary.primary_metrics()[:_MOST_METRICS]
    count = len(summary.conditions)
    height = min(max(_ROW * count, 0.9), _TALLEST)
    names = [", ".join(value_text(value) for _, value in point) for point in summary.points]
    margin = 0.35 + text_width(names)
    page = sheet(len(metrics), len(metrics), (_WIDTH, height), left=margin, right=0.6, top=0.4)
    for entry, ax in zip(metrics, page.panels, strict=True):
        _draw(ax, summary, entry)
    _label_rows(page.panels[0], names, height / count)
    _counts(page.panels[-1], summary, height / count)
    header = ", ".join(factor.name for factor in summary.factors)
    page.figure.text(0.1 / page.figure.get_figwidth(), 1 - 0.27 / page.figure.get_figheight(), header, fontsize=8)
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
    ax.set_xlim(draw_chance(ax, entry.metric, limits(entry.metric, [entry.values], entry.suited), across=False))
    title(ax, entry.metric.label)
    ax.set_xlabel(better_text(entry.metric))
    inner = len(summary.factors[-1].values)
    if len(summary.factors) > 1:  # a rule between groups of the slower factors
        for edge in range(inner, len(rows), inner):
            ax.axhline(edge - 0.5, color="#d8d8d8", linewidth=0.6)


def _palette(summary: Summary) -> Floats:
    """A colour for each condition, by its level of the fastest factor; shape (conditions, 4)."""
    inner = len(summary.factors[-1].values)
    return np.tile(np.array(colours(inner)), (len(summary.conditions) // inner, 1))


def _label_rows(ax: Axes, names: list[str], row: float) -> None:
    """row: height of a row in inches; if it is too small for a label, only some rows get one."""
    step = int(np.ceil(_SMALLEST_LABELLED_ROW / row))
    ax.tick_params(labelleft=True, length=0, axis="y")
    ax.set_yticks(range(0, len(names), step), names[::step], fontsize=7.5)


def _counts(ax: Axes, summary: Summary, row: float) -> None:
    """COMPLETED of planned cells beside every row."""
    if row < _SMALLEST_LABELLED_ROW:
        return
    planned = len(summary.seeds)
    for i, completed in enumerate(summary.completed.tolist()):
        weight = "normal" if completed == planned else "bold"
        place = (1.02, i)
        ax.text(
            *place,
            f"{completed}/{planned}",
            transform=ax.get_yaxis_transform(),
            va="center",
            fontsize=7,
            color=GREY,
            weight=weight,
        )


def _legend(summary: Summary, metrics: list[MetricSummary]) -> str:
    methods = " / ".join(dict.fromkeys(entry.method for entry in metrics))
    centres = " / ".join(dict.fromkeys(entry.centre_name for entry in metrics))
    drawn = (
        f"{centres}, seeds and {percent(summary.level)} {methods} interval" if len(summary.seeds) > 1 else "one seed"
    )
    chance = "; dashed: chance" if any(entry.metric.chance is not None for entry in metrics) else ""
    return f"{drawn}; right: completed of planned cells{chance}"
