"""SimpleShapes as images: one filled, anti-aliased convex shape per image on black, drawn for many images at once.

Source of the outlines: the SimpleShapes repository (ruflab), which draws them with matplotlib. Here a pixel's coverage
is exact along x and a mean over LINES scan lines along y: at most 12 of 255 from upstream's images, along the edges.
A change here changes every data set that is generated: count up FORMAT in generate.py with it.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from training.shapes.distribution import CLASS, RED, ROTATION, SIZE, X, Y

SIDE: Final = 32
CHANNELS: Final = 3
# Scan lines per pixel.
LINES: Final = 8
# Images drawn at once: 34 MB for the coverage of every scan line.
CHUNK: Final = 1024
# Points per Bezier curve: the polygon is then within 0.07 pixels of the largest egg.
CURVE_POINTS: Final = 8

# Outlines in a unit square around (0.5, 0.5), y upwards. All are convex, which _spans relies on.
DIAMOND: Final = ((0.5, 0.0), (1.0, 0.3), (0.5, 1.0), (0.0, 0.3))
TRIANGLE: Final = ((0.5, 1.0), (0.2, 0.0), (0.8, 0.0))
EGG_CURVES: Final = (
    ((0.5, 0.0), (0.8, 0.0), (0.9, 0.1), (0.9, 0.3)),
    ((0.9, 0.3), (0.9, 0.5), (0.7, 1.0), (0.5, 1.0)),
    ((0.5, 1.0), (0.3, 1.0), (0.1, 0.5), (0.1, 0.3)),
    ((0.1, 0.3), (0.1, 0.1), (0.2, 0.0), (0.5, 0.0)),
)


def _egg() -> NDArray[np.float64]:
    """The cubic Bezier spline as a polygon, shape (4 * CURVE_POINTS, 2)."""
    t = np.arange(CURVE_POINTS)[:, None] / CURVE_POINTS
    weights = np.hstack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3])
    return np.concatenate([weights @ np.array(curve) for curve in EGG_CURVES])


# By class: 0, 1, 2.
OUTLINES: Final = (np.array(DIAMOND), _egg(), np.array(TRIANGLE))


def render(labels: NDArray[Any]) -> NDArray[np.uint8]:
    """Images of label rows, shape (n, 32, 32, 3), RGB, first row on top. labels: (n, 11) or (n, 12)."""
    images = np.empty((len(labels), SIDE, SIDE, CHANNELS), dtype=np.uint8)
    for start in range(0, len(labels), CHUNK):
        chunk = labels[start : start + CHUNK]
        colours = chunk[:, None, None, RED : RED + CHANNELS].astype(np.float32)
        images[start : start + len(chunk)] = np.rint(coverage(chunk)[..., None] * colours)
    return images


def coverage(labels: NDArray[Any]) -> NDArray[np.float32]:
    """The fraction of each pixel that the shape covers, (n, 32, 32), first row on top. labels: (n, 11) or (n, 12)."""
    covered = np.zeros((len(labels), SIDE, SIDE), dtype=np.float32)
    for shape, outline in enumerate(OUTLINES):
        rows = np.flatnonzero(labels[:, CLASS] == shape)
        if len(rows):
            covered[rows] = _fill(_placed(outline, labels[rows]))
    # Upstream's origin is at the bottom left, an image's first row on top.
    return covered[:, ::-1]


def _placed(outline: NDArray[np.float64], labels: NDArray[Any]) -> NDArray[np.float32]:
    """Corners in pixels from the lower left, shape (n, corners, 2): rotated about the middle, scaled, moved."""
    angle = labels[:, ROTATION].astype(np.float64)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
    turned = (outline - 0.5) @ turn.transpose(0, 2, 1)
    placed: NDArray[np.float64] = turned * labels[:, SIZE, None, None] + labels[:, None, X : Y + 1]
    return placed.astype(np.float32)


def _fill(corners: NDArray[np.float32]) -> NDArray[np.float32]:
    """Coverage by convex polygons, shape (n, 32, 32), first row at the bottom; corners: (n, corners, 2)."""
    low, high = _spans(corners)
    left = np.arange(SIDE, dtype=np.float32)
    covered = np.minimum(high[..., None], left + 1.0) - np.maximum(low[..., None], left)
    np.clip(covered, 0.0, 1.0, out=covered)
    means: NDArray[np.float32] = covered.reshape(len(corners), SIDE, LINES, SIDE).mean(axis=2)
    return means


def _spans(corners: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where each scan line enters and leaves a convex polygon, in pixels, shape (n, 32 * LINES) each.

    A line that misses the polygon enters at infinity and leaves at minus infinity, which _fill clips to nothing.
    """
    line = (np.arange(SIDE * LINES, dtype=np.float32) + 0.5) / LINES
    low = np.full((len(corners), len(line)), np.inf, dtype=np.float32)
    high = np.full_like(low, -np.inf)
    for first, second in zip(corners.swapaxes(0, 1), np.roll(corners, -1, axis=1).swapaxes(0, 1), strict=True):
        x, y = first[:, :1], first[:, 1:]
        rise = second[:, 1:] - y
        # An edge along x is crossed by no line: 1e-6 only keeps the division from warning.
        slope = (second[:, :1] - x) / np.where(np.abs(rise) < 1e-6, 1e-6, rise)
        # Half open, so that a line through a corner crosses one of the two edges that meet there.
        crossed = (np.minimum(y, second[:, 1:]) <= line) & (line < np.maximum(y, second[:, 1:]))
        at = x + (line - y) * slope
        np.minimum(low, np.where(crossed, at, np.inf), out=low)
        np.maximum(high, np.where(crossed, at, -np.inf), out=high)
    return low, high
