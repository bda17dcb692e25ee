"""Two runs of one cell side by side, to the last bit, with the first difference in words."""

from __future__ import annotations

import numpy as np
import safetensors.numpy

from hpc.files import directories, limits, reading
from hpc.storage.store import Store
from hpc.sweep.cell import Cell


def differences(one: Store, other: Store, cell: Cell) -> list[str]:
    """What differs between a cell's results and histories in two sweep directories."""
    a, b = (dict(store.result(cell) or {}) for store in (one, other))
    found = [
        f"metric {name}: {value!r}, interrupted {b['metrics'].get(name)!r}"
        for name, value in a["metrics"].items()
        if b["metrics"].get(name) != value
    ]
    found += [
        f"{name}: {a[name]!r}, interrupted {b.get(name)!r}"
        for name in ("status", "epochs", "best_epoch")
        if a[name] != b.get(name)
    ]
    found += _first_epoch(
        *(reading.read(store.paths.history_file(cell), limits.HISTORY).decode() for store in (one, other))
    )
    return found


def weights_differ(one: Store, other: Store, cell: Cell) -> list[str]:
    """Which of a cell's final weights differ; their bytes are compared, not only their values."""
    names = [directories.entries(store.paths.cell_directory(cell)) for store in (one, other)]
    there = [store.paths.weights_file(cell).name in found for store, found in zip((one, other), names, strict=True)]
    if there[0] != there[1]:
        return ["only one of the runs has weights"]
    if not there[0]:
        return []
    a, b = (reading.read(store.paths.weights_file(cell), limits.ANY) for store in (one, other))
    if a == b:
        return []
    left, right = safetensors.numpy.load(a), safetensors.numpy.load(b)
    unequal = [
        f"weights {name}: largest difference {np.abs(left[name] - right[name]).max():.3g}"
        for name in left
        if name in right and left[name].tobytes() != right[name].tobytes()
    ]
    return unequal or ["the weights' files differ"]


def _first_epoch(one: str, other: str) -> list[str]:
    """The first epoch in which two histories differ, and its columns that do."""
    columns = one.splitlines()[0].split(",")
    # Text against text, as numbers are written with all their digits. A shorter history is reported at the end.
    for left, right in zip(one.splitlines(), other.splitlines(), strict=False):
        if left != right:
            names = [name for name, x, y in zip(columns, left.split(","), right.split(","), strict=False) if x != y]
            return [f"history from epoch {left.split(',')[0]} on: {', '.join(names)}"]
    return [] if one == other else ["the histories have different lengths"]
