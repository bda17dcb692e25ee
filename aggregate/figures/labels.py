"""Words on figures: labels that fit their room, and the line at the foot that says what the marks mean."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aggregate.figures.canvas import GAP_X, GREY, TOP, Sheet, inches, printed_column
from aggregate.reading.declared import Metric
from aggregate.wording import better_text

_KEY_LINE = 0.145  # inches
_LETTER = 0.0076  # inches that a letter takes for each point of its size
_TITLE, _SMALL = 8.5, 7.8  # points; of the second, two lines have the size of a footnote
_BELOW = 0.28  # inches from a panel to the label of its axis, below its ticks
_MORE, _GAP = " ...", "\N{HORIZONTAL ELLIPSIS}"


def title(ax: Axes, text: str) -> None:
    """A panel's title at a fixed place: looking for a free one costs a sixth of the time of a figure."""
    _put_title(ax, *fitted(text, _title_room(ax), _TITLE))


def titles(page: Sheet, factors: str, levels: Sequence[str], full: Sequence[str]) -> str:
    """A title for each panel, by which it is known from every other, and what the footnote has to say of them.

    factors: what the panels differ in, if it is not in the texts already. levels: of those, one text for each panel.
    full: the same with their factors' names, which stand there if they fit in one line.
    """
    room = _title_room(page.panels[0])
    if all(len(text) * _TITLE * _LETTER <= room for text in full):
        levels, said = full, ""
    else:
        said = f"; panels: {factors}" if factors else ""
    for ax, (shown, points) in zip(page.panels, fitted_apart(levels, room, _TITLE), strict=True):
        _put_title(ax, shown, points)
    return said


def _title_room(ax: Axes) -> float:
    return inches(ax)[0] + 0.5 * GAP_X


def _put_title(ax: Axes, shown: str, points: float) -> None:
    ax.set_title(shown, y=1.0, pad=4, fontsize=points)


def x_axis_label(page: Sheet, text: str) -> None:
    """What the x axis of all panels is called, said once: below a row of panels there is no room for it under each."""
    if page.columns == 1:
        figure, box = page.figure, page.panels[-1].get_position()
        room = (box.width + 2 * min(box.x0, 1 - box.x1)) * figure.get_figwidth()
        shown, points = fitted(text, room, 9.0)
        page.panels[-1].set_xlabel(shown, fontsize=points)
        return
    boxes = [ax.get_position() for ax in page.panels]
    shown, points = fitted(text, page.figure.get_figwidth() - 0.2, 9.0)
    place = (min(box.x0 for box in boxes) + max(box.x1 for box in boxes)) / 2
    height = min(box.y0 for box in boxes) - _BELOW / page.figure.get_figheight()
    page.figure.text(place, height, shown, ha="center", va="top", fontsize=points)


def y_label(ax: Axes, metric: Metric, *, log: bool = False) -> None:
    """A metric's label and direction, and whether its scale is logarithmic, on two lines: the margin has no room for a
    third."""
    label, points = _metric_label(metric, inches(ax)[1] + TOP, log=log)  # up to that of the row above
    ax.set_ylabel(label, fontsize=points)


def x_label(ax: Axes, metric: Metric, *, log: bool = False) -> None:
    """The same below a panel."""
    label, points = _metric_label(metric, inches(ax)[0] + GAP_X, log=log)
    ax.set_xlabel(label, fontsize=points)


def _metric_label(metric: Metric, room: float, *, log: bool) -> tuple[str, float]:
    said = ", ".join(filter(None, [better_text(metric), "log scale" if log else ""]))
    said = f"({said})" if said else ""
    label, points = fitted(metric.label, room, 9.0)
    if label == metric.label and len(said) * points * _LETTER <= room:
        return f"{label}\n{said}".rstrip(), points
    for largest in (9.0, _SMALL):
        shown, points = fitted(f"{metric.label} {said}".rstrip(), room, largest)
        if not shown.endswith(_MORE.strip()):
            return shown, points
    label = textwrap.shorten(metric.label, int(room / (points * _LETTER)), placeholder=_MORE)
    return f"{label}\n{said}".rstrip(), points  # its direction is said whole


