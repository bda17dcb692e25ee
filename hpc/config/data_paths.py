"""Paths of a configuration: where the data is, what is in it, and where results may go."""

from __future__ import annotations

import ast
import errno
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hpc.checkout import BUILT_IN_TRAINER
from hpc.config.schema.configuration import Configuration
from hpc.faults import Faults
from hpc.paths import expanded
from hpc.storage.layout import Layout
from hpc.sweep.definition import DeclaredTrainer
from hpc.trainers.data import data_digest

# Of the built-in trainer: what it learns from and what it is measured on, and the table with a row for each sample.
_TABLES = {"training": "train_labels.npy", "validation": "val_labels.npy"}


def read_path(name: str, text: str, faults: Faults) -> Path | None:
    """A path as users write it; None if it cannot be one. Paths go into scripts: no line breaks."""
    try:
        path = expanded(text)
    except ValueError as error:
        faults.value(name, text, str(error))
        return None
    try:
        if not str(path).isprintable():
            raise ValueError
        os.lstat(path)  # the system itself knows which names it takes; that nothing is there yet is fine
    except ValueError:  # control characters
        faults.value(name, text, "this cannot be a path")
        return None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            faults.value(name, text, "this is too long for a path")
            return None
    return path


def output_directory(configuration: Configuration, faults: Faults) -> Path:
    """Where the sweep is to lie: a directory of its own, and not among the files that somebody works on."""
    text = configuration.experiment.output_dir
    read = read_path("experiment.output_dir", text, faults)
    if read is None:
        return Path()
    path = read.absolute()
    here, place = Path.cwd(), Path(os.path.normpath(path))
    if place in (here, *here.parents) and not _is_free(place):
        faults.value("experiment.output_dir", text, "a sweep needs a directory of its own; name one in it, such as out")
    return path


def _is_free(path: Path) -> bool:
    """Whether a directory holds nothing, or a sweep."""
    try:
        names = os.listdir(path)
    except OSError:  # whoever writes there says what is wrong
        return True
    return not names or Layout(path).sweep_file.name in names


def data_directory(
    configuration: Configuration, trainer: DeclaredTrainer, places: Sequence[Path], faults: Faults
) -> Path | None:
    """Where the data is, searched from each of the places; None if the trainer takes none."""
    if trainer.target != BUILT_IN_TRAINER and "dir" not in configuration.data.model_fields_set:
        return None
    given = read_path("data.dir", configuration.data.dir, faults)
    if given is None:
        return None
    for place in places:
        if (place / given).is_dir():
            return (place / given).resolve()
    fix = f"there is no such directory; `holdfast data generate {shlex.quote(str(given))}` makes one"
    faults.value("data.dir", configuration.data.dir, fix)
    return None


def data_section(
    configuration: Configuration, trainer: DeclaredTrainer, directory: Path, faults: Faults
) -> dict[str, Any]:
    """What is found of the data. image_dir: the predecessor's second directory, if it exists, where latents may be.

    samples: how many the built-in trainer learns from and is measured on, for the report, as far as files say.
    """
    given = configuration.data.image_dir
    images = read_path("data.image_dir", given, faults) if given else None
    section = {"dir": str(directory), "image_dir": str(images.absolute()) if images and images.is_dir() else None}
    tables = _TABLES.items() if trainer.target == BUILT_IN_TRAINER else ()
    samples = {split: rows for split, name in tables if (rows := _rows(directory / name)) is not None}
    return {**section, "samples": samples} if samples else section


def data_content(directory: Path, images: str | None, patterns: Sequence[str], faults: Faults) -> str:
    """Digest of the data's content: names and bytes of the files that match the trainer's patterns."""
    try:
        return data_digest(directory, patterns, Path(images) if images else None)
    except FileNotFoundError:
        fix = f"it contains no data set; `holdfast data generate {shlex.quote(str(directory))}` makes one"
        faults.value("data.dir", str(directory), fix)
        return ""


def _rows(path: Path) -> int | None:
    """Rows of a NumPy file by its header alone: numpy takes longer to import than all else that planning does."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
            size = int.from_bytes(file.read(2 if start[6] == 1 else 4), "little")
            header = file.read(size).decode("latin1")
            return int(ast.literal_eval(header)["shape"][0]) if start[:6] == b"\x93NUMPY" else None
    except (OSError, ValueError, SyntaxError, TypeError, LookupError):
        return None  # whoever reads the data says what is wrong with it
