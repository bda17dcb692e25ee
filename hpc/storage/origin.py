"""Which directory a record was written in: a copy of a sweep has records of tasks that work in the original."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def origin(root: Path) -> dict[str, Any]:
    """What a record says of the sweep directory that it is written in. Raises OSError."""
    known = os.stat(root)
    return {"root": str(root), "device": known.st_dev, "inode": known.st_ino}


def is_of(root: Path, record: Mapping[str, Any]) -> bool:
    """Whether a record was written in this very directory, by whatever path, or in it before it was moved.

    Records of earlier versions do not say; they count as written here.
    """
    recorded = record.get("root")
    if not recorded:
        return True
    try:
        return os.path.samefile(recorded, root)
    except (OSError, ValueError):  # nothing is there now: it may have been renamed
        known = os.stat(root)
        return (known.st_dev, known.st_ino) == (record.get("device"), record.get("inode"))
