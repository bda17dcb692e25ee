"""What lies in the folders of a user's project, gone through within bounds: each may be somebody's whole disk."""

from __future__ import annotations

import glob
import math
import os
from itertools import takewhile
from pathlib import Path

from hpc.errors import SweepError
from hpc.trainers import left_out

# Names that are looked at for a pattern, or a package.
MOST_SEEN = 100_000


def code_below(folder: Path) -> list[Path]:
    """Sources of a package; links to folders are not followed. Raises SweepError if it is too large to be one."""
    found, seen = [], 0
    for directory, folders, names in os.walk(folder):
        seen += len(folders) + len(names)
        if seen > MOST_SEEN:
            raise SweepError(
                f"{folder}: more than {MOST_SEEN:,} files, too many for a package; correct the trainer's path"
            )
        found += [Path(directory, name) for name in names if name.endswith(".py")]
    return sorted(path for path in found if path.is_file())


def matching(folder: Path, pattern: str) -> list[Path] | None:
    """What a pattern matches, as seen from a folder; None if too many names would be looked at for it."""
    parts = Path(pattern).parts
    plain = list(takewhile(lambda part: not glob.has_magic(part), parts))
    deep = math.inf if "**" in parts else len(parts) - len(plain)
    if _is_larger(folder.joinpath(*plain), deep):
        return None
    found = glob.glob(pattern, root_dir=folder, recursive=True)
    return [Path(os.path.normpath(folder / name)) for name in found]


def _is_larger(folder: Path, deep: float) -> bool:
    """Whether there are more names below a folder than are looked at. deep: how far down is looked.

    Links are followed, as glob does, through however many a folder leads back to itself.
    """
    seen, start = 0, len(folder.parts)
    for directory, folders, names in os.walk(folder, followlinks=True):
        seen += len(folders) + len(names)
        if seen > MOST_SEEN:
            return True
        if len(Path(directory).parts) - start + 1 >= deep:
            folders.clear()
    return False


def tree(folder: Path, most: int, tracked: set[Path] | None = None) -> list[Path] | None:
    """Files below a folder that are worth a thought, and only those tracked; None if they are more than most."""
    if tracked is not None:
        shown = (path for path in tracked if not _is_hidden(path.parent.relative_to(folder)))
        found = [path for path in shown if path.is_file() and not left_out.is_leftover(path)]
        return found if len(found) <= most else None
    found, seen = [], 0
    for directory, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not left_out.skipped_folder(os.path.join(directory, name), name)]
        seen += len(names) + len(folders)
        if seen > most:
            return None
        paths = (Path(directory, name) for name in names)
        found += [path for path in paths if path.is_file() and not left_out.is_leftover(path)]
    return found


def _is_hidden(folder: Path) -> bool:
    return any(part.startswith(".") for part in folder.parts)
