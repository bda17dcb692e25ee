"""Metric versus factor: mean line, interval whiskers and a dot for every seed."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from aggregate.analysis.summary import MetricSummary, Summary
from aggregate.arrays import Floats, Integers
from aggregate.figures.axes import Span, chance_text, limits, positions, spacing
from aggregate.figures.canvas import FAINT, GREY, LEGEND, MARKERS, Pages, Sheet, colours, draw_chance, factor_axis
from aggregate.figures.labels import footnote, text_width, title, y_label
from aggregate.reading.declared import Factor
from aggregate.wording import percent, value_text

TOGETHER = 4  # lines that can be told apart in one panel
MOST_PANELS = 30
_CONTEXT = 12  # faint lines of the other panels
_BESIDE = 0.075  # inches

Number = TypeVar("Number", np.float64, np.int64)


@dataclass(frozen=True)
class Lines:
    """A metric as lines over one factor; every array has shape (lines, levels) but values (lines, levels, seeds).

    names: what the other factors are on each line; empty if there are none. title: their labels. short: their values.
    """

    factor: Factor
    names: list[str]
    title: str
    short: list[str]
    values: Floats
    mean: Floats
    low: Floats
    high: Floats
    n: Integers


def draw_versus(summary: Summary, entry: MetricSummary, axis: int, pages: Pages, *, narrow: bool = False) -> Figure:
    """One metric over the factor of one axis. narrow: for a telephone's screen."""
    lines = _lines(summary, entry, axis)
    page = (_together if len(lines.names) <= TOGETHER else _apart)(lines, pages, narrow=narrow)
    span = limits(entry.metric, [lines.values], [lines.low, lines.high])
    for panel, ax in enumerate(page.panels):
        ax.set_ylim(draw_chance(ax, entry.metric, span))
        if page.at_left(panel):
            y_label(ax, entry.metric)
    footnote(page.figure, _legend(summary, entry, lines, span) + chance_text(entry.metric, span))
    return page.figure


def _lines(summary: Summary, entry: MetricSummary, axis: int) -> Lines:
    others = [factor for i, factor in enumerate(summary.factors) if i != axis]
    texts = [[value_text(value) for value in row] for row in itertools.product(*(factor.values for factor in others))]

    def arranged(array: NDArray[Number]) -> NDArray[Number]:
        grid = np.moveaxis(array.reshape(*summary.shape, *array.shape[1:]), axis, len(summary.shape) - 1)
        return grid.reshape(len(texts), summary.shape[axis], *array.shape[1:])

    return Lines(
        factor=summary.factors[axis],
        names=[", ".join(f"{f.label} {text}" for f, text in zip(others, row, strict=True)) for row in texts],
        title=", ".join(f.label for f in others),
        short=[", ".join(row) for row in texts],
        values=arranged(entry.values),
        mean=arranged(entry.centre),
        low=arranged(entry.suited[0]),
        high=arranged(entry.suited[1]),
        n=arranged(entry.description.n),
    )


def _together(lines: Lines, pages: Pages, *, narrow: bool) -> Sheet:
    """All lines in one panel, dodged; a key beside it, or on a narrow page within it."""
    count = len(lines.names)
    width = 2.9 if narrow else 4.6
    beside = 0.35 if count == 1 or narrow else 0.6 + text_width([lines.title, *lines.short])
    page = pages.sheet(1, 1, (width, 3.0), right=beside)
    ax = page.panels[0]
    inch = factor_axis(ax, lines.factor, width, labelled=True)
    step = 0.16 * spacing(positions(lines.factor))
    for line, colour in enumerate(colours(count)):
        _draw(ax, lines, line, colour, MARKERS[line], inch, step * (line - (count - 1) / 2))
    if count > 1:
        handles = [line for line in ax.lines if line.get_label() in lines.names]
        place = {"loc": "best", "fontsize": 8, "title_fontsize": 8} if narrow else LEGEND
        ax.legend(handles, lines.short, title=lines.title, **place)
    return page


def _apart(lines: Lines, pages: Pages, *, narrow: bool) -> Sheet:
    """Small multiples: each line in a panel of its own, the others faint behind it."""
    count = min(len(lines.names), MOST_PANELS)
    columns, width = (1, 2.7) if narrow else (3, 2.15) if count <= 9 else (5, 1.6)
    page = pages.sheet(count, columns, (width, 1.6))
    places = positions(lines.factor)
    order = np.argsort(places)
    for panel, (ax, colour) in enumerate(zip(page.panels, colours(count), strict=True)):
        inch = factor_axis(ax, lines.factor, width, labelled=page.at_bottom(panel))
        if len(lines.names) <= _CONTEXT and lines.factor.ordered:
            ax.plot(places[order], lines.mean[:, order].T, color=FAINT, linewidth=0.8, zorder=1.5)
        _draw(ax, lines, panel, colour, "o", inch)
        title(ax, lines.names[panel])
    return page


def _draw(
    ax: Axes, lines: Lines, line: int, colour: tuple[float, ...], marker: str, inch: float, shift: float = 0.0
) -> None:
    places = positions(lines.factor)
    order = np.argsort(places)
    x = places[order] + shift
    mean, values = lines.mean[line, order], lines.values[line, order]
    width = 1.5 if lines.factor.ordered else 0.0  # between words there is nothing to follow
    ax.plot(x, mean, color=colour, linewidth=width, marker=marker, markersize=4.5, label=lines.names[line], zorder=4)
    if values.shape[1] > 1:
        _draw_seeds(ax, x + _BESIDE * inch, values, colour)
    ax.vlines(x, lines.low[line, order], lines.high[line, order], color=colour, linewidth=1.3, zorder=3)
    for i in np.flatnonzero(lines.n[line, order] < values.shape[1]):
        text = f"n={lines.n[line, order][i]}"
        ax.annotate(text, (x[i], 0.01), xycoords=ax.get_xaxis_transform(), ha="center", fontsize=6.5, color=GREY)


def _draw_seeds(ax: Axes, x: Floats, values: Floats, colour: tuple[float, ...]) -> None:
    """Seeds stand beside their mean, or marker and whisker would hide them."""
    beside = np.repeat(x, values.shape[1])
    ax.scatter(beside, values.ravel(), s=9, color=[colour], alpha=0.75, linewidths=0, zorder=3.5)


def _legend(summary: Summary, entry: MetricSummary, lines: Lines, span: Span) -> str:
    shown = "" if len(lines.names) <= MOST_PANELS else f"; {MOST_PANELS} of {len(lines.names)} lines shown"
    if len(summary.seeds) == 1:
        return f"one seed, no interval{shown}"
    cut = np.any(lines.low < span.low) or np.any(lines.high > span.high)
    method = f"{percent(summary.level)} {entry.method} interval" + (", cut off at the frame" if cut else "")
    return f"large: {entry.centre_name} of {len(summary.seeds)} seeds; small: seeds; whiskers: {method}{shown}"
