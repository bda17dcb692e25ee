"""The data that a sweep was planned with: its digest, and whether it is still there and unchanged."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from hpc.sweep.definition import Sweep

_BLOCK_BYTES = 2**18


class StoppedError(Exception):
    """Reading was asked to stop before every byte was read."""


def _never() -> bool:
    return False


def fault(sweep: Sweep, stop: Callable[[], bool] = _never) -> str:
    """What is wrong with a sweep's data, in one line; empty if nothing is. Reads every byte.

    stop: asked again and again whether to go on, for reading may take minutes. Raises StoppedError, OSError.
    """
    if not sweep.data_digest:
        return ""
    if not sweep.sections["data"]["dir"]:
        return f"{sweep.name}: where the data of this sweep lies is not on record: it was taken from W&B, without paths"
    directory = Path(sweep.sections["data"]["dir"])
    images = sweep.sections["data"].get("image_dir")
    try:
        found = data_digest(directory, sweep.trainer.data_files, Path(images) if images else None, stop)
    except FileNotFoundError:
        return f"{directory}: the data of this sweep is missing; put it back"
    if found != sweep.data_digest:
        return f"{directory}: the data has changed since planning; restore it, or use another --output-dir"
    return ""


def data_digest(
    directory: Path, patterns: Iterable[str], images: Path | None = None, stop: Callable[[], bool] = _never
) -> str:
    """Digest of the content of a data directory's files that match the patterns, by name and bytes.

    images: a second directory in which files that the first one lacks may lie. stop: as for fault().
    Raises FileNotFoundError if no file of the data directory matches, StoppedError.
    """
    wanted = list(patterns)
    found = _matching(directory, wanted)
    if not found:
        raise FileNotFoundError(f"no file of {directory} matches {', '.join(wanted)}")
    if images is not None:
        found = _matching(images, wanted) | found  # a file of the data directory wins, as it does when data is read
    total = hashlib.sha256()
    # Sorted by name: the digest depends neither on the order of a directory nor on where the data lies.
    for name, path in sorted(found.items()):
        total.update(f"{name} {_file_digest(path, stop)}\n".encode())
    return total.hexdigest()


def _file_digest(path: Path, stop: Callable[[], bool]) -> str:
    digest, block = hashlib.sha256(), memoryview(bytearray(_BLOCK_BYTES))
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(block):
            if stop():
                raise StoppedError
            digest.update(block[:size])
    return digest.hexdigest()


def _matching(directory: Path, patterns: Iterable[str]) -> dict[str, Path]:
    paths = {path for pattern in patterns for path in directory.glob(pattern) if path.is_file()}
    return {path.relative_to(directory).as_posix(): path for path in paths}
