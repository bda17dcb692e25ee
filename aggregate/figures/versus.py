"""Metric versus factor: mean line, interval whiskers and a dot for every seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from aggregate.analysis.summary import MetricSummary, Summary
from aggregate.arrays import Floats, Integers
from aggregate.figures.axes import Span, axis_label, chance_text, limits, positions, spacing
from aggregate.figures.canvas import (
    BOTTOM,
    FAINT,
    GREY,
    LEGEND,
    MARKERS,
    Pages,
    Sheet,
    colours,
    factor_axis,
    inches,
    left_of,
    long_names,
    printed_column,
    set_scale,
    side_by_side,
)
from aggregate.figures.labels import (
    footnote,
    key_below,
    key_room,
    name_rows,
    row_stretch,
    text_width,
    titles,
    x_axis_label,
    x_label,
    y_label,
)
from aggregate.reading.declared import Factor
from aggregate.wording import percent, value_text
from hpc.sweep.crossing import ABSENT, Crossing

TOGETHER = 4  # lines that can be told apart in one panel
MOST_PANELS = 30
_CONTEXT = 12  # faint lines of the other panels
_BESIDE, _DODGE = 0.06, 0.13  # inches, where levels are far enough from one another
_WIDTH, _NARROW = 4.6, 2.9
_ROW = 0.15  # inches that a line takes of a level with a long name

Number = TypeVar("Number", np.float64, np.int64)


@dataclass(frozen=True)
class Lines:
    """A metric as lines over one factor; every array has shape (lines, points) but places (points,) and values (lines,
    points, seeds). A point is a level; of a factor that moves together with others, one for each combination.

    places: of the points on the factor's axis. joined: whether lines lead from one to the next.
    names: what the other factors are on each line; empty if there are none. title: their labels. short: their values.
    in_rows: the levels' names are so long that they stand below one another, and the metric lies across.
    here: which of them are conditions of the design. span: of the metric's axis. margin: inches left of the panels.
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
    here: NDArray[np.bool_]
    in_rows: bool
    span: Span
    margin: float
    places: Floats
    joined: bool

    def row(self, count: int) -> float:
        """Inches of a level with so many lines."""
        return max(_ROW * count, 0.19 * row_stretch(self.margin))


def draw_versus(summary: Summary, entry: MetricSummary, axis: int, pages: Pages, *, narrow: bool = False) -> Figure:
    """One metric over the factor of one axis. narrow: for a telephone's screen."""
    lines = _lines(summary, entry, axis, _NARROW if narrow or printed_column() else _WIDTH)
    draw = _together if len(lines.names) <= TOGETHER else _apart
    page, said = draw(lines, pages, narrow=narrow)
    span = lines.span
    for panel, ax in enumerate(page.panels):
        set_scale(ax, entry.metric, span, across=not lines.in_rows)
        if lines.in_rows and page.at_bottom(panel):
            x_label(ax, entry.metric, log=span.log)
        elif not lines.in_rows and page.at_left(panel):
            y_label(ax, entry.metric, log=span.log)
    if not lines.in_rows:
        x_axis_label(page, axis_label(lines.factor))
    with_it = [factor.label for i, factor in enumerate(summary.factors) if i in summary.moving(axis) and i != axis]
    said += f"; {' and '.join(with_it)} {'moves' if len(with_it) == 1 else 'move'} with it" if with_it else ""
    footnote(page.figure, _legend(summary, entry, lines) + said + chance_text(entry.metric, span))
    return page.figure


