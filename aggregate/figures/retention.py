"""The hypothesis as curves: how much of each kind of information is left as a factor narrows, by the other factors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aggregate.analysis.retention import Retained, Side
from aggregate.figures.axes import axis_label, drawable, positions
from aggregate.figures.canvas import (
    GAP_X,
    GAP_Y,
    GREY,
    INK,
    LEFT,
    Sheet,
    colours,
    factor_axis,
    inches,
    printed_column,
    sheet,
)
from aggregate.figures.labels import fitted, footnote, titles, x_axis_label
from aggregate.reading.declared import SQUARED
from aggregate.stats.intervals import describe, t_interval
from aggregate.wording import percent

_MOST_PANELS = 12
_LOWEST, _HIGHEST = -0.5, 1.5  # a share that was divided by next to nothing may lie anywhere
_WIDTH, _HEIGHT = 1.7, 1.7
_BESIDE = 0.07  # inches
_KEY_MARK, _KEY_LINE, _NARROW_GAP = 0.15, 0.18, 0.55  # inches
_WHY, _LINE = (9.0, 7.5), 1.3 / 72  # points; inches of a line for each point


def draw_retention(found: Retained, *, narrow: bool = False) -> Figure:
    """A panel for each combination of the other factors; empty, with the reason, where nothing was learnt. narrow: the
    panels below one another."""
    count = min(len(found.names), _MOST_PANELS)
    width = 1.4 * _WIDTH if narrow else _WIDTH
    columns = 1 if narrow else 2 if count == 4 else 3 if count <= 9 else 4
    keys = _keys(found)
    beside = sum(_key_width(key.words) for key in keys) <= min(columns, count) * _WIDTH
    stacked = narrow or not beside or printed_column() is not None
    top = 0.55 + (len(keys) - 1) * _KEY_LINE * stacked
    page = sheet(count, columns, (width, _HEIGHT), top=top, gap=(GAP_X, _NARROW_GAP if narrow else GAP_Y))
    span = _span(found, count)
    for panel, ax in enumerate(page.panels):
        inch = factor_axis(ax, found.factor)
        ax.set_ylim(*span)
        _draw(ax, found, panel, inch)
        if narrow:  # a panel may be all that is seen of it
            ax.tick_params(labelbottom=True)
        if page.at_left(panel):
            ax.set_ylabel("share retained")
    names = found.names[:count]
    titles(page, "", names, names)
    x_axis_label(page, axis_label(found.factor))
    _legend(page, keys, stacked=stacked)
    more = f"; {count} of {len(found.names)} combinations shown" if count < len(found.names) else ""
    mean = f"their mean with its {percent(round(found.kept.level, 4))} interval"
    text = f"1: at {found.widest}; 0: chance; dashed: half; small: seeds; large: {mean}{more}"
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
        d = describe(values)
        ax.plot(x, d.mean, color=colour, linewidth=1.5, marker=marker, markersize=4.5, zorder=4)
        low, high = t_interval(d.mean, d.sem, d.n, side.level)
        ax.vlines((x + shift / 3)[:-1], low[:-1], high[:-1], color=colour, linewidth=1.1, alpha=0.8, zorder=3.6)
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


@dataclass(frozen=True)
class Key:
    """What one line is: its mark, in its colour, and words."""

    mark: str
    colour: tuple[float, ...]
    words: str


def _keys(found: Retained) -> list[Key]:
    marks = {"o": "\N{BLACK CIRCLE}", "s": "\N{BLACK SQUARE}"}
    keys = [Key(marks[marker], colour, side.name) for side, colour, marker in _sides(found)]
    if found.difference_in_nats is not None:
        dotted = [one for one in _sides(found) if one[0].error == SQUARED]
        keys += [Key("\N{MIDLINE HORIZONTAL ELLIPSIS}", colour, f"{side.name}, in nats") for side, colour, _ in dotted]
    return keys


def _legend(page: Sheet, keys: Sequence[Key], *, stacked: bool) -> None:
    """Above the panels: what the lines are, beside or below one another."""
    top = 1 - 0.16 / page.figure.get_figheight()
    left, width = LEFT, page.figure.get_figwidth()
    for key in keys:
        words, points = fitted(key.words, width - LEFT - _KEY_MARK, 8.5, lines=1)
        page.figure.text(left / width, top, key.mark, color=key.colour, fontsize=8.5, va="center")
        page.figure.text((left + _KEY_MARK) / width, top, words, color=INK, fontsize=points, va="center")
        if stacked:
            top -= _KEY_LINE / page.figure.get_figheight()
        else:
            left += _key_width(key.words)


def _key_width(words: str) -> float:
    return _KEY_MARK + 0.3 + len(words) * 0.068
