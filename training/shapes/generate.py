"""Write a SimpleShapes data set with XOR targets: all of its files at once, or none."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from training.shapes.distribution import LATENTS, Floats, attributes, normalized_size
from training.shapes.reading import METADATA, SPLITS, DataError
from training.shapes.sources import DrawnSource, Source, UpstreamSource
from training.shapes.writing import CHUNK, Rows, chunks, write_images, write_labels, write_latents

# Change it with anything that changes a byte of a data set, or an old set would be taken for a new one.
FORMAT: Final = 2
# Arbitrary and fixed: other mixing weights would give other latents for the same labels.
MIX_SEED: Final = 20_240_607
VAE_FILE: Final = "vae.safetensors"
# Images that the VAE sees in training, 200 MB of them; more of the same distribution would only cost memory.
VAE_IMAGES: Final = 4 * CHUNK
# 3,072 values each: plenty for the two digits of the error that are shown.
VAE_TEST_IMAGES: Final = 2048
# Four passes over the images in batches of 64, within bounds: a tiny set still needs a VAE that sees shapes, and beyond
# 8,000 steps, three minutes on a CPU, the error hardly falls (docs/performance.md).
ROWS_PER_VAE_STEP: Final = 16
VAE_STEPS: Final = (100, 8000)

Progress = Callable[[str], None]
Latents = Literal["vae", "mixed"]


def generate(
    directory: Path,
    *,
    train: int,
    val: int,
    test: int,
    seed: int,
    progress: Progress | None = None,
    latents: Latents = "vae",
    keep_images: bool = False,
) -> dict[str, Any]:
    """Generate a data set and return its metadata.

    train, val, test: rows per split, 1 or more. seed: decides every random number in it.
    progress: called with one line at a time.
    latents: "vae" trains an autoencoder on the rendered images; "mixed" computes twelve smooth functions of what an
        image shows, for quick tests without images and torch.
    keep_images: whether to keep the images beside the latents, as `<split>_images.npy`.
    The files are written beside the directory and renamed into place, so that it is complete whenever it exists. A
    complete set with the same parameters is left alone. Raises DataError for any other directory that is not empty.
    """
    sizes = {"train": train, "val": val, "test": test}
    _refuse_sizes(sizes)
    wanted = {"format": FORMAT, "seed": seed, "sizes": sizes, "latents": latents, "keep_images": keep_images}
    return _write(directory, DrawnSource(sizes, seed), wanted, progress or (lambda line: None))


def convert(
    upstream: Path, directory: Path, *, seed: int, progress: Progress | None = None, keep_images: bool = False
) -> dict[str, Any]:
    """Make a data set from an upstream SimpleShapes directory: its labels, and latents of a VAE trained on its images.

    The random attribute is upstream's twelfth column; for older files, the seed draws it. Everything else is as in
    `generate`. A directory that has saved_latents and twelve columns can be trained on without this.
    """
    source = UpstreamSource(upstream, seed)
    wanted = {"format": FORMAT, "seed": seed, "sizes": source.sizes, "latents": "vae", "keep_images": keep_images}
    wanted["upstream"] = {split: digest(upstream / f"{split}_labels.npy") for split in source.sizes}
    return _write(directory, source, wanted, progress or (lambda line: None))


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


def _write(directory: Path, source: Source, wanted: dict[str, Any], say: Progress) -> dict[str, Any]:
    present = _existing(directory, wanted)
    if present is not None:
        say(f"{directory} already holds this data set; nothing to do")
        return present
    directory.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, hence on the same file system: only then is renaming one act.
    temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        # mkdtemp makes a folder for its owner alone; a data set is read by a whole lab.
        temporary.chmod(0o777 & ~_umask())
        made = _write_files(temporary, source, wanted, say)
        metadata = {**wanted, **made, "sha256": {name: digest(temporary / name) for name in _files(temporary)}}
        (temporary / METADATA).write_text(json.dumps(metadata, indent=2) + "\n")
        _sync(temporary)
        temporary.rename(directory)
    except BaseException:  # Ctrl-C too: half a data set helps nobody
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    say(f"{directory}: written")
    return metadata


def _write_files(directory: Path, source: Source, wanted: Mapping[str, Any], say: Progress) -> dict[str, Any]:
    """Write all files except the metadata. Returns what the metadata is to say about them."""
    made: dict[str, Any] = {}
    name = f"{wanted['latents']}_latents.npy"
    encode = _mixed(source) if wanted["latents"] == "mixed" else _trained(directory, source, wanted["seed"], made, say)
    for split, rows in source.sizes.items():
        say(f"{split}: {rows} rows")
        write_labels(directory, split, rows, partial(source.labels, split))
        write_latents(directory / "saved_latents" / split / name, rows, encode(split))
        if wanted["keep_images"]:
            write_images(directory, split, rows, partial(source.images, split))
    return made


def _mixed(source: Source) -> Callable[[str], Rows]:
    return lambda split: lambda start, stop: mixed_latents(source.labels(split, start, stop))


def _trained(directory: Path, source: Source, seed: int, made: dict[str, Any], say: Progress) -> Callable[[str], Rows]:
    """Train a VAE on training images, save it, and measure it on validation images."""
    from training.shapes.vae import posterior_means, reconstruction_error, save_vae, train_vae

    rows = source.sizes["train"]
    steps = min(max(rows // ROWS_PER_VAE_STEP, VAE_STEPS[0]), VAE_STEPS[1])
    say(f"VAE: {min(rows, VAE_IMAGES)} images, {steps} steps")
    images = np.concatenate([source.images("train", *part) for part in chunks(min(rows, VAE_IMAGES))])
    vae = train_vae(images, seed=seed, steps=steps, say=say)
    test_images = source.images("val", 0, min(source.sizes["val"], VAE_TEST_IMAGES))
    error = reconstruction_error(vae, test_images)
    say(f"VAE: reconstruction error {error['mse']:.5f}, {100 * error['explained']:.0f} % of the variance explained")
    save_vae(vae, directory / VAE_FILE)
    made["vae"] = {"steps": steps, "images": len(images), "reconstruction": error}
    return lambda split: lambda start, stop: posterior_means(vae, source.images(split, start, stop))


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
        raise DataError(f"{directory}: not empty, and not one of our data sets; name another directory") from None
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
    """Flush all files and folders, deepest first: the rename must not publish what a power cut could still lose."""
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
    # There is no way to read it but to set it.
    current = os.umask(0)
    os.umask(current)
    return current
