"""The data a sweep was planned with: still there, and still the same? Its content is part of every result."""

from __future__ import annotations

from pathlib import Path

from hpc.sweep.definition import Sweep
from hpc.trainer import data_digest


def fault(sweep: Sweep) -> str:
    """What is wrong with a sweep's data, in one line; empty if nothing is. Reads all of it. Raises OSError."""
    if not sweep.data_digest:
        return ""
    directory = Path(sweep.sections["data"]["dir"])
    images = sweep.sections["data"].get("image_dir")
    try:
        found = data_digest(directory, sweep.trainer.data_files, Path(images) if images else None)
    except FileNotFoundError:
        return f"{directory}: the data of this sweep is not there; put it back"
    if found != sweep.data_digest:
        return f"{directory}: the data has changed since planning; restore it, or use another --output-dir"
    return ""
