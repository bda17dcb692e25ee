"""Training curves of one metric: every seed thin, the mean over seeds thick, a panel for each level of a factor."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from aggregate.canvas import (
    LEGEND,
    Sheet,
    Span,
    chance_text,
    colours,
    draw_chance,
    footnote,
    limits,
    sheet,
    text_width,
    title,
)
from aggregate.curves import Curves
from aggregate.declaration import POSITIVE, Metric
from aggregate.summary import Summary
from aggregate.wording import axis_label, value_text

_MOST_PANELS, _MOST_LINES = 30, 12
_LOG_RANGE = 10.0
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))


def draw_curves(summary: Summary, metric: Metric, curves: Curves) -> Figure:
    """Panels: levels of the first factor. Lines: conditions within it, seeds thin.

    Where fewer seeds than usual are left, the mean is not drawn: it would jump with the set of seeds.
    """
    levels = len(summary.factors[0].values)
    inner = len(summary.conditions) // levels
    page = _page(summary, min(levels, _MOST_PANELS), inner)
    span = _scale(page.panels, metric, curves)
    for panel, ax in enumerate(page.panels):
        _draw_panel(ax, summary, curves, panel, inner)
        ax.set_ylim(draw_chance(ax, metric, span))
        if page.at_left(panel):
            ax.set_ylabel(axis_label(metric))
        if page.at_bottom(panel):
            ax.set_xlabel("epoch")
    footnote(page.figure, _footnote(levels, curves) + chance_text(metric, span))
    return page.figure


def _page(summary: Summary, panels: int, inner: int) -> Sheet:
    columns, width = (3, 2.15) if panels <= 9 else (5, 1.6)
    if not 1 < inner <= _MOST_LINES:
        return sheet(panels, columns, (width, 1.6))
    heading, *names = _legend_texts(summary, inner)
    page = sheet(panels, columns, (width, 1.6), right=0.75 + text_width([heading, *names]))
    handles = [
        Line2D([], [], color=colour, linestyle=_DASHES[line % len(_DASHES)])
        for line, colour in enumerate(colours(inner))
    ]
    page.panels[min(columns, panels) - 1].legend(handles, names, title=heading, handlelength=2.6, **LEGEND)
    return page


def _draw_panel(ax: Axes, summary: Summary, curves: Curves, panel: int, inner: int) -> None:
    factor = summary.factors[0]
    for line, colour in enumerate(colours(inner)):
        style = _DASHES[line % len(_DASHES)] if inner <= _MOST_LINES else "-"
        _draw(ax, curves, panel * inner + line, colour, style)
    ax.set_xlim(_epoch_limits(curves))
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    title(ax, f"{factor.label} {value_text(factor.values[panel])}")


def _draw(ax: Axes, curves: Curves, condition: int, colour: tuple[float, ...], style: Any) -> None:
    seeds = curves.values[condition]
    present = np.isfinite(seeds)
    segments = [np.column_stack([curves.epochs[kept], row[kept]]) for row, kept in zip(seeds, present, strict=True)]
    ax.add_collection(LineCollection(segments, colors=[colour], linewidths=0.6, alpha=0.35, zorder=2))
    n = curves.n[condition]
    mean = np.where(n == n.max(initial=0), curves.mean[condition], np.nan)
    ax.plot(curves.epochs, mean, color=colour, linestyle=style, linewidth=1.5, zorder=3)


def _scale(panels: list[Axes], metric: Metric, curves: Curves) -> Span:
    """Losses that fall by orders of magnitude are drawn on a logarithmic axis."""
    finite = curves.values[np.isfinite(curves.values)]
    if metric.kind != POSITIVE or not finite.size or finite.min() <= 0 or finite.max() < _LOG_RANGE * finite.min():
        return limits(metric, [finite], [])
    for ax in panels:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.minorticks_off()
    return Span(float(finite.min()) / 1.1, float(finite.max()) * 1.1, log=True)


def _epoch_limits(curves: Curves) -> tuple[float, float]:
    first, last = float(curves.epochs[0]), float(curves.epochs[-1])
    margin = 0.03 * (last - first) or 0.5
    return first - margin, last + margin


def _legend_texts(summary: Summary, inner: int) -> list[str]:
    """Labels of all factors but the first, then their values on each line."""
    heading = ", ".join(factor.label for factor in summary.factors[1:])
    return [heading, *(", ".join(value_text(value) for _, value in summary.points[i][1:]) for i in range(inner))]


def _footnote(levels: int, curves: Curves) -> str:
    shown = "" if levels <= _MOST_PANELS else f"; {_MOST_PANELS} of {levels} levels shown"
    ended = curves.n[curves.n > 0]
    changes = ended.size and np.any((curves.n > 0) & (curves.n < curves.n.max(axis=1, keepdims=True)))
    note = "; the mean stops where the set of seeds changes" if changes else ""
    return f"thin: seeds, thick: mean over seeds{note}{shown}"
