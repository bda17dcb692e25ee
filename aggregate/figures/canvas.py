"""Figures with fixed margins, and what every figure shares: colours, axes of factors, base lines of chance.

Matplotlib is used without its global state (no pyplot), whatever the user's own matplotlibrc says.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, FuncFormatter, LogLocator, MaxNLocator, NullLocator, ScalarFormatter
from numpy.typing import NDArray
from PIL import Image

from aggregate.figures.axes import Span, positions, spacing, with_chance
from aggregate.reading.declared import Factor, Metric
from aggregate.wording import value_text

INK, GREY, FAINT = "#222222", "#6b6b6b", "#c4c4c4"
MARKERS = "osD^vPX*"
RETENTION = "retention"  # name of the figure on the report's first screen
DPI = 150
_COLOURS = 256  # of a picture within a page
# Beside the panel, at its upper right corner.
LEGEND: dict[str, Any] = {
    "loc": "upper left",
    "bbox_to_anchor": (1.01, 1.0),
    "frameon": False,
    "fontsize": 8,
    "title_fontsize": 8,
    "alignment": "left",
}
_TICK = (0.55, 0.28)  # inches of a number on a logarithmic axis
_LIGHTEST = 0.58  # of viridis; three times as dark as paper
LEFT, _RIGHT, BOTTOM, TOP, GAP_X, GAP_Y = 0.85, 0.25, 0.78, 0.32, 0.22, 0.42
_PLAIN = (1e-3, 1e5)  # sizes of numbers that are written without a power of ten
_DIGIT, _BESIDE_TICKS = 0.08, 0.47  # inches: a digit of a tick, and what else stands left of a panel
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

_PRINT: dict[Any, Any] = {"font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8}
_COLUMN: ContextVar[float | None] = ContextVar("column", default=None)  # inches
_MOST_LEFT = 0.5  # of a column
_LEAST = 1.15  # inches of a panel in a column
_FOOT = 0.2  # inches that the words below the panels take more in a column


@contextmanager
def house_style(column: float | None = None) -> Iterator[None]:
    """Draw and save inside this, so that figures look the same everywhere. column: their width, points; None: as wide
    as their panels need on a screen."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE | ({} if column is None else _PRINT))
        token = _COLUMN.set(None if column is None else column / 72)
        try:
            yield
        finally:
            _COLUMN.reset(token)


