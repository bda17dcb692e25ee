"""The words on a figure: which its edges cut, and which lie over one another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray


def words(figure: Figure) -> list[Text]:
    """All that is written, ticks, labels and keys too."""
    texts = list(figure.texts)
    for ax in figure.axes:
        texts += [ax.title, ax.xaxis.label, ax.yaxis.label, *ax.texts]
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            texts += [axis.get_offset_text()]
            texts += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    for legend in [*figure.legends, *(ax.get_legend() for ax in figure.axes)]:
        texts += [*legend.get_texts(), legend.get_title()] if legend is not None else []
    return [text for text in texts if text.get_visible() and text.get_text().strip()]


def _renderer(figure: Figure) -> RendererAgg:
    """The one of the figure's own canvas: texts keep the one they were measured with, and each holds all pixels."""
    assert isinstance(figure.canvas, FigureCanvasAgg)
    return figure.canvas.get_renderer()


def boxes(texts: Sequence[Text], figure: Figure) -> NDArray[np.float64]:
    """Pixels from the lower left corner of what is written: left, bottom, right, top; shape (texts, 4)."""
    renderer = _renderer(figure)
    return np.array([text.get_window_extent(renderer).extents for text in texts]).reshape(-1, 4)


def texts_outside(figure: Figure) -> list[str]:
    """Words that the edge of the figure cuts."""
    figure.draw(_renderer(figure))
    texts, size = words(figure), figure.get_size_inches() * figure.dpi
    found = boxes(texts, figure)
    outside = (found[:, :2] < -1).any(axis=1) | (found[:, 2:] > size + 1).any(axis=1)
    return [texts[i].get_text() for i in np.flatnonzero(outside)]


def overlapping(texts: Sequence[Text], figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts, of a figure that has been drawn, of which one lies over the other by more than a pixel."""
    written = [text for text in texts if text.get_text().strip()]
    found = boxes(written, figure)
    low = np.maximum(found[:, None, :2], found[None, :, :2])
    high = np.minimum(found[:, None, 2:], found[None, :, 2:])
    over = np.triu((high - low > 1).all(axis=2), 1)
    return [(written[i].get_text(), written[j].get_text()) for i, j in np.argwhere(over)]
