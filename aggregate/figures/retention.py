"""The hypothesis as curves: how much of each kind of information is left as a factor narrows, by the other factors."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aggregate.analysis.retention import Retained, Side
from aggregate.figures.axes import axis_label, drawable, positions
from aggregate.figures.canvas import GREY, INK, LEFT, Sheet, colours, factor_axis, inches, printed_column, sheet
from aggregate.figures.labels import fitted, footnote, titles, x_axis_label
from aggregate.reading.declared import SQUARED
from aggregate.stats.intervals import describe
from aggregate.wording import listed

_MOST_PANELS = 12
_LOWEST, _HIGHEST = -0.5, 1.5  # a share that was divided by next to nothing may lie anywhere
_WIDTH, _HEIGHT = 1.7, 1.7
_BESIDE = 0.07  # inches
_KEY_MARK = 0.15  # inches
_WHY, _LINE = (9.0, 7.5), 1.3 / 72  # points; inches of a line for each point


def draw_retention(found: Retained, *, narrow: bool = False) -> Figure:
    """A panel for each combination of the other factors; empty, with the reason, where nothing was learnt. narrow: the
    panels below one another."""
    count = min(len(found.names), _MOST_PANELS)
    width = 1.4 * _WIDTH if narrow else _WIDTH
    columns = 1 if narrow else 2 if count == 4 else 3 if count <= 9 else 4
    beside = sum(map(_key_width, (found.kept, found.other))) <= min(columns, count) * _WIDTH
    stacked = narrow or not beside or printed_column() is not None
    top = 0.75 if stacked else 0.55
    page = sheet(count, columns, (width, _HEIGHT), top=top)
    span = _span(found, count)
    for panel, ax in enumerate(page.panels):
        inch = factor_axis(ax, found.factor)
        ax.set_ylim(*span)
        _draw(ax, found, panel, inch)
        if page.at_left(panel):
            ax.set_ylabel("share retained")
    names = found.names[:count]
    titles(page, "", names, names)
    x_axis_label(page, axis_label(found.factor))
    _legend(page, found, stacked=stacked)
    more = f"; {count} of {len(found.names)} combinations shown" if count < len(found.names) else ""
    squared = listed([side.name for side in (found.kept, found.other) if side.error == SQUARED])
    nats = f"; dotted: mean for {squared}, counted in nats" if found.difference_in_nats is not None else ""
    text = f"1: at {found.widest}; 0: chance; dashed: half; large: mean of seeds; small: seeds{nats}{more}"
    footnote(page.figure, text)
    return page.figure


def _sides(found: Retained) -> list[tuple[Side, tuple[float, ...], str]]:
    dark, light = colours(2)
    return [(found.kept, dark, "o"), (found.other, light, "s")]


def _span(found: Retained, count: int) -> tuple[float, float]:
    shown = found.learnt[:count]
    values = [side.retention[:, :count][:, shown].ravel() for side in (found.kept, found.other)]
    finite = np.clip(np.concatenate([*values, np.array([0.0, 1.0])]), _LOWEST, _HIGHEST)
    finite = finite[np.isfinite(finite)]
    return float(finite.min()) - 0.06, float(finite.max()) + 0.06


def _draw(ax: Axes, found: Retained, combination: int, inch: float) -> None:
    if why := found.why_not(combination):
        _say(ax, why)
        return
    ax.axhline(0.5, color=GREY, linestyle=(0, (4, 3)), linewidth=0.9, zorder=1)
    x = positions(found.factor)[list(found.found.levels)]
    for i, (side, colour, marker) in enumerate(_sides(found)):
        values = drawable(side.retention[:, combination])
        shift = (i - 0.5) * 2 * _BESIDE * inch
        ax.plot(x, describe(values).mean, color=colour, linewidth=1.5, marker=marker, markersize=4.5, zorder=4)
        if found.difference_in_nats is not None and side.error == SQUARED:
            nats = drawable(side.in_nats[:, combination])
            ax.plot(x, describe(nats).mean, color=colour, linewidth=1.2, linestyle=":", zorder=3.8)
        places = np.repeat(x + shift, values.shape[1])
        ax.scatter(places, values.ravel(), s=9, color=[colour], alpha=0.75, linewidths=0, zorder=3.5)


def _say(ax: Axes, why: str) -> None:
    """Why a panel is empty, without lines through the words; smaller where they are many."""
    ax.grid(visible=False)
    width, height = inches(ax)
    text, points = "", 0.0
    for largest in _WHY:
        text, points = fitted(why, width - 0.2, largest, lines=None)
        if _LINE * points * (text.count("\n") + 1) < height:
            break
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", fontsize=points, color=GREY)


def _legend(page: Sheet, found: Retained, *, stacked: bool) -> None:
    """Above the panels: what the two lines are, beside or below one another."""
    top = 1 - 0.16 / page.figure.get_figheight()
    left, width = LEFT, page.figure.get_figwidth()
    for side, colour, marker in _sides(found):
        shape = {"o": "\N{BLACK CIRCLE}", "s": "\N{BLACK SQUARE}"}[marker]
        words, points = fitted(side.name, width - LEFT - _KEY_MARK, 8.5, lines=1)
        page.figure.text(left / width, top, shape, color=colour, fontsize=8.5, va="center")
        page.figure.text((left + _KEY_MARK) / width, top, words, color=INK, fontsize=points, va="center")
        if stacked:
            top -= 0.18 / page.figure.get_figheight()
        else:
            left += _key_width(side)


def _key_width(side: Side) -> float:
    return _KEY_MARK + 0.3 + len(side.name) * 0.068