def printed_column() -> float | None:
    """Inches of the column that figures are drawn for, which has no room for a key beside the panel; None: a screen."""
    return _COLUMN.get()


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
    left: float = LEFT,
    right: float = _RIGHT,
    top: float = TOP,
    bottom: float = BOTTOM,
    gap: tuple[float, float] = (GAP_X, GAP_Y),
    rows: bool = False,
) -> Sheet:
    """A figure of equal panels that share both axes.

    size: width and height of a panel, left, right, top, bottom, gap: margins; all in inches. Fixed margins instead of
    a layout engine: they take no time, and figures of one sweep line up. rows: the height is that of a number of rows,
    whatever the width.
    """
    columns = min(columns, panels)
    if (column := _COLUMN.get()) is not None:
        left, bottom = min(left, _MOST_LEFT * column), bottom + _FOOT
        columns, size = _in_column(column - left - right, columns, size, gap[0], rows=rows)
    deep = -(-panels // columns)
    width = left + right + columns * size[0] + (columns - 1) * gap[0]
    height = top + bottom + deep * size[1] + (deep - 1) * gap[1]
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes: list[Axes] = []
    for panel in range(panels):
        row, place = divmod(panel, columns)
        x = left + place * (size[0] + gap[0])
        y = height - top - (row + 1) * size[1] - row * gap[1]
        axes.append(figure.add_axes((x / width, y / height, size[0] / width, size[1] / height)))
    made = Sheet(figure, axes, columns)
    for panel, ax in enumerate(axes):
        left = made.at_left(panel)
        ax.tick_params(length=3, left=left, labelleft=left, labelbottom=made.at_bottom(panel))
    return made


def _in_column(
    room: float, columns: int, size: tuple[float, float], gap: float, *, rows: bool
) -> tuple[int, tuple[float, float]]:
    """As many panels side by side as have room, together as wide as that, and their size; inches."""
    columns = max(1, min(columns, int((room + gap) / (_LEAST + gap))))
    width = (room - (columns - 1) * gap) / columns
    return columns, (width, size[1] if rows else max(min(size[1], 0.8 * width), 1.1))


class Pages:
    """Sheets that are used again for the next figure of the same layout: making axes takes longer than drawing on them.

    A figure stands until the next one of its layout is asked for.
    """

    def __init__(self) -> None:
        self._made: dict[Any, Sheet] = {}

    def sheet(
        self,
        panels: int,
        columns: int,
        size: tuple[float, float],
        *,
        left: float = LEFT,
        right: float = _RIGHT,
        bottom: float = BOTTOM,
        rows: bool = False,
    ) -> Sheet:
        """As the function of that name, wiped if it has been used."""
        key = (panels, columns, size, left, right, bottom, rows)
        if key in self._made:
            _wipe(self._made[key])
        else:
            self._made[key] = sheet(panels, columns, size, left=left, right=right, bottom=bottom, rows=rows)
        return self._made[key]


def _wipe(page: Sheet) -> None:
    """Remove what was drawn; axes keep their places, margins and ticks."""
    for thing in [*page.figure.texts, *page.figure.legends]:
        thing.remove()
    for ax in page.panels:
        for artist in [*ax.lines, *ax.collections, *ax.texts, *ax.patches]:
            artist.remove()
        if (legend := ax.get_legend()) is not None:
            legend.remove()
        ax.set_title("")
        ax.set_xlabel("")
        ax.set_ylabel("")
        for scale, set_linear in ((ax.get_xscale(), ax.set_xscale), (ax.get_yscale(), ax.set_yscale)):
            if scale != "linear":
                set_linear("linear")


def encoded(figure: Figure, kind: str = "png", about: Mapping[str, str] | None = None) -> bytes:
    """The figure as the bytes of a PNG, PDF or SVG file. about: its metadata, such as Title and Subject."""
    buffer = io.BytesIO()
    metadata: dict[str, Any] = dict(about or {})
    if kind == "png":
        dots = 2 * DPI if printed_column() else DPI
        figure.savefig(buffer, format=kind, dpi=dots, metadata=metadata, pil_kwargs={"compress_level": 1})
    elif kind == "svg":  # without a date, so that the same figure is the same bytes; its names for metadata differ
        named = {"Description" if key == "Subject" else key: value for key, value in metadata.items()}
        figure.savefig(buffer, format=kind, metadata=named | {"Date": None})
    else:
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=metadata | {"CreationDate": None})
    return buffer.getvalue()


def lighter(png: bytes) -> bytes:
    """The same picture in so few colours that it weighs a third. The palette covers all of them: one of what is most
    frequent, which is white, would shift those of lines."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as drawn:
        drawn.convert("RGB").quantize(_COLOURS, Image.Quantize.MAXCOVERAGE).save(buffer, "png", optimize=True)
    return buffer.getvalue()


def colours(count: int) -> list[tuple[float, float, float, float]]:
    """Colours of ordered levels, dark to light; told apart by colour-blind readers and in grey print. Not up to the
    yellow of the scale, which nobody sees on white."""
    places = np.linspace(0.05, _LIGHTEST, count) if count > 1 else np.array([0.35])
    return [tuple(colour) for colour in colormaps["viridis"](places)]


def inches(ax: Axes) -> tuple[float, float]:
    """Width and height of a panel."""
    box, (width, height) = ax.get_position(), ax.get_figure(root=True).get_size_inches()  # type: ignore[union-attr]
    return box.width * width, box.height * height


def side_by_side(panels: int) -> tuple[int, float]:
    """Columns of so many panels, and the width of each in inches. Four are a square."""
    return (2, 2.15) if panels == 4 else (3, 2.15) if panels <= 9 else (5, 1.6)


def factor_axis(ax: Axes, factor: Factor) -> float:
    """An x axis with a tick at every level, named as the level is; names that would touch are left out.

    Returns the axis units in an inch.
    """
    places, width = positions(factor), inches(ax)[0]
    margin = 0.5 * spacing(places) if len(places) < 3 else 0.06 * float(np.ptp(places)) + 0.25 * spacing(places)
    low, high = float(places.min()) - margin, float(places.max()) + margin
    ax.set_xlim(low, high)
    ax.set_xticks(places, _thinned(factor, places, width / (high - low)))
    return (high - low) / width


def long_names(factor: Factor, width: float) -> bool:
    """Whether a factor's levels are words that cannot stand side by side on an axis of so many inches."""
    widest = max(len(value_text(value)) for value in factor.values)
    return not factor.numeric and len(factor.values) * (0.072 * widest + 0.1) > width


