"""A SimpleShapes data set with XOR targets as arrays: load it, generate it, check it. Nothing here loads torch.

Domain `attr` (11 features): one-hot class, x, y, cos and sin of the rotation, r, g, b, a random number. Domain `v`
(13 features): 12 latents of the image, the normalized size. In both the base target equals the input; the synergy
target (8 classes) is never part of an input. Source of the encoding: the public scripts of the previous tool.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from training.shapes.distribution import (
    BINS,
    LATENTS,
    Floats,
    Integers,
    attributes,
    bins,
    mutual_information,
    normalized_size,
    xor_class,
)
from training.shapes.generate import digest, generate
from training.shapes.reading import (
    METADATA,
    SPLITS,
    TARGET_FIELDS,
    DataError,
    expect_rows,
    labels_file,
    nosize_file,
    read_array,
    read_labels,
    read_latents,
    read_targets,
    read_unpaired,
    refuse_rows,
    targets_file,
)
from training.shapes.writing import NOSIZE_COLUMNS

__all__ = ["DataError", "Dataset", "DatasetReport", "Split", "check", "generate", "load"]

# For independent sources, G = 2 n MI is chi-squared with (8 - 1)^2 = 49 degrees of freedom: fewer than two honest data
# sets in 10^9 exceed this.
INDEPENDENT_G: Final = 132.0


@dataclass(frozen=True)
class Split:
    """One split. attr: (n, 11). v: (n, 13). xor: (n,), the synergy class 0..7. Inputs are also the base targets."""

    attr: Floats
    v: Floats
    xor: Integers

    def __len__(self) -> int:
        return len(self.xor)


@dataclass(frozen=True)
class Dataset:
    """What training reads: a training and a validation split."""

    train: Split
    val: Split


@dataclass(frozen=True)
class DatasetReport:
    """What `check` found.

    rows: per split. information: mutual information with the target in nats, per split and source: `size` and `random`
    alone (0 except for sampling error) and `both` (ln 8).
    """

    directory: Path
    rows: dict[str, int] = field(default_factory=dict)
    information: dict[str, dict[str, float]] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{self.directory}: consistent"]
        for split, rows in self.rows.items():
            found = ", ".join(f"{source} {nats:.4f}" for source, nats in self.information[split].items())
            lines.append(f"  {split}: {rows} rows; information about the target in nats: {found} (ln 8 = 2.0794)")
        return "\n".join(lines)


def load(directory: Path, image_dir: Path | None = None) -> Dataset:
    """Read the splits that training uses.

    directory: one of ours, one of the previous tool (with latents in image_dir), or an upstream one with twelve label
    columns and latents. Raises DataError naming file, row and reason.
    """
    if not directory.is_dir():
        raise DataError(f"{directory}: no such directory; make one with `holdfast data generate`")
    return Dataset(train=load_split(directory, "train", image_dir), val=load_split(directory, "val", image_dir))


def load_split(directory: Path, split: str, image_dir: Path | None = None) -> Split:
    """One split; the target is computed from its sources and must agree with the stored one, where there is one."""
    labels = read_labels(directory, split)
    size = normalized_size(labels)
    random = np.ascontiguousarray(_random_attribute(directory, split, labels), dtype=np.float32)
    classes = xor_class(size, random)
    # Computed, not read: a target of another size or random attribute would be learned without anybody noticing.
    if targets_file(directory, split).exists():
        stored = read_targets(directory, split, len(labels))["xor_target_bin"]
        refuse_rows(
            targets_file(directory, split),
            classes != stored,
            "xor_target_bin is not (size_bin + random_bin) modulo 8 of this row's size and random attribute",
        )
    latents = read_latents(directory, split, len(labels), LATENTS, image_dir)
    v = np.column_stack([latents, size]).astype(np.float32)
    return Split(attr=attributes(labels, random), v=v, xor=classes)


def _random_attribute(directory: Path, split: str, labels: NDArray[Any]) -> NDArray[Any]:
    if targets_file(directory, split).exists():
        stored: NDArray[Any] = read_targets(directory, split, len(labels))["random_attribute"]
        return stored
    return read_unpaired(directory, split, labels)


def check(directory: Path) -> DatasetReport:
    """Check every split: files against each other, and that the target needs both sources.

    Raises DataError for the first inconsistency. Splits that are absent are skipped, but train must be there.
    """
    report = DatasetReport(directory)
    _check_digests(directory)
    for split in SPLITS:
        # Without a training split, load_split names the file that is missing.
        if split != "train" and not labels_file(directory, split).exists():
            continue
        loaded = load_split(directory, split)
        _check_nosize(directory, split, loaded)
        _check_csv(directory, split)
        report.rows[split] = len(loaded)
        report.information[split] = _information(directory, split, loaded)
    return report


def _information(directory: Path, split: str, loaded: Split) -> dict[str, float]:
    size, random = bins(loaded.v[:, -1]), bins(loaded.attr[:, -1])
    found = {
        "size": mutual_information(size, loaded.xor),
        "random": mutual_information(random, loaded.xor),
        "both": mutual_information(BINS * size + random, loaded.xor),
    }
    for source in ("size", "random"):
        if 2 * len(loaded) * found[source] > INDEPENDENT_G:
            raise DataError(
                f"{targets_file(directory, split)}: the target is not independent of its source {source!r} "
                f"(mutual information {found[source]:.4f} nats over {len(loaded)} rows)"
            )
    return found


def _check_nosize(directory: Path, split: str, loaded: Split) -> None:
    """The labels without size must repeat the labels' other columns and the target's random attribute."""
    path = nosize_file(directory, split)
    if not path.exists():
        return
    nosize = read_array(path)
    expect_rows(path, nosize, len(loaded))
    labels = read_labels(directory, split)[:, NOSIZE_COLUMNS]
    if nosize.shape[1:] != (labels.shape[1] + 1,):
        raise DataError(f"{path}: shape {nosize.shape}, expected (n, {labels.shape[1] + 1})")
    refuse_rows(path, np.any(_differs(nosize[:, :-1], labels), axis=1), "a column differs from the labels")
    refuse_rows(path, _differs(nosize[:, -1], loaded.attr[:, -1]), "the random attribute differs from the targets")


def _check_csv(directory: Path, split: str) -> None:
    """The text form of the targets must hold the same numbers as the binary one."""
    path = targets_file(directory, split).with_suffix(".csv")
    if not path.exists():
        return
    try:
        written = np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2, dtype=np.float64)
    except ValueError as error:
        raise DataError(f"{path}: not readable as numbers ({error})") from None
    targets = read_array(targets_file(directory, split))
    expect_rows(path, written, len(targets))
    for column, (name, _) in enumerate(TARGET_FIELDS):
        refuse_rows(path, _differs(written[:, column], targets[name]), f"{name} differs from the .npy file")


def _differs(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.bool_]:
    # Other programs may have written seven digits of a float32.
    differs: NDArray[np.bool_] = np.abs(first - second) > 1e-6
    return differs


def _check_digests(directory: Path) -> None:
    """Compare with the digests of metadata.json, which directories of the previous tool do not have."""
    path = directory / METADATA
    if not path.exists():
        return
    try:
        recorded = json.loads(path.read_text())["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not readable as metadata ({error})") from None
    for name, expected in recorded.items():
        if not (directory / name).is_file() or digest(directory / name) != expected:
            raise DataError(f"{directory / name}: missing, or changed since it was generated")