def _lines(summary: Summary, entry: MetricSummary, axis: int, width: float) -> Lines:
    moving = summary.moving(axis)
    others = [factor for i, factor in enumerate(summary.factors) if i not in moving]
    levels, found = _points(summary, axis)
    texts = [[value_text(value) for value in row] for row in found.combinations]
    here = found.conditions.T != ABSENT

    def arranged(array: NDArray[Number], absent: float = np.nan) -> NDArray[Number]:
        grid = array[found.conditions.T]
        grid[~here] = absent
        return grid

    factor = summary.factors[axis]
    values, low, high = arranged(entry.values), arranged(entry.suited[0]), arranged(entry.suited[1])
    in_rows, span = long_names(factor, width), limits(entry.metric, [values], [low, high])
    in_margin = 0.45 + text_width([value_text(value) for value in factor.values])
    return Lines(
        factor=factor,
        names=[", ".join(f"{f.label} {text}" for f, text in zip(others, row, strict=True)) for row in texts],
        title=", ".join(f.label for f in others),
        short=[", ".join(row) for row in texts],
        values=values,
        mean=arranged(entry.centre),
        low=low,
        high=high,
        n=arranged(entry.description.n, 0),
        here=here,
        in_rows=in_rows,
        span=span,
        margin=in_margin if in_rows else left_of(entry.metric, span),
        places=positions(factor)[levels],
        # Between words there is nothing to follow, nor between points that differ in more than this factor.
        joined=factor.ordered and not in_rows and len(moving) == 1,
    )


def _points(summary: Summary, axis: int) -> tuple[Integers, Crossing]:
    """The level at each point, shape (points,), and the points against the other factors."""
    moving = summary.moving(axis)
    if len(moving) == 1:
        return np.arange(len(summary.factors[axis].values)), summary.crossings.of(axis)
    rows, found = summary.crossings.of_several(moving)
    return rows[:, moving.index(axis)], found


def _together(lines: Lines, pages: Pages, *, narrow: bool) -> tuple[Sheet, str]:
    """All lines in one panel, dodged; a key beside it, or on a narrow page within it. With what is to be said of it."""
    count = len(lines.names)
    printed = printed_column() is not None
    size = (_NARROW if narrow or printed else _WIDTH, 3.0)
    if lines.in_rows:
        size = (size[0] - 0.9, len(lines.factor.values) * lines.row(count))
    beside = 0.35 if count == 1 or narrow or printed else 0.6 + text_width([lines.title, *lines.short])
    below = key_room(lines.title, lines.short) if printed and count > 1 else 0.0
    page = pages.sheet(1, 1, size, left=lines.margin, right=beside, bottom=BOTTOM + below, rows=lines.in_rows)
    ax = page.panels[0]
    inch = _level_axis(ax, lines, labelled=True)
    step = min(_DODGE * inch, 0.16 * spacing(positions(lines.factor)))
    for line, colour in enumerate(colours(count)):
        _draw(ax, lines, line, colour, MARKERS[line], inch, step * (line - (count - 1) / 2))
    if count > 1:
        handles = [line for line in ax.lines if line.get_label() in lines.names]
        place = {"loc": "best", "fontsize": 8, "title_fontsize": 8} if narrow else LEGEND
        if printed:
            key_below(page.figure, handles, lines.title, lines.short)
        else:
            ax.legend(handles, lines.short, title=lines.title, **place)
    return page, ""


def _apart(lines: Lines, pages: Pages, *, narrow: bool) -> tuple[Sheet, str]:
    """Small multiples: each line in a panel of its own, the others faint behind it. With what is to be said of them."""
    count = min(len(lines.names), MOST_PANELS)
    columns, width = (1, 2.7) if narrow else side_by_side(count)
    size = (width, len(lines.factor.values) * lines.row(1) if lines.in_rows else 1.6)
    page = pages.sheet(count, columns, size, left=lines.margin, rows=lines.in_rows)
    order = np.argsort(lines.places)
    for panel, (ax, colour) in enumerate(zip(page.panels, colours(count), strict=True)):
        inch = _level_axis(ax, lines, labelled=page.at_left(panel))
        if len(lines.names) <= _CONTEXT and lines.joined:
            ax.plot(lines.places[order], lines.mean[:, order].T, color=FAINT, linewidth=0.8, zorder=1.5)
        _draw(ax, lines, panel, colour, "o", inch)
    return page, titles(page, lines.title, lines.short[:count], lines.names[:count])


