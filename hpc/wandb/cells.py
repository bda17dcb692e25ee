"""What W&B should show for a cell: one run, made from the cell's published files alone.

It contains nothing of packs, attempts, requeues or machines, so that the same cell always gives the same run.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hpc.checkout import BUILT_IN_TRAINER
from hpc.errors import SweepError
from hpc.files import limits, reading
from hpc.storage import documents
from hpc.storage.named_files import HISTORY, is_named
from hpc.storage.results import foreign, provenance_of
from hpc.storage.store import Store
from hpc.storage.sweep_document import RevisionDocument
from hpc.sweep.cell import Cell, canonical_json
from hpc.sweep.definition import Sweep
from hpc.wandb.runs import EPOCH, FINISHED, OUTCOME, STEP, WandbRun

OFF, OFFLINE, LIVE = "off", "offline", "live"
# The previous tool's group: old and new runs of the experiment appear together.
_BUILT_IN_GROUP = "lowdim-synergy-prior"
# Key of a run's configuration with the sweep as text: one opaque value, not a hundred columns in a table of runs.
SWEEP_KEY = "holdfast_sweep"
# 96 bits: no two cells share an id by chance.
_ID_DIGITS = 24


class NotWholeError(Exception):
    """A cell's files cannot be mirrored. The message names the file and what is wrong with it."""


@dataclass(frozen=True)
class Target:
    """Where a sweep's runs go.

    mode: off, offline (files, once results are published) or live (while training).
    entity: empty for the user's default.
    """

    mode: str
    project: str
    entity: str
    group: str
    job_type: str
    tags: tuple[str, ...]


def target_of(sweep: Sweep) -> Target:
    """Where a sweep's configuration sends its runs."""
    asked = sweep.wandb.get("log_to_wandb", False)
    # sweep.json of a version that had no modes says true or false.
    mirror: Mapping[str, Any] = asked if isinstance(asked, Mapping) else {"mode": OFFLINE if asked else OFF}
    default_group = _BUILT_IN_GROUP if sweep.trainer.target == BUILT_IN_TRAINER else sweep.name
    return Target(
        mode=str(mirror.get("mode", OFF)),
        project=str(sweep.wandb.get("wandb_project") or sweep.name),
        entity=str(sweep.wandb.get("wandb_entity") or ""),
        group=str(mirror.get("group") or default_group),
        job_type=str(mirror.get("job_type") or "cell"),
        tags=tuple(mirror.get("tags") or ()),
    )


def run_id(sweep: Sweep, cell: Cell) -> str:
    """The one id of a cell's run: the same for every attempt, a different one under another configuration."""
    return sweep.cell_digest(cell)[:_ID_DIGITS]


def begun_run(sweep: Sweep, cell: Cell, target: Target) -> WandbRun:
    """A cell's run before its first epoch."""
    return WandbRun(
        id=run_id(sweep, cell),
        name=cell.name,
        project=target.project,
        entity=target.entity,
        group=target.group,
        state="running",
        job_type=target.job_type,
        tags=target.tags,
        config=run_config(sweep, cell),
        source=cell.name,
    )


def cell_run(store: Store, sweep: Sweep, cell: Cell, target: Target) -> WandbRun | None:
    """A cell's complete run; None if it has no result of this configuration. Raises NotWholeError, OSError."""
    try:
        result = store.result(cell)
    except SweepError as error:
        raise NotWholeError(str(error)) from None
    if result is None or foreign(result, cell, sweep):
        return None
    data = _history_bytes(store, cell, result)
    columns, rows = _history(data, cell)
    if not is_named(data, result, HISTORY):
        raise NotWholeError(f"{store.paths.history_file(cell)}: not the history of its result; submit again")
    outcome = {key: result.get(key) for key in ("status", "best_epoch", "epochs", "outcome_digest")}
    if early := result.get("stopped_early"):
        outcome["stopped_early"] = {key: value for key, value in early.items() if value is not None}
    # A server drops nulls, so the names of metrics without a value are stored beside them.
    measured = {"names": list(result["metrics"]), "null": [k for k, v in result["metrics"].items() if v is None]}
    history = {"digest": hashlib.sha256(data).hexdigest(), "columns": columns}
    summary = {**result["metrics"], OUTCOME: outcome | {"metrics": measured, "history": history}}
    return replace(begun_run(sweep, cell, target), state=FINISHED, summary=summary, rows=rows)


