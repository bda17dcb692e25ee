"""When the files of each cell were last written, and how long they are: what changes if a finished cell does."""

from __future__ import annotations

import os
from array import array
from collections.abc import Sequence

import numpy as np

from aggregate.arrays import Integers
from hpc.files import opening
from hpc.storage.store import Store

TIMES = (0, 1, 3)  # columns that hold time stamps; the others hold sizes
_NONE = (0, 0)
_NO_CELL = (0, 0, 0, 0, 0)


def cell_stamps(store: Store, names: Sequence[str]) -> Integers:
    """Time stamps in ns and sizes: directory, results.json, history.csv. Shape (cells, 5); 0 where there is none.

    All three of a cell at once, while the system has its directory at hand, and by short paths: of a hundred thousand
    cells that saves a third. The listing says which are there, since a network file system may remember that a name
    was not.
    """
    present = store.present()
    if not present:
        return np.zeros((len(names), 5), dtype=np.int64)
    found = array("q")
    result, history = os.path.basename(store.paths.result_path("")), os.path.basename(store.paths.history_path(""))
    with opening.folder(store.paths.results_root) as root:
        for name in names:
            found.extend(_cell_stamp(root, name, result, history) if name in present else _NO_CELL)
    return np.array(found, dtype=np.int64).reshape(-1, 5)


def _cell_stamp(root: int, name: str, result: str, history: str) -> tuple[int, ...]:
    try:
        directory = os.stat(name, dir_fd=root, follow_symlinks=False)
        one = os.stat(f"{name}/{result}", dir_fd=root, follow_symlinks=False)
        other = os.stat(f"{name}/{history}", dir_fd=root, follow_symlinks=False)
    except OSError:  # some of them are not there
        whole, *parts = (_time_and_size(path, root) for path in (name, f"{name}/{result}", f"{name}/{history}"))
        return whole[0], *parts[0], *parts[1]
    return directory.st_mtime_ns, one.st_mtime_ns, one.st_size, other.st_mtime_ns, other.st_size


def _time_and_size(path: str, root: int) -> tuple[int, int]:
    """root: descriptor of the directory that ``path`` begins in."""
    try:
        found = os.stat(path, dir_fd=root, follow_symlinks=False)
    except OSError:
        return _NONE
    return found.st_mtime_ns, found.st_size
