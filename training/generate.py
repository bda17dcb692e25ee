"""Write a SimpleShapes data set with XOR targets: every file of it at once, or nothing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from training.simple_shapes import (
    BINS,
    LATENTS,
    UNPAIRED,
    Floats,
    attributes,
    bins,
    draw_labels,
    normalized_size,
    xor_class,
)
from training.splits import METADATA, SPLITS, TARGET_FIELDS, DataError, labels_file, nosize_file, targets_file

FORMAT: Final = 1
LATENT_NAME: Final = "mixed_latents"
MIX_SEED: Final = 20_240_607

Progress = Callable[[str], None]


def generate(
    directory: Path, *, train: int, val: int, test: int, seed: int, progress: Progress | None = None
) -> dict[str, Any]:
    """Generate a data set and return its metadata.

    train, val, test: rows per split, 1 or more. seed: of every random number in it.
    progress: called with one line at a time.
    The files are written beside the directory and renamed into place, so it is complete whenever it exists. A
    complete set of the same parameters is left alone. Raises DataError for any other directory that is not empty.
    """
    say = progress or (lambda line: None)
    sizes = {"train": train, "val": val, "test": test}
    wanted = {"format": FORMAT, "seed": seed, "sizes": sizes, "latents": LATENT_NAME}
    _refuse_sizes(sizes)
    present = _existing(directory, wanted)
    if present is not None:
        say(f"{directory} already holds this data set; nothing to do")
        return present
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        temporary.chmod(0o777 & ~_umask())
        for index, (split, rows) in enumerate(sizes.items()):
            say(f"{split}: {rows} rows")
            _write_split(temporary, split, rows, np.random.default_rng([seed, index]))
        metadata = {**wanted, "sha256": {name: digest(temporary / name) for name in _files(temporary)}}
        (temporary / METADATA).write_text(json.dumps(metadata, indent=2) + "\n")
        _sync(temporary)
        temporary.rename(directory)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    say(f"{directory}: written")
    return metadata


def digest(path: Path) -> str:
    """sha256 of a file's content, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def mixed_latents(labels: NDArray[Any]) -> Floats:
    """Twelve smooth functions of all visible attributes, size included: a stand-in for an image's latents.

    Returns shape (n, 12). The mixing weights are the same in every data set.
    """
    visible = attributes(labels, np.zeros(len(labels), dtype=np.float32))[:, :-1]
    visible = np.column_stack([visible, normalized_size(labels)])
    mix = np.random.default_rng(MIX_SEED)
    weights = mix.normal(0.0, 1.0, (visible.shape[1], LATENTS))
    return (2.0 * np.tanh((visible - 0.5) @ weights)).astype(np.float32)


def _write_split(directory: Path, split: str, rows: int, generator: np.random.Generator) -> None:
    labels = draw_labels(rows, generator)
    random = np.ascontiguousarray(labels[:, UNPAIRED])
    np.save(labels_file(directory, split), labels)
    np.save(nosize_file(directory, split), np.column_stack([labels[:, [0, 1, 2, 4, 5, 6, 7]], random]))
    targets = xor_targets(normalized_size(labels), random)
    np.save(targets_file(directory, split), targets)
    _write_csv(targets_file(directory, split).with_suffix(".csv"), targets)
    latents = directory / "saved_latents" / split / f"{LATENT_NAME}.npy"
    latents.parent.mkdir(parents=True)
    np.save(latents, mixed_latents(labels))


def xor_targets(size: Floats, random: Floats) -> NDArray[Any]:
    """The structured rows of `<split>_xor_targets.npy`, shape (n,), fields as TARGET_FIELDS."""
    targets = np.empty(len(size), dtype=list(TARGET_FIELDS))
    classes = xor_class(size, random)
    targets["sample_idx"] = np.arange(len(size))
    targets["size_normalized"] = size
    targets["random_attribute"] = random
    targets["size_bin"] = bins(size)
    targets["random_bin"] = bins(random)
    targets["xor_target_normalized"] = classes / (BINS - 1)
    targets["xor_target_bin"] = classes
    return targets


def _write_csv(path: Path, targets: NDArray[Any]) -> None:
    with path.open("w") as stream:
        stream.write(",".join(name for name, _ in TARGET_FIELDS) + "\n")
        stream.writelines(",".join(map(str, row)) + "\n" for row in targets.tolist())


def _refuse_sizes(sizes: Mapping[str, int]) -> None:
    for split in SPLITS:
        if sizes[split] < 1:
            raise DataError(f"{split} is {sizes[split]}; a split needs 1 row or more")


def _existing(directory: Path, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    """The metadata of a complete data set of the wanted parameters; None if the directory is missing or empty."""
    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return None
    try:
        metadata: dict[str, Any] = json.loads((directory / METADATA).read_text())
    except (OSError, ValueError):
        raise DataError(f"{directory}: not empty and not one of our data sets; name another directory") from None
    for key, value in wanted.items():
        if metadata.get(key) != value:
            raise DataError(
                f"{directory}: holds a data set with {key} {metadata.get(key)}, not {value}; name another directory"
            )
    for name, expected in metadata.get("sha256", {}).items():
        if not (directory / name).is_file() or digest(directory / name) != expected:
            raise DataError(f"{directory / name}: missing or changed; remove the directory to generate it again")
    return metadata


def _files(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def _sync(directory: Path) -> None:
    """Flush all files and folders, deepest first, so that the rename never publishes what a power cut could lose."""
    for path in _deepest_first(directory):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _deepest_first(directory: Path) -> Iterator[Path]:
    yield from sorted(directory.rglob("*"), key=lambda path: len(path.parts), reverse=True)
    yield directory


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
