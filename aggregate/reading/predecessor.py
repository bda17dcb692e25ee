"""A directory of the predecessor's, read as a sweep: its aggregate and individual results, never its pickle.

Nothing of it is changed: what is made of it goes to a directory of its own inside. We cannot know what was fixed before
its first job, so everything said of it is exploratory.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from aggregate.reading.histories import no_histories
from aggregate.reading.records import Gathered, Record, names_of
from aggregate.reading.sweep import Reading, read
from aggregate.reading.sweep import check_size as check_tables
from hpc.checkout import BUILT_IN_TRAINER, PROJECT_ROOT
from hpc.errors import SweepError
from hpc.files import reading
from hpc.files.directories import walk
from hpc.files.limits import DOCUMENT, MOST_CELLS, check_size, too_many
from hpc.storage.results import paused_collector
from hpc.storage.store import Store
from hpc.sweep.cell import Cell, check_value
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
_NAME = re.compile(r"dim_([0-9]{1,18})_scale_([0-9.eE+-]{1,40})_run_([0-9]{1,18})")
_FILE = re.compile(r"sweep_results_.*[.]json")
_MOST_FILES = 10 * MOST_CELLS  # of any name, below the directory of results
_DEEPEST = 8  # sections in sections that numbers are taken from
_MOST_BYTES = 4 * DOCUMENT  # of the results of single runs together
Key = tuple[int, float, int]


@dataclass(frozen=True)
class PastRun:
    """What is kept of a run, as its file has it. metrics: its numbers."""

    seed: Any
    epochs: Any
    metrics: Mapping[str, float | None]


def read_any(root: Path) -> Reading:
    """A sweep directory, ours or the predecessor's.

    Raises hpc.errors.SweepError if there is no sweep in it, OSError naming the path if it cannot be read.
    """
    return read_predecessor(root) if is_predecessor(root) else read(Store(root))


def is_predecessor(root: Path) -> bool:
    """Whether a directory without a sweep of ours holds runs of the predecessor's."""
    return not Store(root).exists() and (Store(root).paths.aggregated_file.is_file() or any(_files(root)))


@paused_collector()
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
    records = [_record(cell, runs, constant) for cell in grid]
    check_tables(root, sweep, no_histories(), records)
    gathered = Gathered(sweep, names_of(sweep), records, [])
    entry = sweep.to_json() | {"provenance": {"read from": "aggregated_results.json of the predecessor"}}
    manifest = {"format": 1, "revisions": [entry]}
    return Reading(Store(root / OUTPUT), manifest, gathered, no_histories(), remarks=(REMARK,))


def _runs(root: Path) -> dict[Key, PastRun]:
    """Runs by dimension, scale and number: those of the aggregate first, whose scales are exact, then single files."""
    found: dict[Key, PastRun] = {}
    for entry in chain(_aggregated(root), _single(root)):  # one file at a time
        try:
            key = int(entry["workspace_dim"]), float(entry["synergy_scale"]), int(entry["run_id"])
            for value in key:
                check_value(value)
        except (KeyError, TypeError, ValueError, OverflowError):
            continue  # no run of a grid
        if key[2] >= 0:
            found.setdefault(key, PastRun(entry.get("seed"), entry.get("epochs"), _metrics(entry)))
    return found


def _aggregated(root: Path) -> Iterator[Mapping[str, Any]]:
    path = Store(root).paths.aggregated_file
    if path.is_file():
        conditions = _json(path)
        for condition in conditions.values() if isinstance(conditions, dict) else ():
            results = condition.get("individual_results") if isinstance(condition, dict) else None
            yield from (entry for entry in _entries(path, results or []) if isinstance(entry, dict))


def _single(root: Path) -> Iterator[Mapping[str, Any]]:
    """Results of single runs; their directory's name says which run it was."""
    names = ((path, next(filter(None, map(_NAME.fullmatch, path.parts)), None)) for path in _files(root))
    runs = [(path, name) for path, name in names if name is not None]
    size = sum(os.lstat(path).st_size for path, _ in runs)  # one file can lie there under many names
    check_size(Store(root).paths.results_root, size, _MOST_BYTES)
    for path, name in runs:
        dim, scale, run = int(name[1]), name[2], int(name[3])
        content = _json(path)
        for entry in _entries(path, content):
            if isinstance(entry, dict) and entry.get("workspace_dim", dim) == dim:
                yield {"workspace_dim": dim, "synergy_scale": scale, "run_id": run, **entry}


