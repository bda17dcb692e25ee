"""Figures with fixed margins, and what every figure shares: colours, axes of factors, base lines of chance.

Matplotlib is used without its global state (no pyplot), whatever the user's own matplotlibrc says.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
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

from aggregate.figures.axes import Span, positions, spacing
from aggregate.reading.declared import Factor, Metric
from aggregate.wording import value_text

INK, GREY, FAINT = "#222222", "#6b6b6b", "#c4c4c4"
MARKERS = "osD^vPX*"
RETENTION = "retention"  # name of the figure on the report's first screen
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
_LEFT, _RIGHT, _BOTTOM, TOP, GAP_X, _GAP_Y = 0.85, 0.25, 0.78, 0.32, 0.22, 0.42
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
    "svg.hashsalt": "holdfast",  # ids of parts, which are random otherwise
}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw and save inside this, so that figures look the same everywhere."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


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
    top: float = TOP,
    gap: tuple[float, float] = (GAP_X, _GAP_Y),
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


def encoded(figure: Figure, kind: str = "png", about: Mapping[str, str] | None = None) -> bytes:
    """The figure as the bytes of a PNG, PDF or SVG file. about: its metadata, such as Title and Subject."""
    buffer = io.BytesIO()
    metadata: dict[str, Any] = dict(about or {})
    if kind == "png":
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=metadata, pil_kwargs={"compress_level": 1})
    elif kind == "svg":  # without a date, so that the same figure is the same bytes; its names for metadata differ
        named = {"Description" if key == "Subject" else key: value for key, value in metadata.items()}
        figure.savefig(buffer, format=kind, metadata=named | {"Date": None})
    else:
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=metadata | {"CreationDate": None})
    return buffer.getvalue()


def colours(count: int) -> list[tuple[float, float, float, float]]:
    """Colours of ordered levels, dark to light; told apart by colour-blind readers and in grey print."""
    places = np.linspace(0.05, 0.9, count) if count > 1 else np.array([0.35])
    return [tuple(colour) for colour in colormaps["viridis"](places)]


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


@dataclass(frozen=True)
class Picture:
    """A figure as it goes into the report. metric: the one it shows, or empty. own: by a user's function. narrow: the
    same for a telephone's screen, or empty."""

    name: str
    metric: str
    caption: str
    png: bytes
    own: bool = False
    narrow: bytes = b""
