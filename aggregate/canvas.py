"""Figures with fixed margins, and what every figure shares: colours, axes of factors, base lines of chance.

Matplotlib is used without its global state (no pyplot), whatever the user's own matplotlibrc says.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from aggregate.axes import positions
from aggregate.declaration import BOUNDED, Factor, Metric
from aggregate.wording import better_text, value_text

INK, GREY, FAINT = "#222222", "#6b6b6b", "#c4c4c4"
MARKERS = "osD^vPX*"
DPI = 150
# Beside the panel, at its upper right corner.
LEGEND: dict[str, Any] = {
    "loc": "upper left",
    "bbox_to_anchor": (1.01, 1.0),
    "frameon": False,
    "fontsize": 8,
    "title_fontsize": 8,
    "alignment": "left",
}
_LEFT, _RIGHT, _BOTTOM, _TOP, _GAP_X, _GAP_Y = 0.85, 0.25, 0.62, 0.32, 0.22, 0.42
_LETTER = 0.0076  # inches that a letter takes for each point of its size
_LARGEST = 1e300
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.titlesize": 9,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#ececec",
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "text.parse_math": False,  # names come from users: a dollar sign is a dollar sign
    "axes.formatter.use_mathtext": False,
    "axes.formatter.useoffset": False,
    "pdf.fonttype": 42,
}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw and save inside this, so that figures look the same everywhere."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


@dataclass(frozen=True)
class Span:
    """Range of a metric's axis; low is above 0 on a logarithmic one."""

    low: float
    high: float
    log: bool = False

    def nearly_reaches(self, value: float) -> bool:
        """Whether widening the axis to show a value leaves the data at least half of it."""
        if self.log:
            return self.low / self.high <= value / self.low and value / self.high <= self.high / self.low
        return self.low - (self.high - self.low) <= value <= self.high + (self.high - self.low)

    def including(self, value: float) -> Span:
        if self.log:
            return Span(min(self.low, value / 1.1), max(self.high, value * 1.1), log=True)
        margin = 0.09 * (self.high - self.low)
        return Span(min(self.low, value - margin), max(self.high, value + margin))


@dataclass(frozen=True)
class Sheet:
    """A figure and its panels, in reading order."""

    figure: Figure
    panels: list[Axes]
    columns: int

    def at_left(self, panel: int) -> bool:
        return panel % self.columns == 0

    def at_bottom(self, panel: int) -> bool:
        return panel + self.columns >= len(self.panels)


