"""Training curves of one metric: every seed thin, the mean over seeds thick, a panel for each level of a factor."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from aggregate.canvas import LEGEND, colours, draw_chance, footnote, limits, sheet, title
from aggregate.curves import Curves
from aggregate.declaration import POSITIVE, Metric
from aggregate.summary import Summary
from aggregate.wording import axis_label, value_text

_MOST_PANELS, _MOST_LINES = 30, 12
_LOG_RANGE = 10.0
_DASHES = ("-", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))


def draw_curves(summary: Summary, metric: Metric, curves: Curves) -> Figure:
    """Panels: levels of the first factor. Lines: conditions within it, seeds thin.

    Where fewer seeds than usual are left, the mean is not drawn: it would jump with the set of seeds.
    """
    first = summary.factors[0]
    levels = len(first.values)
    panels = min(levels, _MOST_PANELS)
    columns, width = (3, 2.15) if panels <= 9 else (5, 1.6)
    inner = len(summary.conditions) // levels
    page = sheet(panels, columns, (width, 1.6), right=0.25 if inner == 1 else 1.45)
    palette = colours(min(inner, _MOST_LINES)) if inner <= _MOST_LINES else colours(inner)
    span = _scale(page.panels, metric, curves)
    for panel, ax in enumerate(page.panels):
        for line in range(inner):
            style = _DASHES[line % len(_DASHES)] if inner <= _MOST_LINES else "-"
            _draw(ax, curves, panel * inner + line, palette[line], style)
        ax.set_xlim(_epoch_limits(curves))
        ax.set_ylim(draw_chance(ax, metric, span, named=panel == 0) if ax.get_yscale() == "linear" else span)
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        title(ax, f"{first.label} {value_text(first.values[panel])}")
        if page.at_left(panel):
            ax.set_ylabel(axis_label(metric))
        if page.at_bottom(panel):
            ax.set_xlabel("epoch")
    if 1 < inner <= _MOST_LINES:
        _legend(page.panels[min(columns, panels) - 1], summary, inner)
    footnote(page.figure, _footnote(levels, curves))
    return page.figure


def _draw(ax: Axes, curves: Curves, condition: int, colour: tuple[float, ...], style: object) -> None:
    seeds = curves.values[condition]
    present = np.isfinite(seeds)
    segments = [np.column_stack([curves.epochs[kept], row[kept]]) for row, kept in zip(seeds, present, strict=True)]
    ax.add_collection(LineCollection(segments, colors=[colour], linewidths=0.6, alpha=0.35, zorder=2))
    n = curves.n[condition]
    mean = np.where(n == n.max(initial=0), curves.mean[condition], np.nan)
    ax.plot(curves.epochs, mean, color=colour, linestyle=style, linewidth=1.5, zorder=3)


def _scale(panels: list[Axes], metric: Metric, curves: Curves) -> tuple[float, float]:
    """Losses that fall by orders of magnitude are drawn on a logarithmic axis."""
    finite = curves.values[np.isfinite(curves.values)]
    if metric.kind != POSITIVE or not finite.size or finite.min() <= 0 or finite.max() < _LOG_RANGE * finite.min():
        return limits([finite], [])
    for ax in panels:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.minorticks_off()
    return float(finite.min()) / 1.1, float(finite.max()) * 1.1


def _epoch_limits(curves: Curves) -> tuple[float, float]:
    first, last = float(curves.epochs[0]), float(curves.epochs[-1])
    margin = 0.03 * (last - first) or 0.5
    return first - margin, last + margin


def _legend(ax: Axes, summary: Summary, inner: int) -> None:
    names = [", ".join(value_text(value) for _, value in summary.points[i][1:]) for i in range(inner)]
    title = ", ".join(factor.label for factor in summary.factors[1:])
    ax.legend(ax.lines[:inner], names, title=title, handlelength=2.6, **LEGEND)


def _footnote(levels: int, curves: Curves) -> str:
    shown = "" if levels <= _MOST_PANELS else f"; {_MOST_PANELS} of {levels} levels shown"
    ended = curves.n[curves.n > 0]
    changes = ended.size and np.any((curves.n > 0) & (curves.n < curves.n.max(axis=1, keepdims=True)))
    note = "; the mean stops where the set of seeds changes" if changes else ""
    return f"thin: seeds, thick: mean over seeds{note}{shown}"