def _entries(path: Path, content: Any) -> list[Any]:
    """What a file has, one run or a list of them. Raises SweepError for more than any sweep of it can hold."""
    entries = content if isinstance(content, list) else [content]
    if fault := too_many(len(entries), MOST_CELLS, "runs"):
        raise SweepError(f"{path}: it has {fault}")
    return entries


def _files(root: Path) -> Iterator[Path]:
    """Results of single runs below the directories of results, without links. Raises SweepError, OSError."""
    above = Store(root).paths.results_root
    found, seen = list[Path](), 0
    for folder, folders, names in walk(above):
        seen += len(folders) + len(names)
        if fault := too_many(seen, _MOST_FILES, "files"):
            raise SweepError(f"{above}: it has {fault}")
        if folder != str(above):
            found += [Path(folder, name) for name in names if _FILE.fullmatch(name)]
    return iter(sorted(found))


def _json(path: Path) -> Any:
    try:
        return json.loads(reading.read(path, DOCUMENT))  # its files hold NaN
    except RecursionError:
        raise SweepError(f"{path}: not valid JSON: it is nested too deeply; restore it, or take it away") from None
    except ValueError as error:
        raise SweepError(f"{path}: not valid JSON: {error}; restore it, or take it away") from None


def _grid(runs: Mapping[Key, PastRun]) -> Grid:
    """The smallest grid that holds every run; runs that are not there are missing cells."""
    dims, scales, numbers = (sorted({key[i] for key in runs}) for i in range(3))
    seeds = {number: FIRST_SEED + int(number) for number in range(int(numbers[-1]) + 1)}
    for (_, _, number), run in runs.items():
        if isinstance(run.seed, int) and not isinstance(run.seed, bool) and 0 <= run.seed < 2**63:
            seeds[number] = run.seed
    return Grid((Axis("dim", tuple(dims)), Axis("scale", tuple(scales))), tuple(seeds.values()))


def _record(cell: Cell, runs: Mapping[Key, PastRun], constant: set[str]) -> Record:
    dim, scale = (value for _, value in cell.point)
    run = runs.get((int(dim), float(scale), cell.run_id))
    if run is None:
        return Record(CellStatus(cell, MISSING), None)
    result = {
        "status": COMPLETED,
        "metrics": {name: value for name, value in run.metrics.items() if name not in constant},
        "epochs": run.epochs if isinstance(run.epochs, int) and 0 <= run.epochs < 2**53 else 0,
        "best_epoch": None,
        "config_digest": None,
        "outcome_digest": None,
    }
    return Record(CellStatus(cell, COMPLETED, 1), result)


def _metrics(entry: Mapping[str, Any], deeper: int = _DEEPEST) -> dict[str, float | None]:
    """All numbers of a run but those that say which it is; in sections too. What is not finite is null.

    deeper: how many sections further in are looked at.
    """
    found: dict[str, float | None] = {}
    for name, value in entry.items():
        if isinstance(value, dict):
            inside = _metrics(value, deeper - 1) if deeper else {}
            found |= {inner: number for inner, number in inside.items() if inner not in found}
        elif isinstance(value, int | float) and not isinstance(value, bool) and _is_metric(name):
            found[name] = float(value) if abs(value) <= sys.float_info.max else None
    return found


def _is_metric(name: str) -> bool:
    return name not in _IDENTITY and name.isprintable()  # half a character, which no table can hold, is not


def _constants(runs: Iterable[PastRun]) -> set[str]:
    """Names of numbers that are the same in every run: settings, not measurements."""
    seen: dict[str, set[float | None]] = {}
    for run in runs:
        for name, value in run.metrics.items():
            seen.setdefault(name, set()).add(value)
    return {name for name, values in seen.items() if len(values) == 1}