def sheet(
    panels: int,
    columns: int,
    size: tuple[float, float],
    *,
    left: float = _LEFT,
    right: float = _RIGHT,
    top: float = _TOP,
    gap: tuple[float, float] = (_GAP_X, _GAP_Y),
) -> Sheet:
    """A figure of equal panels that share both axes.

    size: width and height of a panel, left, right, top, gap: margins; all in inches. Fixed margins instead of a layout
    engine: they take no time, and figures of one sweep line up.
    """
    columns = min(columns, panels)
    rows = -(-panels // columns)
    width = left + right + columns * size[0] + (columns - 1) * gap[0]
    height = top + _BOTTOM + rows * size[1] + (rows - 1) * gap[1]
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes: list[Axes] = []
    for panel in range(panels):
        row, column = divmod(panel, columns)
        x = left + column * (size[0] + gap[0])
        y = height - top - (row + 1) * size[1] - row * gap[1]
        axes.append(figure.add_axes((x / width, y / height, size[0] / width, size[1] / height)))
    made = Sheet(figure, axes, columns)
    for panel, ax in enumerate(axes):
        left = made.at_left(panel)
        ax.tick_params(length=3, left=left, labelleft=left, labelbottom=made.at_bottom(panel))
    return made


class Pages:
    """Sheets that are used again for the next figure of the same layout: making axes takes longer than drawing on them.

    A figure stands until the next one of its layout is asked for.
    """

    def __init__(self) -> None:
        self._made: dict[Any, Sheet] = {}

    def sheet(self, panels: int, columns: int, size: tuple[float, float], *, right: float = _RIGHT) -> Sheet:
        """As the function of that name, wiped if it has been used."""
        key = (panels, columns, size, right)
        if key in self._made:
            _wipe(self._made[key])
        else:
            self._made[key] = sheet(panels, columns, size, right=right)
        return self._made[key]


def _wipe(page: Sheet) -> None:
    """Remove what was drawn; axes keep their places, margins and ticks."""
    for text in list(page.figure.texts):
        text.remove()
    for ax in page.panels:
        for artist in [*ax.lines, *ax.collections, *ax.texts, *ax.patches]:
            artist.remove()
        if (legend := ax.get_legend()) is not None:
            legend.remove()
        ax.set_title("")
        ax.set_xlabel("")
        ax.set_ylabel("")
        if ax.get_yscale() != "linear":
            ax.set_yscale("linear")


def encoded(figure: Figure, kind: str = "png") -> bytes:
    """The figure as the bytes of a PNG or PDF file."""
    buffer = io.BytesIO()
    options: dict[str, Any] = {"pil_kwargs": {"compress_level": 1}} if kind == "png" else {"metadata": {}}
    figure.savefig(buffer, format=kind, dpi=DPI, **options)
    return buffer.getvalue()


def title(ax: Axes, text: str) -> None:
    """A panel's title at a fixed place: looking for a free one costs a sixth of the time of a figure."""
    shown, points = fitted(text, _inches(ax)[0] + 0.5 * _GAP_X, 8.5)
    ax.set_title(shown, y=1.0, pad=4, fontsize=points)


def y_label(ax: Axes, metric: Metric) -> None:
    """A metric's label and direction, on two lines: the margin has no room for a third."""
    room, direction = _inches(ax)[1] + 2 * _TOP, f"({better_text(metric)})" if metric.better else ""
    label, points = fitted(metric.label, room, 9.0)
    if label == metric.label:
        label = f"{label}\n{direction}".rstrip()
    else:
        label, points = fitted(f"{metric.label} {direction}".rstrip(), room, 9.0)
    ax.set_ylabel(label, fontsize=points)


def fitted(text: str, inches: float, points: float) -> tuple[str, float]:
    """A text for so much room, and its size: as it is if that fits, else on two smaller lines, the rest left out."""
    if len(text) * points * _LETTER <= inches:
        return text, points
    smaller = 0.83 * points
    letters = max(int(inches / (smaller * _LETTER)), 8)
    return "\n".join(textwrap.wrap(text, letters, max_lines=2, placeholder=" ...")), smaller


def _inches(ax: Axes) -> tuple[float, float]:
    """Width and height of a panel."""
    box, (width, height) = ax.get_position(), ax.get_figure(root=True).get_size_inches()  # type: ignore[union-attr]
    return box.width * width, box.height * height


def colours(count: int) -> list[tuple[float, float, float, float]]:
    """Colours of ordered levels, dark to light; told apart by colour-blind readers and in grey print."""
    places = np.linspace(0.05, 0.9, count) if count > 1 else np.array([0.35])
    return [tuple(colour) for colour in colormaps["viridis"](places)]


def spacing(places: NDArray[np.float64]) -> float:
    """Smallest distance between neighbours on an axis."""
    return float(np.min(np.diff(np.sort(places)))) if len(places) > 1 else 1.0


def factor_axis(ax: Axes, factor: Factor, width: float, *, labelled: bool) -> float:
    """An x axis with a tick at every level, named as the level is; names that would touch are left out.

    width: of the panel, inches. Returns the axis units in an inch.
    """
    places = positions(factor)
    margin = 0.5 * spacing(places) if len(places) < 3 else 0.06 * float(np.ptp(places)) + 0.25 * spacing(places)
    low, high = float(places.min()) - margin, float(places.max()) + margin
    ax.set_xlim(low, high)
    ax.set_xticks(places, _thinned(factor, places, width / (high - low)))
    if labelled:
        ax.set_xlabel(factor.label)
    return (high - low) / width


def _thinned(factor: Factor, places: NDArray[np.float64], scale: float) -> list[str]:
    """scale: inches per unit of the axis."""
    texts, free = [""] * len(places), -np.inf
    for i in np.argsort(places):
        text = value_text(factor.values[i])
        half = 0.036 * len(text) + 0.02  # half the width of 9-point digits, inches
        if places[i] * scale - half >= free:
            texts[i], free = text, places[i] * scale + half
    return texts


def limits(metric: Metric, values: Sequence[NDArray[np.float64]], whiskers: Sequence[NDArray[np.float64]]) -> Span:
    """Range of a metric's axis: all values, and whiskers as far as they do not dwarf the values."""
    points = _finite(values)
    if not points.size:
        return Span(0.0, 1.0)
    low, high = float(points.min()), float(points.max())
    reach = 1.5 * (high - low) or 0.1 * abs(high) or 1.0
    ends = np.clip(_finite(whiskers), low - reach, high + reach)
    low, high = min([low, *ends]), max([high, *ends])
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    if metric.kind == BOUNDED and 0 <= low <= high <= 1:
        return Span(max(low - margin, -0.03), min(high + margin, 1.03))
    return Span(low - margin, high + margin)


def _finite(arrays: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    joined = np.concatenate([np.ravel(array) for array in arrays]) if arrays else np.empty(0)
    return np.asarray(joined[np.isfinite(joined)])


def drawable(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values that an axis has room for, NaN for all others: the distance of two larger ones is no number any more."""
    return np.asarray(np.where(np.abs(values) <= _LARGEST, values, np.nan))


def draw_chance(ax: Axes, metric: Metric, span: Span, *, across: bool = True) -> tuple[float, float]:
    """The line of guessing, if it is near enough to be drawn without flattening the data. Returns the axis limits.

    across: the metric is on the y axis, the line lies across; else it stands.
    """
    if metric.chance is None or not span.nearly_reaches(metric.chance):
        return span.low, span.high
    line = ax.axhline if across else ax.axvline
    line(metric.chance, color=GREY, linestyle=(0, (4, 3)), linewidth=0.9, zorder=1)
    wider = span.including(metric.chance)
    return wider.low, wider.high


def chance_text(metric: Metric, span: Span) -> str:
    """What the footnote says of guessing; empty if nothing is declared. span: as given to draw_chance."""
    if metric.chance is None:
        return ""
    if span.nearly_reaches(metric.chance):
        return f"; dashed: chance ({metric.chance:.3g})"
    return f"; chance ({metric.chance:.3g}) is {'below' if metric.chance < span.low else 'above'} the axis"


def text_width(texts: Sequence[str]) -> float:
    """Inches that the longest of some 8-point texts takes, generously."""
    return 1.1 * 8 * _LETTER * max(map(len, texts), default=0)


def footnote(figure: Figure, text: str) -> None:
    """What the marks mean, at the foot of the figure."""
    figure.text(
        1 - 0.08 / figure.get_figwidth(), 0.05 / figure.get_figheight(), text, ha="right", fontsize=6.5, color=GREY
    )
