"""The files of a SimpleShapes directory: names, columns, and how to read them. Errors name file, row and reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from training.shapes.distribution import BINS, CLASS, CLASSES, LARGEST, SIZE, SMALLEST, UNPAIRED

# The order matters to sources.Drawn: a split's position is part of its seed.
SPLITS: Final = ("train", "val", "test")
METADATA: Final = "metadata.json"
TARGET_FIELDS: Final = (
    ("sample_idx", "i8"),
    ("size_normalized", "f4"),
    ("random_attribute", "f4"),
    ("size_bin", "i4"),
    ("random_bin", "i4"),
    ("xor_target_normalized", "f4"),
    ("xor_target_bin", "i4"),
)


class DataError(Exception):
    """A data set is missing, incomplete or inconsistent; the message names file, row and reason in one line."""


def labels_file(directory: Path, split: str) -> Path:
    return directory / f"{split}_labels.npy"


def nosize_file(directory: Path, split: str) -> Path:
    return directory / f"{split}_labels_nosize.npy"


def targets_file(directory: Path, split: str) -> Path:
    return directory / f"{split}_xor_targets.npy"


def images_file(directory: Path, split: str) -> Path:
    return directory / f"{split}_images.npy"


def latents_file(directory: Path, split: str, image_dir: Path | None = None) -> Path:
    """The one array in saved_latents/<split>, of any name: in the directory itself, in image_dir, or beside image_dir.

    The last two are where the previous tool kept latents. Raises DataError if there is none, or more than one.
    """
    places = [directory] if image_dir is None else [directory, image_dir, image_dir.parent]
    folders = [place / "saved_latents" / split for place in places]
    for folder in folders:
        found = sorted(folder.glob("*.npy"))
        if len(found) > 1:
            raise DataError(f"{folder}: holds {len(found)} .npy files; keep the one to train on")
        if found:
            return found[0]
    raise DataError(f"{' and '.join(map(str, folders))}: no .npy file of latents")


def read_array(path: Path) -> NDArray[Any]:
    """A memory-mapped array. Raises DataError for a file that is missing, truncated, pickled or not in .npy format."""
    try:
        # Never a pickle: reading one runs whatever code its author chose.
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: not a readable .npy file ({error})") from None
    return array


def read_labels(directory: Path, split: str) -> NDArray[Any]:
    """Labels of a split, shape (n, 11) or (n, 12), in LABEL_COLUMNS order. Raises DataError naming a bad row."""
    path = labels_file(directory, split)
    labels = read_array(path)
    if labels.ndim != 2 or labels.shape[1] not in (11, 12):
        raise DataError(f"{path}: shape {labels.shape}, expected (n, 11) or (n, 12)")
    refuse_rows(path, ~np.isfinite(labels).all(axis=1), "a number is not finite")
    refuse_rows(path, ~np.isin(labels[:, CLASS], range(CLASSES)), "the class is not 0, 1 or 2")
    outside = (labels[:, SIZE] < SMALLEST) | (labels[:, SIZE] > LARGEST)
    refuse_rows(path, outside, f"the size is outside {SMALLEST}..{LARGEST}")
    return labels


def read_targets(directory: Path, split: str, rows: int) -> NDArray[Any]:
    """The structured XOR targets of a split, shape (rows,). Raises DataError for missing fields or values."""
    path = targets_file(directory, split)
    targets = read_array(path)
    missing = [name for name, _ in TARGET_FIELDS if name not in (targets.dtype.names or ())]
    if missing:
        raise DataError(f"{path}: no field {missing[0]!r}")
    expect_rows(path, targets, rows)
    random = targets["random_attribute"]
    refuse_rows(path, ~((random >= 0) & (random <= 1)), "random_attribute is outside [0, 1]")
    classes = targets["xor_target_bin"]
    refuse_rows(path, ~((classes >= 0) & (classes < BINS)), f"xor_target_bin is outside 0..{BINS - 1}")
    return targets


def read_latents(directory: Path, split: str, rows: int, latents: int, image_dir: Path | None = None) -> NDArray[Any]:
    """Latent means of a split, shape (rows, latents); (rows, 2, latents) holds mean and log variance."""
    path = latents_file(directory, split, image_dir)
    array = read_array(path)
    expect_rows(path, array, rows)
    if array.shape[1:] == (2, latents):
        array = array[:, 0]  # the posterior mean; sampling would give other inputs in each run
    if array.shape[1:] != (latents,):
        raise DataError(f"{path}: shape {array.shape}, expected (n, {latents}) or (n, 2, {latents})")
    refuse_rows(path, ~np.isfinite(array).all(axis=1), "a latent is not finite")
    return array


def expect_rows(path: Path, array: NDArray[Any], rows: int) -> None:
    """Raises DataError unless the array has as many rows as the labels."""
    if len(array) != rows:
        raise DataError(f"{path}: {len(array)} rows, but the labels have {rows}")


def refuse_rows(path: Path, bad: NDArray[np.bool_], reason: str) -> None:
    """Raises DataError naming the first row that is bad; bad: shape (n,)."""
    if bad.any():
        raise DataError(f"{path}: row {int(np.argmax(bad))}: {reason} ({int(bad.sum())} such rows)")


def read_unpaired(directory: Path, split: str, labels: NDArray[Any]) -> NDArray[Any]:
    """Upstream's twelfth column, shape (n,). Raises DataError for older files, which do not have it."""
    path = labels_file(directory, split)
    if labels.shape[1] <= UNPAIRED:
        raise DataError(
            f"{path}: 11 columns and no {targets_file(directory, split).name}, so there is no random attribute; "
            "make a data set from it with training.shapes.generate.convert"
        )
    random = labels[:, UNPAIRED]
    refuse_rows(path, ~((random >= 0) & (random <= 1)), "the unpaired attribute is outside [0, 1]")
    return random
