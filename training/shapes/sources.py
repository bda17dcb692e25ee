"""Where the samples of a data set come from: drawn here, or read from an upstream SimpleShapes directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from training.shapes.distribution import LABEL_COLUMNS, UNPAIRED, draw_labels
from training.shapes.reading import SPLITS, DataError, labels_file, read_labels
from training.shapes.render import CHANNELS, SIDE, render
from training.shapes.writing import CHUNK

# Keeps these numbers apart from those of DrawnSource, whose second number is a split's position, 0 to 2.
RANDOM_STREAM: Final = 7


class Source(Protocol):
    """Samples by split and row. labels: (n, 12). images: (n, 32, 32, 3). sizes: rows of each split."""

    @property
    def sizes(self) -> dict[str, int]: ...
    def labels(self, split: str, start: int, stop: int) -> NDArray[Any]: ...
    def images(self, split: str, start: int, stop: int) -> NDArray[np.uint8]: ...


class DrawnSource:
    """Samples with upstream's distributions. Every chunk of CHUNK rows follows from the seed by itself."""

    def __init__(self, sizes: dict[str, int], seed: int) -> None:
        self.sizes, self._seed = sizes, seed

    def labels(self, split: str, start: int, stop: int) -> NDArray[Any]:
        """start: a multiple of CHUNK; at most CHUNK rows. A row is the same in data sets of any size."""
        generator = np.random.default_rng([self._seed, list(self.sizes).index(split), start // CHUNK])
        # Always a whole chunk: fewer rows would take other numbers from the generator, which draws column by column.
        return draw_labels(CHUNK, generator)[: stop - start]

    def images(self, split: str, start: int, stop: int) -> NDArray[np.uint8]:
        return render(self.labels(split, start, stop))


class UpstreamSource:
    """An upstream directory: `<split>_labels.npy`, and images `<split>/<row>.png`.

    Labels of the older kind have no twelfth column. The seed then draws the random attribute.
    """

    def __init__(self, directory: Path, seed: int) -> None:
        self._directory = directory
        present = [split for split in SPLITS if labels_file(directory, split).exists()]
        if "train" not in present or "val" not in present:
            raise DataError(f"{directory}: no train_labels.npy or no val_labels.npy; name an upstream directory")
        self._labels = {split: read_labels(directory, split) for split in present}
        self.sizes = {split: len(labels) for split, labels in self._labels.items()}
        self._random = {
            split: np.random.default_rng([seed, RANDOM_STREAM, index]).random(rows, dtype=np.float32)
            for index, (split, rows) in enumerate(self.sizes.items())
        }

    def labels(self, split: str, start: int, stop: int) -> NDArray[Any]:
        stored = self._labels[split][start:stop]
        labels = np.empty((len(stored), len(LABEL_COLUMNS)), dtype=np.float32)
        labels[:, : stored.shape[1]] = stored
        if stored.shape[1] == UNPAIRED:
            labels[:, UNPAIRED] = self._random[split][start:stop]
        return labels

    def images(self, split: str, start: int, stop: int) -> NDArray[np.uint8]:
        images = np.empty((stop - start, SIDE, SIDE, CHANNELS), dtype=np.uint8)
        for row in range(start, stop):
            images[row - start] = read_png(self._directory / split / f"{row}.png")
        return images


def read_png(path: Path) -> NDArray[np.uint8]:
    """An image as (32, 32, 3), RGB. Raises DataError for a file that is missing, not an image, or of another size."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, UnidentifiedImageError) as error:
        raise DataError(f"{path}: not a readable image ({error})") from None
    if pixels.shape != (SIDE, SIDE, CHANNELS):
        raise DataError(f"{path}: {pixels.shape[1]}x{pixels.shape[0]} pixels, expected {SIDE}x{SIDE}")
    return pixels