def _level_axis(ax: Axes, lines: Lines, *, labelled: bool) -> float:
    """labelled: where levels stand in rows. Returns the axis units in an inch."""
    if lines.in_rows:
        return _rows(ax, lines.factor, labelled=labelled)
    return factor_axis(ax, lines.factor)


def _rows(ax: Axes, factor: Factor, *, labelled: bool) -> float:
    """A row for every level, the first on top. Returns the axis units in an inch."""
    count = len(factor.values)
    ax.set_ylim(count - 0.4, -0.6)
    name_rows(ax, [value_text(value) if labelled else "" for value in factor.values], 8.0, beside=0.4)
    ax.grid(visible=False, axis="y")
    ax.grid(visible=True, axis="x")
    if labelled:
        ax.set_ylabel(factor.label)
    return (count + 0.2) / inches(ax)[1]


def _draw(
    ax: Axes, lines: Lines, line: int, colour: tuple[float, ...], marker: str, inch: float, shift: float = 0.0
) -> None:
    order = np.argsort(lines.places)
    x = lines.places[order] + shift
    mean, values = lines.mean[line, order], lines.values[line, order]
    mark: dict[str, Any] = {
        "color": colour,
        "linewidth": 1.5 if lines.joined else 0.0,
        "marker": marker,
        "markersize": 4.5,
        "zorder": 4,
    }
    ax.plot(*_turned(lines, x, mean), label=lines.names[line], **mark)
    if values.shape[1] > 1:
        beside = min(_BESIDE * inch, 0.25 * spacing(positions(lines.factor)))
        _draw_seeds(ax, lines, x + beside, values, colour)
    whiskers = ax.hlines if lines.in_rows else ax.vlines
    whiskers(x, lines.low[line, order], lines.high[line, order], color=colour, linewidth=1.3, zorder=3)
    for i in np.flatnonzero(lines.here[line, order] & (lines.n[line, order] < values.shape[1])):
        _say_n(ax, lines, float(x[i]), int(lines.n[line, order][i]))


def _draw_seeds(ax: Axes, lines: Lines, x: Floats, values: Floats, colour: tuple[float, ...]) -> None:
    """Seeds stand beside their mean, or marker and whisker would hide them; nearer to it than to any other level."""
    beside = _turned(lines, np.repeat(x, values.shape[1]), values.ravel())
    ax.scatter(*beside, s=9, color=[colour], alpha=0.75, linewidths=0, zorder=3.5)


def _say_n(ax: Axes, lines: Lines, x: float, n: int) -> None:
    ground = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"}  # whiskers pass behind it
    said: dict[str, Any] = {"fontsize": 6.5, "color": GREY, "bbox": ground, "zorder": 5}
    if lines.in_rows:
        ax.annotate(f"n={n}", (0.99, x), xycoords=ax.get_yaxis_transform(), ha="right", va="center", **said)
    else:
        ax.annotate(f"n={n}", (x, 0.01), xycoords=ax.get_xaxis_transform(), ha="center", **said)


def _turned(lines: Lines, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    return (y, x) if lines.in_rows else (x, y)


def lines_left_out(summary: Summary, axis: int) -> str:
    """What a caption has to say where there are more lines than panels; empty otherwise."""
    lines = len(_points(summary, axis)[1].combinations)
    return f" ({MOST_PANELS} of {lines} lines)" if lines > MOST_PANELS else ""


def _legend(summary: Summary, entry: MetricSummary, lines: Lines) -> str:
    shown = "" if len(lines.names) <= MOST_PANELS else f"; {MOST_PANELS} of {len(lines.names)} lines shown"
    if len(summary.seeds) == 1:
        return f"one seed, no interval{shown}"
    cut = np.any(lines.low < lines.span.low) or np.any(lines.high > lines.span.high)
    method = f"{percent(summary.level)} {entry.method} interval" + (", cut off at the frame" if cut else "")
    return f"large: {entry.centre_name} of {len(summary.seeds)} seeds; small: seeds; whiskers: {method}{shown}"