def set_log(axis: Axis, low: float, high: float, room: int) -> None:
    """Ticks of a logarithmic axis as numbers that people read. room: how many of them do not touch."""
    decades = np.log10(high / low)
    few = 3 * decades <= room
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=max(room, 2)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def left_of(metric: Metric, span: Span) -> float:
    """Inches left of a panel with a metric on its y axis: the widest number, and the label in two lines."""
    wider = with_chance(metric, span)
    if wider.log:
        decades = np.arange(np.floor(np.log10(wider.low)), np.log10(wider.high) + 1)
        ticks = [f"{times * 10**decade:g}" for decade in decades for times in (1.0, 2.0, 5.0)]
    else:
        places, numbers = MaxNLocator(9, steps=[1, 2, 2.5, 5, 10]), _numbers(wider)
        numbers.create_dummy_axis()
        ticks = numbers.format_ticks(list(places.tick_values(wider.low, wider.high)))
    return max(LEFT, _BESIDE_TICKS + _DIGIT * max(map(len, ticks)))


def _numbers(span: Span) -> Formatter:
    """Numbers of a linear axis, each whole by itself: a power of ten above the axis would stand on other words."""
    plain = _PLAIN[0] <= max(abs(span.low), abs(span.high)) < _PLAIN[1]
    return ScalarFormatter(useOffset=False) if plain else FuncFormatter(lambda value, _: f"{value:g}")


def set_scale(ax: Axes, metric: Metric, span: Span, *, across: bool = True) -> None:
    """The axis of a metric and its line of chance. across: the metric is on the y axis."""
    if span.log:
        (ax.set_yscale if across else ax.set_xscale)("log")
        room = inches(ax)[1] / _TICK[1] if across else inches(ax)[0] / _TICK[0]
        set_log(ax.yaxis if across else ax.xaxis, span.low, span.high, int(room))
    else:
        (ax.yaxis if across else ax.xaxis).set_major_formatter(_numbers(span))
    (ax.set_ylim if across else ax.set_xlim)(draw_chance(ax, metric, span, across=across))


def _thinned(factor: Factor, places: NDArray[np.float64], scale: float) -> list[str]:
    """scale: inches per unit of the axis."""
    texts, free = [""] * len(places), -np.inf
    for i in np.argsort(places):
        text = value_text(factor.values[i])
        half = 0.04 * len(text) + 0.02  # half the width of 9-point digits, inches
        if places[i] * scale - half >= free:
            texts[i], free = text, places[i] * scale + half
    return texts


def draw_chance(ax: Axes, metric: Metric, span: Span, *, across: bool = True) -> tuple[float, float]:
    """The line of guessing, if it is near enough to be drawn without flattening the data. Returns the axis limits.

    across: the metric is on the y axis, the line lies across; else it stands.
    """
    wider = with_chance(metric, span)
    if metric.chance is not None and span.nearly_reaches(metric.chance):
        line = ax.axhline if across else ax.axvline
        line(metric.chance, color=GREY, linestyle=(0, (4, 3)), linewidth=0.9, zorder=1)
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
