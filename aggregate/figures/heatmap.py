"""Heatmap of a metric over a grid of two factors: mean and n in every square, incomplete squares hatched, and squares
that are no condition of the design empty."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from aggregate.analysis.summary import MetricSummary, Summary
from aggregate.arrays import Floats, Integers
from aggregate.figures.axes import spans_magnitudes
from aggregate.figures.canvas import BOTTOM, inches, set_log, sheet
from aggregate.figures.labels import fitted, footnote, name_rows, row_stretch, text_width
from aggregate.reading.declared import Factor, Metric
from aggregate.wording import better_text, value_text

_MOST_INCHES, _SQUARE = 9.0, (0.78, 0.62)
_LOWEST = 0.2  # inches of a row below which its name does not fit
_DIGIT = 0.64  # of its size, the width of a digit
_NUMBER = (0.42, 0.17)  # inches of a square below which no number fits
_WITH_N = 0.36  # inches of a row below which it has no room for n as well
_COLOURBAR, _TICK = 1.15, 0.28


def draw_heatmap(summary: Summary, entry: MetricSummary) -> Figure:
    """Rows: the first factor, rising upwards; columns: the second. Needs a grid of exactly two factors."""
    rows, columns = summary.factors
    shape = len(rows.values), len(columns.values)
    here = np.zeros(shape, dtype=bool)
    mean, n = np.full(shape, np.nan), np.zeros(shape, dtype=np.int64)
    at = tuple(summary.crossings.places.T)
    here[at], mean[at], n[at] = True, entry.centre, entry.description.n
    width = min(_SQUARE[0], _MOST_INCHES / len(columns.values))
    left = 0.55 + text_width([value_text(value) for value in rows.values])
    height = max(min(_SQUARE[1], _MOST_INCHES / len(rows.values)), _LOWEST * row_stretch(left))
    below = text_width([value_text(value) for value in columns.values])
    turned = below > width
    size = (width * len(columns.values), height * len(rows.values))
    page = sheet(1, 1, size, left=left, right=_COLOURBAR, bottom=BOTTOM + (below if turned else 0), rows=True)
    figure, ax = page.figure, page.panels[0]
    norm = _norm(entry.metric, mean)
    image = ax.imshow(mean, cmap="viridis", norm=norm, origin="lower", aspect="auto", interpolation="nearest")
    _axes(ax, rows, columns, turned=turned)
    name_rows(ax, [value_text(value) for value in rows.values], 8.0, beside=0.4)
    width = inches(ax)[0] / len(columns.values)
    if width >= _NUMBER[0] and height >= _NUMBER[1]:
        _write(ax, mean, n, here, norm, with_n=height >= _WITH_N)
    incomplete = here & (n < len(summary.seeds))
    _hatch(ax, mean, incomplete, norm)
    box = ax.get_position()
    bar = figure.colorbar(
        image, cax=figure.add_axes((box.x1 + 0.12 / figure.get_figwidth(), box.y0, 0.012, box.height))
    )
    label, points = fitted(entry.metric.label, box.height * figure.get_figheight() + 0.5, 8.0)
    bar.set_label(label, fontsize=points)
    bar.ax.tick_params(labelsize=7, length=2, which="both")
    if isinstance(norm, LogNorm):
        set_log(bar.ax.yaxis, float(norm.vmin or 1), float(norm.vmax or 1), max(int(size[1] / _TICK), 2))
    bar.outline.set_visible(False)
    hatched = f"hatched: fewer than {len(summary.seeds)} seeds" if incomplete.any() else ""
    centre = f"{entry.centre_name} over seeds" if len(summary.seeds) > 1 else ""
    scale = "colours on a log scale" if isinstance(norm, LogNorm) else ""
    empty = "" if here.all() else "empty: no condition of the design"
    footnote(figure, "; ".join(filter(None, [centre, better_text(entry.metric), scale, hatched, empty])))
    return figure


def _norm(metric: Metric, mean: Floats) -> Normalize:
    """Logarithmic where means lie so far apart that all the small ones would have one colour."""
    finite = mean[np.isfinite(mean)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if spans_magnitudes(metric, finite):
        return LogNorm(low, high)
    return Normalize(low, high) if low < high else Normalize(low - 0.5, high + 0.5)


def _axes(ax: Axes, rows: Factor, columns: Factor, *, turned: bool) -> None:
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    names = [value_text(value) for value in columns.values]
    ax.set_xticks(range(len(names)), names, rotation=90 if turned else 0, fontsize=8 if turned else 9)
    ax.set_xlabel(columns.label)
    ax.set_ylabel(rows.label)


def _write(ax: Axes, mean: Floats, n: Integers, here: NDArray[np.bool_], norm: Normalize, *, with_n: bool) -> None:
    texts = {
        at: f"{mean[at]:#.3g}".rstrip(".") if np.isfinite(mean[at]) else "-" for at in map(tuple, np.argwhere(here))
    }
    fits = 0.95 * 72 * inches(ax)[0] / mean.shape[1] / (_DIGIT * max(map(len, texts.values()), default=1))
    points = min(8.5 if with_n else 7.5, fits)
    for (row, column), text in texts.items():
        value = mean[row, column]
        place: dict[str, Any] = {"ha": "center", "va": "center", "color": _text_colour(value, norm)}
        ax.text(column, row + (0.12 if with_n else 0), text, fontsize=points, **place)
        if with_n:
            ax.text(column, row - 0.24, f"n={n[row, column]}", fontsize=6, **place)


def _text_colour(value: float, norm: Normalize) -> str:
    if not np.isfinite(value):
        return "black"
    red, green, blue, _ = colormaps["viridis"](norm(value))
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.45 else "white"


def _hatch(ax: Axes, mean: Floats, incomplete: NDArray[np.bool_], norm: Normalize) -> None:
    for row, column in zip(*np.nonzero(incomplete), strict=True):
        colour = to_rgba(_text_colour(mean[row, column], norm), 0.4)
        square = Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, hatch="//", edgecolor=colour, linewidth=0)
        ax.add_patch(square)
