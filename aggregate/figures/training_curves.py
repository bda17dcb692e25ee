"""Training curves of one metric: mean over seeds with a band for the whole curve, seeds where they are few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from aggregate.analysis.curves import Curves
from aggregate.analysis.summary import Summary
from aggregate.figures.axes import Span, chance_text, limits
from aggregate.figures.canvas import (
    BOTTOM,
    GREY,
    LEGEND,
    Pages,
    Sheet,
    colours,
    left_of,
    printed_column,
    set_scale,
    side_by_side,
)
from aggregate.figures.labels import footnote, key_below, key_room, text_width, titles, x_axis_label, y_label
from aggregate.reading.declared import Factor, Metric
from aggregate.stats.bands import FEWEST_SEEDS
from aggregate.wording import percent, value_text
from hpc.sweep.crossing import ABSENT

_MOST_PANELS, _MOST_LINES = 60, 12
_TOGETHER = 4  # bands that can be told apart in one panel
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))


@dataclass(frozen=True)
class _Line:
    """Which row of the curves, how it looks, and whether its band and its seeds are drawn."""

    row: int
    colour: tuple[float, float, float, float]
    style: Any
    seeds: bool


def draw_curves(summary: Summary, metric: Metric, curves: Curves, pages: Pages) -> Figure:
    """Every condition. Panels: levels of the first factor; lines: conditions within it."""
    found = summary.crossings.of(0)
    levels = len(found.conditions)
    texts = [", ".join(map(value_text, values)) for values in found.combinations]
    heading = ", ".join(factor.label for factor in summary.factors[1:])
    span, factor = _span(metric, curves), summary.factors[0]
    page = _page(pages, min(levels, _MOST_PANELS), left_of(metric, span), heading, texts)
    for panel, ax in enumerate(page.panels):
        _draw_panel(ax, curves, _lines(found.conditions[panel].tolist()))
    shown = "" if levels <= _MOST_PANELS else f"; {_MOST_PANELS} of {levels} levels shown"
    said = _titles(page, factor, [value_text(value) for value in factor.values])
    return _finished(page, summary, metric, curves, span, said + shown)


def draw_level_curves(
    summary: Summary, metric: Metric, curves: Curves, axis: int, pages: Pages, where: str = ""
) -> Figure:
    """One line for each level of a factor, its seeds averaged over all else. curves: as made by curves.by_level. where:
    over what they are averaged, if that is not all else."""
    factor = summary.factors[axis]
    texts = [value_text(value) for value in factor.values]
    many = min(len(texts), _MOST_PANELS) if len(texts) > _MOST_LINES else 0  # then each has a panel
    span = _span(metric, curves)
    left = left_of(metric, span)
    size = None if many else (4.6, 3.0)
    page = _page(pages, many or 1, left, factor.label, [] if many else texts, size)
    for panel, ax in enumerate(page.panels):
        _draw_panel(ax, curves, _lines(range(panel, panel + 1) if many else range(len(texts))))
    said = _titles(page, factor, texts) if many else ""
    others = [other.label for i, other in enumerate(summary.factors) if i != axis]
    shown = f"; {many} of {len(texts)} levels shown" if 0 < many < len(texts) else ""
    over = f"; averaged over {' and '.join(others)} within each seed{where}{shown}"
    return _finished(page, summary, metric, curves, span, said + over)


def _titles(page: Sheet, factor: Factor, texts: list[str]) -> str:
    shown = texts[: len(page.panels)]
    return titles(page, factor.label, shown, [f"{factor.label} {text}" for text in shown])


def _page(
    pages: Pages, panels: int, left: float, heading: str, texts: list[str], size: tuple[float, float] | None = None
) -> Sheet:
    columns, width = side_by_side(panels)
    size = size or (width, 1.6)
    if not 1 < len(texts) <= _MOST_LINES:
        return pages.sheet(panels, columns, size, left=left)
    handles = [Line2D([], [], color=line.colour, linestyle=line.style) for line in _lines(range(len(texts)))]
    if printed_column():
        page = pages.sheet(panels, columns, size, left=left, bottom=BOTTOM + key_room(heading, texts))
        key_below(page.figure, handles, heading, texts)
        return page
    page = pages.sheet(panels, columns, size, left=left, right=0.75 + text_width([heading, *texts]))
    page.panels[page.columns - 1].legend(handles, texts, title=heading, handlelength=2.6, **LEGEND)
    return page


def _lines(rows: Sequence[int]) -> list[_Line]:
    """A line for each row; those of ABSENT conditions have their colours alone."""
    few = len(rows) <= _TOGETHER
    styled = len(rows) <= _MOST_LINES
    return [
        _Line(row, colour, _DASHES[i % len(_DASHES)] if styled else "-", few)
        for i, (row, colour) in enumerate(zip(rows, colours(len(rows)), strict=True))
        if row != ABSENT
    ]


def _draw_panel(ax: Axes, curves: Curves, lines: list[_Line]) -> None:
    full = curves.full
    for line in lines:
        banded = bool(np.isfinite(curves.low[line.row]).any())
        if line.seeds or not banded:
            _draw_seeds(ax, curves, line, faint=banded)
        if banded:
            ax.fill_between(
                curves.epochs,
                curves.low[line.row],
                curves.high[line.row],
                color=line.colour,
                alpha=0.2 if len(lines) <= _TOGETHER else 0.12,
                linewidth=0,
                zorder=1.5,
            )
        _draw_mean(ax, curves, line, full[line.row])
    _mark_changes(ax, curves, lines)
    ax.set_xlim(_epoch_limits(curves))
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def _draw_seeds(ax: Axes, curves: Curves, line: _Line, *, faint: bool) -> None:
    seeds = curves.values[line.row]
    present = np.isfinite(seeds)
    segments = [np.column_stack([curves.epochs[kept], row[kept]]) for row, kept in zip(seeds, present, strict=True)]
    width, alpha = (0.6, 0.45) if faint else (0.7, 0.6)
    ax.add_collection(LineCollection(segments, colors=[line.colour], linewidths=width, alpha=alpha, zorder=2))


def _draw_mean(ax: Axes, curves: Curves, line: _Line, full: NDArray[np.bool_]) -> None:
    """The mean where all seeds are there, dotted beyond."""
    mean, n = curves.mean[line.row], curves.n[line.row]
    ax.plot(
        curves.epochs,
        np.where(full, mean, np.nan),
        color=line.colour,
        linestyle=line.style,
        linewidth=1.5,
        marker="o" if len(curves.epochs) == 1 else "",
        markersize=3,
        zorder=3,
    )
    rest = np.where((n > 0) & ~full, mean, np.nan)
    if np.isfinite(rest).any():
        ax.plot(curves.epochs, rest, color=line.colour, linestyle=":", linewidth=0.8, zorder=2.5)


def _mark_changes(ax: Axes, curves: Curves, lines: list[_Line]) -> None:
    """The number of seeds, at the foot of a panel, wherever the set of seeds of one of its lines changes."""
    n = curves.n[[line.row for line in lines]]
    for at in np.flatnonzero((np.diff(n, axis=1) != 0).any(axis=0)) + 1:
        left = n[n[:, at] != n[:, at - 1], at]
        text = f"n={left.min()}" if left.min() == left.max() else f"n={left.min()}-{left.max()}"
        place = (float(curves.epochs[at]), 0.015)
        ax.axvline(place[0], color=GREY, linewidth=0.5, linestyle=":", zorder=1)
        ax.annotate(text, place, xycoords=ax.get_xaxis_transform(), ha="left", fontsize=6, color=GREY)


def _span(metric: Metric, curves: Curves) -> Span:
    return limits(metric, [curves.values], [curves.low, curves.high])


def _finished(page: Sheet, summary: Summary, metric: Metric, curves: Curves, span: Span, more: str) -> Figure:
    for panel, ax in enumerate(page.panels):
        set_scale(ax, metric, span)
        if page.at_left(panel):
            y_label(ax, metric, log=span.log)
    x_axis_label(page, "epoch")
    footnote(page.figure, _footnote(summary, curves) + more + chance_text(metric, span))
    return page.figure


def _epoch_limits(curves: Curves) -> tuple[float, float]:
    first, last = float(curves.epochs[0]), float(curves.epochs[-1])
    margin = 0.03 * (last - first) or 0.5
    return first - margin, last + margin


def _footnote(summary: Summary, curves: Curves) -> str:
    mean = "geometric mean" if curves.log else "mean"
    if len(summary.seeds) == 1:
        text = "one seed, no band"
    elif not np.isfinite(curves.low).any():
        few = f", no band below {FEWEST_SEEDS}"
        text = f"thick: {mean} over seeds; thin: seeds{few}"
    else:
        text = f"{mean} over seeds, {percent(summary.level)} band for the whole curve"
        bare = (curves.n.max(axis=1) > 0) & ~np.isfinite(curves.low).any(axis=1)
        text += f" (none of fewer than {FEWEST_SEEDS} seeds)" if bare.any() else ""
    changes = bool(np.any((curves.n > 0) & ~curves.full))
    why = ", since others had stopped early" if summary.early is not None and summary.early.any() else ""
    return text + (f"; dotted: fewer seeds{why}" if changes else "")