def run_config(sweep: Sweep, cell: Cell) -> dict[str, Any]:
    """A run's configuration: the predecessor's keys, the factors, and what identifies the cell."""
    fields = {sweep.trainer.field_of(name): value for name, value in cell.point}
    known = (
        _predecessor_keys(sweep, cell)
        if sweep.trainer.target == BUILT_IN_TRAINER
        else {"trainer_options": sweep.options}
    )
    return {
        **known,
        **fields,
        "seed": cell.seed,
        "cell": cell.name,
        "run_id": cell.run_id,
        "condition_id": cell.condition,
        "config_digest": sweep.config_digest,
        SWEEP_KEY: canonical_json(_without_paths(sweep)),
    }


def sweep_of(run: WandbRun) -> Sweep | None:
    """The sweep that a mirrored run belongs to, as the run records it; None for a run that Holdfast did not write.

    It names no figures: whoever wrote the run would thereby say which code draws what is made of it.
    Raises SweepError if it has more cells than are gone through.
    """
    text = run.config.get(SWEEP_KEY)
    if not isinstance(text, str):
        return None
    try:
        data = documents.fitting(reading.parse_json(text.encode()), RevisionDocument)
        analysis = {name: value for name, value in data["analysis"].items() if name != "figures"}
        sweep = Sweep.from_json(data | {"analysis": analysis})
    except (ValueError, KeyError, TypeError):
        return None
    if fault := limits.too_many(sweep.grid.most, limits.MOST_CELLS, "cells"):
        raise SweepError(f"{run.source}: the grid of its sweep has {fault}")
    return sweep


def _predecessor_keys(sweep: Sweep, cell: Cell) -> dict[str, Any]:
    sections = {name: sweep.sections.get(name, {}) for name in ("model", "synergy", "training", "experiment")}
    model = sections["model"]
    return {
        "workspace_dim": cell.factors.get("dim", model.get("workspace_dim")),
        "synergy_loss_scale": cell.factors.get("scale", sections["synergy"].get("loss_scale")),
        "experiment_type": sections["experiment"].get("name"),
        "epochs": sections["training"].get("epochs"),
        "hidden_dim": model.get("hidden_dim"),
        "decoder_hidden_dim": model.get("decoder_hidden_dim"),
        "n_layers": model.get("n_layers"),
        "loss_weights": sections["experiment"].get("weights"),
    }


def _without_paths(sweep: Sweep) -> dict[str, Any]:
    """A sweep as data, without this machine's paths. What does not change its numbers is set to its default."""
    data = sweep.to_json()
    if "dir" in data["sections"].get("data", {}):
        data["sections"]["data"] |= {"dir": "", "image_dir": None}
    data["trainer"]["path"] = Path(data["trainer"]["path"]).name
    return data | {"wandb": {}, "checkpoint_seconds": 60.0, "keep": {"weights": "final", "checkpoints": False}}


def _history_bytes(store: Store, cell: Cell, result: Mapping[str, Any]) -> bytes:
    try:
        return reading.read(store.paths.history_file(cell), limits.HISTORY)
    except FileNotFoundError:
        pack = provenance_of(result).get("pack")
    try:  # the attempt that won was killed before it linked its history
        return reading.read(store.paths.private_history(pack, cell), limits.HISTORY) if isinstance(pack, int) else b""
    except FileNotFoundError:
        return b""


def _history(data: bytes, cell: Cell) -> tuple[list[str], tuple[dict[str, Any], ...]]:
    """Columns and rows of a history.csv. Raises NotWholeError."""
    if not data.endswith(b"\n"):
        raise NotWholeError(f"{cell.name}: history.csv is {'cut short' if data else 'missing'}")
    try:
        lines = list(csv.reader(io.StringIO(data.decode())))
        rows = tuple(_row(lines[0], line) for line in lines[1:])
    except ValueError:
        raise NotWholeError(f"{cell.name}: history.csv is damaged") from None
    if lines[0][:1] != [EPOCH] or [row[EPOCH] for row in rows] != list(range(1, len(rows) + 1)):
        raise NotWholeError(f"{cell.name}: history.csv does not count its epochs from 1")
    return lines[0][1:], rows


def _row(columns: list[str], cells: list[str]) -> dict[str, Any]:
    """One epoch as W&B has it. Raises ValueError for a value that is not a finite number."""
    # An empty field is a metric without a value in this epoch; W&B leaves such a key out.
    values = {name: float(text) for name, text in zip(columns, cells, strict=True) if text}
    if not all(map(math.isfinite, values.values())):
        raise ValueError
    epoch = int(values[columns[0]])
    return {**values, EPOCH: epoch, STEP: epoch}
