"""Write the files of one split, a chunk of rows at a time, so that memory does not grow with the data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TextIO

import numpy as np
from numpy.typing import NDArray

from training.shapes.distribution import (
    BINS,
    LABEL_COLUMNS,
    LATENTS,
    UNPAIRED,
    Floats,
    bins,
    normalized_size,
    xor_class,
)
from training.shapes.reading import TARGET_FIELDS, images_file, labels_file, nosize_file, targets_file
from training.shapes.render import CHANNELS, SIDE

# Rows at a time, 50 MB of images. Also the unit of seeding (sources.DrawnSource): another number gives other data.
CHUNK: Final = 16_384
# class, x, y, rotation, r, g, b: what the previous tool's labels without size hold, before the random attribute.
NOSIZE_COLUMNS: Final = (0, 1, 2, 4, 5, 6, 7)

Rows = Callable[[int, int], NDArray[Any]]


def chunks(rows: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of consecutive chunks of rows, stop excluded."""
    return ((start, min(start + CHUNK, rows)) for start in range(0, rows, CHUNK))


def write_labels(directory: Path, split: str, rows: int, labels: Rows) -> None:
    """Labels, labels without size, and XOR targets. labels(start, stop): rows of twelve columns."""
    targets_path = targets_file(directory, split)
    with targets_path.with_suffix(".csv").open("w") as stream:
        stream.write(",".join(name for name, _ in TARGET_FIELDS) + "\n")
        all_labels = create(labels_file(directory, split), (rows, len(LABEL_COLUMNS)))
        nosize = create(nosize_file(directory, split), (rows, len(NOSIZE_COLUMNS) + 1))
        targets = create(targets_path, (rows,), list(TARGET_FIELDS))
        for start, stop in chunks(rows):
            part = labels(start, stop)
            random = np.ascontiguousarray(part[:, UNPAIRED], dtype=np.float32)
            all_labels[start:stop] = part
            nosize[start:stop] = np.column_stack([part[:, NOSIZE_COLUMNS], random])
            targets[start:stop] = xor_targets(normalized_size(part), random, start)
            _write_csv(stream, targets[start:stop])


def write_latents(path: Path, rows: int, latents: Rows) -> None:
    """Latents of a split. latents(start, stop): shape (stop - start, 12)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = create(path, (rows, LATENTS))
    for start, stop in chunks(rows):
        array[start:stop] = latents(start, stop)


def write_images(directory: Path, split: str, rows: int, images: Rows) -> None:
    """Images of a split as one array. images(start, stop): shape (stop - start, 32, 32, 3)."""
    array = create(images_file(directory, split), (rows, SIDE, SIDE, CHANNELS), np.uint8)
    for start, stop in chunks(rows):
        array[start:stop] = images(start, stop)


def xor_targets(size: Floats, random: Floats, first: int = 0) -> NDArray[Any]:
    """The structured rows of `<split>_xor_targets.npy`, shape (n,), with TARGET_FIELDS. first: index of row 0."""
    targets = np.empty(len(size), dtype=list(TARGET_FIELDS))
    classes = xor_class(size, random)
    targets["sample_idx"] = np.arange(first, first + len(size))
    targets["size_normalized"] = size
    targets["random_attribute"] = random
    targets["size_bin"] = bins(size)
    targets["random_bin"] = bins(random)
    targets["xor_target_normalized"] = classes / (BINS - 1)
    targets["xor_target_bin"] = classes
    return targets


def create(path: Path, shape: Sequence[int], dtype: Any = np.float32) -> NDArray[Any]:
    """A new .npy file as a writable memory map: the array never has to fit into memory."""
    array: NDArray[Any] = np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=tuple(shape))
    return array


def _write_csv(stream: TextIO, targets: NDArray[Any]) -> None:
    stream.writelines(",".join(map(str, row)) + "\n" for row in targets.tolist())