def fitted(text: str, inches: float, points: float, lines: int | None = 2) -> tuple[str, float]:
    """A text for so much room, and its size: as it is if that fits, else on smaller lines, the rest left out.

    lines: how many at most; None for as many as it takes.
    """
    if len(text) * points * _LETTER <= inches:
        return text, points
    smaller = 0.83 * points
    letters = max(int(inches / (smaller * _LETTER)), 8)
    return "\n".join(textwrap.wrap(text, letters, max_lines=lines, placeholder=_MORE)), smaller


def fitted_apart(texts: Sequence[str], inches: float, points: float) -> list[tuple[str, float]]:
    """Texts and their sizes as by ``fitted``, but that no two of them that differ are shown alike."""
    found = [fitted(text, inches, points) for text in texts]
    if len({shown for shown, _ in found}) == len(set(texts)) and not any(_MORE in shown for shown, _ in found):
        return found
    smaller = 0.83 * points
    return [(text, smaller) for text in told_apart(texts, max(int(inches / (smaller * _LETTER)), 8))]


def told_apart(texts: Sequence[str], letters: int) -> list[str]:
    """The texts in at most so many letters each, differing where they differ: without the words that all begin with,
    then without their middles, at last numbered."""
    first, last = min(texts), max(texts)  # what these two begin with, all begin with
    alike = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), 0)
    words = re.match(r".*[^A-Za-z0-9.]|", first[:alike], re.DOTALL)
    start = words.end() if words and max(map(len, texts)) > letters else 0
    shown = [_without_middle(_GAP * bool(start) + text[start:], letters) for text in texts]
    if len(set(shown)) == len(set(texts)):
        return shown
    numbers = {text: f"{_GAP}{number}" for number, text in enumerate(dict.fromkeys(texts), start=1)}
    return [_without_middle(text, letters - len(numbers[text])) + numbers[text] for text in texts]


def _without_middle(text: str, letters: int) -> str:
    head = (letters - 1) // 2
    return text if len(text) <= letters else text[:head] + _GAP + text[len(text) - (letters - 1 - head) :]


def text_width(texts: Sequence[str]) -> float:
    """Inches that the longest of some 8-point texts takes, generously."""
    return 1.1 * 8 * _LETTER * max(map(len, texts), default=0)


def name_rows(ax: Axes, names: Sequence[str], points: float, *, beside: float, step: int = 1) -> None:
    """Names left of a panel's rows, all of one size: on two lines where they are longer than the margin.

    points: their size if they fit. beside: inches of the margin that are not theirs. step: only every so many get one.
    """
    room = ax.get_position().x0 * ax.get_figure(root=True).get_figwidth() - beside  # type: ignore[union-attr]
    fit = [fitted(name, room, points) for name in names]
    shown = [name for name, _ in fit][::step]
    ax.set_yticks(range(0, len(names), step), shown, fontsize=min(points for _, points in fit), linespacing=0.95)


def row_stretch(margin: float) -> float:
    """How much higher rows have to be on a printed figure, whose names have less than the margin that they need."""
    return 1.45 if margin > (printed_column() or margin * 2) / 2 else 1.0


def key_room(heading: str, texts: Sequence[str]) -> float:
    """Inches that a key needs below the panels of a printed figure."""
    return _KEY_LINE * (-(-len(texts) // _key_columns(texts)) + bool(heading)) + 0.1


def key_below(figure: Figure, handles: Sequence[Artist], heading: str, texts: Sequence[str]) -> None:
    """A key above the footnote, as wide as the column."""
    place = (0.0, 0.28 / figure.get_figheight())
    sizes: dict[str, Any] = {"fontsize": 7, "title_fontsize": 7, "labelspacing": 0.25, "columnspacing": 1.0}
    figure.legend(
        handles,
        texts,
        title=heading,
        loc="lower left",
        bbox_to_anchor=place,
        ncols=_key_columns(texts),
        frameon=False,
        alignment="left",
        handlelength=2.2,
        **sizes,
    )


def _key_columns(texts: Sequence[str]) -> int:
    return max(1, int(((printed_column() or 0.0) - 0.1) / (0.5 + text_width(texts))))


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
