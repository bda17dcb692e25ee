"""A directory of the predecessor's, read as a sweep: its aggregate and individual results, never its pickle.

Nothing of it is changed: what is made of it goes to a directory of its own inside. We cannot know what was fixed before
its first job, so everything said of it is exploratory.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from aggregate.reading.histories import joined
from aggregate.reading.records import Gathered, Record, names_of
from aggregate.reading.sweep import Reading, read
from hpc.checkout import BUILT_IN_TRAINER, PROJECT_ROOT
from hpc.errors import SweepError
from hpc.storage import files
from hpc.storage.opening import LIST, MOST_CELLS, too_many
from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep
from hpc.sweep.grid import FIRST_SEED, Axis, Grid
from hpc.sweep.states import COMPLETED, MISSING, CellStatus
from hpc.trainers.declaration import read_declaration

OUTPUT = "holdfast"
REMARK = (
    "read from a directory of the predecessor: its best_val_loss is that of the last epoch, failed runs left no trace, "
    "and scales that differ in the second decimal shared a directory"
)
_IDENTITY = {"workspace_dim", "synergy_scale", "run_id", "seed", "condition_id", "epochs", "best_epoch"}
_NAME = re.compile(r"dim_(\d+)_scale_([0-9.eE+-]+)_run_(\d+)")
Key = tuple[int, float, int]


def read_any(root: Path) -> Reading:
    """A sweep directory, ours or the predecessor's.

    Raises hpc.errors.SweepError if there is no sweep in it, OSError naming the path if it cannot be read.
    """
    return read_predecessor(root) if is_predecessor(root) else read(Store(root))


def is_predecessor(root: Path) -> bool:
    """Whether a directory without a sweep of ours holds runs of the predecessor's."""
    return not Store(root).exists() and (Store(root).paths.aggregated_file.is_file() or any(_files(root)))


def read_predecessor(root: Path) -> Reading:
    """Every run that can be found; histories were kept in none of its files.

    Raises SweepError if there is no run, or if a file is not what it should be.
    """
    runs = _runs(root)
    if not runs:
        raise SweepError(f"{root}: no run of the predecessor is in it; check the path")
    size = math.prod(len({key[i] for key in runs}) for i in range(2)) * (max(key[2] for key in runs) + 1)
    if fault := too_many(size, MOST_CELLS, "cells"):
        raise SweepError(f"{root}: the grid of its runs has {fault}")
    grid = _grid(runs)

    trainer = read_declaration(BUILT_IN_TRAINER, [PROJECT_ROOT])
    analysis: dict[str, Any] = {"primary_metrics": [], "reference": None, "alpha": 0.05}
    sweep = Sweep(root.name or "sweep", grid, trainer, {}, {}, "", analysis, 60.0, {})
    constant = _constants(runs.values()) - set(trainer.metrics)
    gathered = Gathered(sweep, names_of(sweep), [_record(cell, runs, constant) for cell in grid], [])
    entry = sweep.to_json() | {"provenance": {"read from": "aggregated_results.json of the predecessor"}}
    manifest = {"format": 1, "revisions": [entry]}
    return Reading(Store(root / OUTPUT), manifest, gathered, joined([], []), remarks=(REMARK,))


def _runs(root: Path) -> dict[Key, Mapping[str, Any]]:
    """Runs by dimension, scale and number: those of the aggregate first, whose scales are exact, then single files."""
    found: dict[Key, Mapping[str, Any]] = {}
    for entry in [*_aggregated(root), *_single(root)]:
        try:
            key = int(entry["workspace_dim"]), float(entry["synergy_scale"]), int(entry["run_id"])
        except (KeyError, TypeError, ValueError, OverflowError):
            continue  # no run of a grid
        found.setdefault(key, entry)
    return found


def _aggregated(root: Path) -> Iterator[Mapping[str, Any]]:
    path = Store(root).paths.aggregated_file
    if path.is_file():
        conditions = _json(path)
        for condition in conditions.values() if isinstance(conditions, dict) else ():
            results = condition.get("individual_results") if isinstance(condition, dict) else None
            yield from (entry for entry in results or () if isinstance(entry, dict))


def _single(root: Path) -> Iterator[Mapping[str, Any]]:
    """Results of single runs; their directory's name says which run it was."""
    for path in _files(root):
        name = next((match for part in path.parts if (match := _NAME.fullmatch(part))), None)
        if name is None:
            continue
        dim, scale, run = int(name[1]), float(name[2]), int(name[3])
        content = _json(path)
        for entry in content if isinstance(content, list) else [content]:
            if isinstance(entry, dict) and entry.get("workspace_dim", dim) == dim:
                yield {"workspace_dim": dim, "synergy_scale": scale, "run_id": run, **entry}


def _files(root: Path) -> Iterator[Path]:
    return iter(sorted(Store(root).paths.results_root.glob("*/**/sweep_results_*.json")))


def _json(path: Path) -> Any:
    try:
        return json.loads(files.read(path, LIST))  # its files hold NaN
    except RecursionError:
        raise SweepError(f"{path}: not valid JSON: it is nested too deeply; restore it, or take it away") from None
    except ValueError as error:
        raise SweepError(f"{path}: not valid JSON: {error}; restore it, or take it away") from None


def _grid(runs: Mapping[Key, Mapping[str, Any]]) -> Grid:
    """The smallest grid that holds every run; runs that are not there are missing cells."""
    dims, scales, numbers = (sorted({key[i] for key in runs}) for i in range(3))
    seeds = {number: FIRST_SEED + int(number) for number in range(int(numbers[-1]) + 1)}
    for (_, _, number), entry in runs.items():
        seed = entry.get("seed")
        if isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0:
            seeds[number] = seed
    return Grid((Axis("dim", tuple(dims)), Axis("scale", tuple(scales))), tuple(seeds.values()))


def _record(cell: Cell, runs: Mapping[Key, Mapping[str, Any]], constant: set[str]) -> Record:
    dim, scale = (value for _, value in cell.point)
    entry = runs.get((int(dim), float(scale), cell.run_id))
    if entry is None:
        return Record(CellStatus(cell, MISSING), None)
    metrics = {name: value for name, value in _metrics(entry).items() if name not in constant}
    epochs = entry.get("epochs")
    result = {
        "status": COMPLETED,
        "metrics": metrics,
        "epochs": epochs if isinstance(epochs, int) else 0,
        "best_epoch": None,
        "config_digest": None,
        "outcome_digest": None,
    }
    return Record(CellStatus(cell, COMPLETED, 1), result)


def _metrics(entry: Mapping[str, Any]) -> dict[str, float | None]:
    """All numbers of a run but those that say which it is; in sections too. What is not finite is null."""
    found: dict[str, float | None] = {}
    for name, value in entry.items():
        if isinstance(value, dict):
            found |= {inner: number for inner, number in _metrics(value).items() if inner not in found}
        elif isinstance(value, int | float) and not isinstance(value, bool) and name not in _IDENTITY:
            found[str(name)] = float(value) if abs(value) <= sys.float_info.max else None
    return found


def _constants(runs: Any) -> set[str]:
    """Names of numbers that are the same in every run: settings, not measurements."""
    seen: dict[str, set[float | None]] = {}
    for entry in runs:
        for name, value in _metrics(entry).items():
            seen.setdefault(name, set()).add(value)
    return {name for name, values in seen.items() if len(values) == 1}
