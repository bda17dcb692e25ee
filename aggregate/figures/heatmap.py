"""Heatmap of a metric over a grid of two factors: mean and n in every square, incomplete squares hatched."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from aggregate.analysis.summary import MetricSummary, Summary
from aggregate.arrays import Floats, Integers
from aggregate.figures.canvas import sheet
from aggregate.figures.labels import fitted, footnote, text_width
from aggregate.reading.declared import Factor
from aggregate.wording import better_text, value_text

_MOST_INCHES = 9.0
_SMALLEST_TEXT = 0.42  # inches of a square's side below which no number fits
_COLOURBAR = 1.15


def draw_heatmap(summary: Summary, entry: MetricSummary) -> Figure:
    """Rows: the first factor, rising upwards; columns: the second. Needs a grid of exactly two factors."""
    rows, columns = summary.factors
    mean, n = entry.centre.reshape(summary.shape), entry.description.n.reshape(summary.shape)
    side = min(0.78, _MOST_INCHES / max(summary.shape))
    left = 0.55 + text_width([value_text(value) for value in rows.values])
    page = sheet(1, 1, (side * len(columns.values), 0.8 * side * len(rows.values)), left=left, right=_COLOURBAR)
    figure, ax = page.figure, page.panels[0]
    norm = _norm(mean)
    image = ax.imshow(mean, cmap="viridis", norm=norm, origin="lower", aspect="auto", interpolation="nearest")
    _axes(ax, rows, columns)
    if side >= _SMALLEST_TEXT:
        _write(ax, mean, n, norm)
    incomplete = n < len(summary.seeds)
    _hatch(ax, mean, incomplete, norm)
    box = ax.get_position()
    bar = figure.colorbar(
        image, cax=figure.add_axes((box.x1 + 0.12 / figure.get_figwidth(), box.y0, 0.012, box.height))
    )
    label, points = fitted(entry.metric.label, box.height * figure.get_figheight() + 0.5, 8.0)
    bar.set_label(label, fontsize=points)
    bar.ax.tick_params(labelsize=7, length=2)
    bar.outline.set_visible(False)
    hatched = f"hatched: fewer than {len(summary.seeds)} seeds" if incomplete.any() else ""
    footnote(figure, "; ".join(filter(None, [better_text(entry.metric), hatched])))
    return figure


def _norm(mean: Floats) -> Normalize:
    finite = mean[np.isfinite(mean)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return Normalize(low, high) if low < high else Normalize(low - 0.5, high + 0.5)


def _axes(ax: Axes, rows: Factor, columns: Factor) -> None:
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    ax.set_xticks(range(len(columns.values)), [value_text(value) for value in columns.values])
    ax.set_yticks(range(len(rows.values)), [value_text(value) for value in rows.values])
    ax.set_xlabel(columns.label)
    ax.set_ylabel(rows.label)


def _write(ax: Axes, mean: Floats, n: Integers, norm: Normalize) -> None:
    for (row, column), value in np.ndenumerate(mean):
        text = f"{value:#.3g}".rstrip(".") if np.isfinite(value) else "-"
        colour = _text_colour(value, norm)
        ax.text(column, row + 0.12, text, ha="center", va="center", fontsize=8.5, color=colour)
        ax.text(column, row - 0.24, f"n={n[row, column]}", ha="center", va="center", fontsize=6, color=colour)


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
