"""SimpleShapes as a distribution: attributes, their normalized forms, and the XOR target that needs both modalities.

Columns of a label row (upstream's order): class, x, y, size, rotation, r, g, b, h, l, s, unpaired. Older files end with
s. The twelfth column is a uniform number in [0, 1) that no image shows; it serves as the random source of the target.
Source: the SimpleShapes repository's generator (ruflab); colours follow OpenCV's 8-bit HLS.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

# Upstream's ranges in pixels, both ends included: a shape of the largest size just fits into the image.
CLASSES: Final = 3
SMALLEST, LARGEST = 7, 14
MARGIN_LOW, MARGIN_HIGH = 7, 24
# Of 255. Darker shapes would be hard to see on the black background.
LIGHTNESS_LOW, LIGHTNESS_HIGH = 46, 255
# As many as there are sizes, so that a size determines its bin and the target is uniform over the classes.
BINS: Final = 8

LABEL_COLUMNS: Final = ("class", "x", "y", "size", "rotation", "r", "g", "b", "h", "l", "s", "unpaired")
CLASS, X, Y, SIZE, ROTATION, RED, UNPAIRED = 0, 1, 2, 3, 4, 5, 11
# Features of a domain, and the places of the target's two sources in them.
ATTR_FEATURES: Final = 11
RANDOM_FEATURE: Final = 10
LATENTS: Final = 12
V_FEATURES: Final = 13
SIZE_FEATURE: Final = 12


def draw_labels(n: int, generator: np.random.Generator) -> Floats:
    """Labels of n samples with upstream's distributions, shape (n, 12), in LABEL_COLUMNS order."""
    labels = np.empty((n, len(LABEL_COLUMNS)), dtype=np.float32)
    labels[:, CLASS] = generator.integers(0, CLASSES, n)
    labels[:, X] = generator.integers(MARGIN_LOW, MARGIN_HIGH + 1, n)
    labels[:, Y] = generator.integers(MARGIN_LOW, MARGIN_HIGH + 1, n)
    labels[:, SIZE] = generator.integers(SMALLEST, LARGEST + 1, n)
    labels[:, ROTATION] = generator.uniform(0.0, 2.0 * np.pi, n)
    hls = generator.integers([0, LIGHTNESS_LOW, 0], [181, LIGHTNESS_HIGH + 1, 256], size=(n, 3))
    # Hue 180 is hue 0 again: the upper end, 181, is excluded.
    labels[:, 5:8] = hls_to_rgb(hls)
    labels[:, 8:11] = hls
    labels[:, UNPAIRED] = generator.random(n, dtype=np.float32)
    return labels


def hls_to_rgb(hls: Integers) -> Integers:
    """OpenCV's 8-bit HLS to RGB: hue 0..180 (in steps of two degrees), lightness, saturation 0..255; shape (n, 3)."""
    hue = (hls[:, 0] % 180) / 30.0
    lightness, saturation = hls[:, 1] / 255.0, hls[:, 2] / 255.0
    chroma = (1.0 - np.abs(2.0 * lightness - 1.0)) * saturation
    low = lightness - chroma / 2.0
    sector = np.floor(hue).astype(np.int64)
    second = chroma * (1.0 - np.abs(hue % 2.0 - 1.0))
    zero = np.zeros_like(chroma)
    by_sector = np.stack(
        [
            np.stack([chroma, second, zero], 1),
            np.stack([second, chroma, zero], 1),
            np.stack([zero, chroma, second], 1),
            np.stack([zero, second, chroma], 1),
            np.stack([second, zero, chroma], 1),
            np.stack([chroma, zero, second], 1),
        ]
    )
    rgb = by_sector[sector, np.arange(len(hls))] + low[:, None]
    return np.rint(rgb * 255.0).clip(0, 255).astype(np.int64)


def normalized_size(labels: NDArray[Any]) -> Floats:
    """Size on [0, 1] over upstream's range 7..14, shape (n,). It is part of the visual domain only."""
    return ((labels[:, SIZE] - SMALLEST) / (LARGEST - SMALLEST)).astype(np.float32)


def attributes(labels: NDArray[Any], random: Floats) -> Floats:
    """Input and base target of the domain `attr`, shape (n, 11): all but the size, then the random attribute, (n,)."""
    attr = np.empty((len(labels), ATTR_FEATURES), dtype=np.float32)
    attr[:, :3] = labels[:, CLASS].astype(np.int64)[:, None] == np.arange(CLASSES)
    attr[:, 3:5] = (labels[:, X : Y + 1] - MARGIN_LOW) / (MARGIN_HIGH - MARGIN_LOW)
    # As a point on the circle: 0 and 2 pi are the same rotation.
    attr[:, 5] = np.cos(labels[:, ROTATION])
    attr[:, 6] = np.sin(labels[:, ROTATION])
    attr[:, 7:10] = labels[:, RED : RED + 3] / 255.0
    attr[:, RANDOM_FEATURE] = random
    return attr


def bins(values: Floats) -> Integers:
    """Which of 8 equal parts of [0, 1] each value falls into, shape as given, 0..7."""
    # Clipped, as 1.0 itself would fall into a ninth.
    return np.clip(np.floor(BINS * values.astype(np.float64)), 0, BINS - 1).astype(np.int64)


def xor_class(size: Floats, random: Floats) -> Integers:
    """The synergy target, 0..7, shape (n,): uniform given either source alone, fixed by both together.

    size: normalized size (integer sizes fall into exactly one bin each). random: the random attribute.
    """
    return (bins(size) + bins(random)) % BINS


def mutual_information(first: Integers, second: Integers) -> float:
    """Plug-in mutual information of two vectors of labels (n,), in nats.

    With a and b different labels it is biased upwards by about (a - 1)(b - 1) / 2n.
    """
    joint = np.zeros((first.max() + 1, second.max() + 1))
    np.add.at(joint, (first, second), 1.0)
    joint /= joint.sum()
    independent = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    filled = joint > 0
    return float((joint[filled] * np.log(joint[filled] / independent[filled])).sum())
