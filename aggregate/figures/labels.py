"""Words on figures: labels that fit their room, and the line at the foot that says what the marks mean."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aggregate.figures.canvas import GAP_X, GREY, TOP
from aggregate.reading.declared import Metric
from aggregate.wording import better_text

_LETTER = 0.0076  # inches that a letter takes for each point of its size


def title(ax: Axes, text: str) -> None:
    """A panel's title at a fixed place: looking for a free one costs a sixth of the time of a figure."""
    shown, points = fitted(text, _inches(ax)[0] + 0.5 * GAP_X, 8.5)
    ax.set_title(shown, y=1.0, pad=4, fontsize=points)


def y_label(ax: Axes, metric: Metric) -> None:
    """A metric's label and direction, on two lines: the margin has no room for a third."""
    room, direction = _inches(ax)[1] + 2 * TOP, f"({better_text(metric)})" if metric.better else ""
    label, points = fitted(metric.label, room, 9.0)
    if label == metric.label:
        label = f"{label}\n{direction}".rstrip()
    else:
        label, points = fitted(f"{metric.label} {direction}".rstrip(), room, 9.0)
    ax.set_ylabel(label, fontsize=points)


def fitted(text: str, inches: float, points: float, lines: int | None = 2) -> tuple[str, float]:
    """A text for so much room, and its size: as it is if that fits, else on smaller lines, the rest left out.

    lines: how many at most; None for as many as it takes.
    """
    if len(text) * points * _LETTER <= inches:
        return text, points
    smaller = 0.83 * points
    letters = max(int(inches / (smaller * _LETTER)), 8)
    return "\n".join(textwrap.wrap(text, letters, max_lines=lines, placeholder=" ...")), smaller


def text_width(texts: Sequence[str]) -> float:
    """Inches that the longest of some 8-point texts takes, generously."""
    return 1.1 * 8 * _LETTER * max(map(len, texts), default=0)


def footnote(figure: Figure, text: str) -> None:
    """What the marks mean, at the foot of the figure, on as many lines as it takes: two, or three smaller ones."""
    width = figure.get_figwidth()
    shown, points = list[str](), 0.0
    for points in (7.5, 6.5):
        shown = textwrap.wrap(text, int((width - 0.16) / (points * _LETTER)))
        if len(shown) < 3:
            break
    figure.text(
        0.08 / width, 0.05 / figure.get_figheight(), "\n".join(shown), fontsize=points, color=GREY, linespacing=1.1
    )


def _inches(ax: Axes) -> tuple[float, float]:
    """Width and height of a panel."""
    box, (width, height) = ax.get_position(), ax.get_figure(root=True).get_size_inches()  # type: ignore[union-attr]
    return box.width * width, box.height * height
