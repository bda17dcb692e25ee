"""Runs that the previous tool logged, as a sweep of the built-in trainer: same cells, statistics and figures."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from hpc.checkout import BUILT_IN_TRAINER, PROJECT_ROOT
from hpc.errors import ConfigError
from hpc.files import limits
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep
from hpc.sweep.grid import Axis, Grid
from hpc.trainers.declaration import read_declaration
from hpc.wandb.extract.outcomes import Entry, Extracted, entry_of, one_entry_per_cell
from hpc.wandb.runs import EPOCH, WandbRun, is_count, is_number

# Settings that all runs must share for their numbers to stand in one table.
_SHARED = ("experiment_type", "epochs", "hidden_dim", "decoder_hidden_dim", "n_layers", "loss_weights")
# Two names that runs have for one setting.
_SCALES = ("synergy_loss_scale", "synergy_scale")
# What the built-in experiment is about. These runs have no plan to take it from.
_PRIMARY = ("predictability/synergy_acc", "best_val_loss")


def predecessor_outcomes(runs: Sequence[WandbRun], group: str) -> Extracted:
    """A sweep from runs with workspace_dim, synergy_loss_scale and seed in their configuration.

    Raises ConfigError if no run has them, or if the runs have several configurations or more cells than are gone
    through.
    """
    placed = {run.id: place for run in runs if (place := _place(run)) is not None}
    left_out = [run for run in runs if run.id not in placed]
    remarks = [
        f"run {run.id} ({run.name}) has no workspace_dim, synergy_loss_scale and seed in its config; left out"
        for run in left_out
    ]
    kept = [run for run in runs if run.id in placed]
    if not kept:
        raise ConfigError(remarks[:10] or ["no run matches; check --project, --group and the filters"])
    sweep = _sweep(kept, list(placed.values()), group)
    cells = {(*cell.factors.values(), cell.seed): cell for cell in sweep.grid}
    entries = [_entry(run, sweep, cells[placed[run.id]], remarks) for run in kept]
    return Extracted(sweep, one_entry_per_cell(entries), remarks)


def _place(run: WandbRun) -> tuple[int, float, int] | None:
    """(dimension, scale, seed) of a run; None if its configuration lacks one of them."""
    scales = [run.config[key] for key in _SCALES if key in run.config]
    dim: Any = run.config.get("workspace_dim")
    seed: Any = run.config.get("seed")
    if not scales or not (is_count(dim) and is_count(seed) and is_number(scales[0])) or max(dim, seed) >= 2**63:
        return None
    return int(dim), float(scales[0]), int(seed)


def _sweep(runs: Sequence[WandbRun], places: Sequence[tuple[int, float, int]], group: str) -> Sweep:
    shared = _shared(runs)
    dims, scales, seeds = (tuple(sorted(set(values))) for values in zip(*places, strict=True))
    grid = Grid((Axis("dim", dims), Axis("scale", scales)), seeds)
    if fault := limits.too_many(grid.most, limits.MOST_CELLS, "cells"):
        raise ConfigError([f"the grid of the runs in group {group!r} has {fault}"])
    found = {name for run in runs for name in _metrics(run)}
    # The default of the built-in experiment, if the runs have it.
    reference = {"dim": 32, "scale": 1.0} if 32 in dims and 1.0 in scales else None
    return Sweep(
        name=group,
        grid=grid,
        trainer=read_declaration(BUILT_IN_TRAINER, [PROJECT_ROOT]),
        options={},
        sections={"wandb": shared},
        data_digest="",
        analysis={"primary_metrics": [n for n in _PRIMARY if n in found], "reference": reference, "alpha": 0.05},
        checkpoint_seconds=60.0,
        keep={"weights": "none", "checkpoints": False},
    )


def _shared(runs: Sequence[WandbRun]) -> dict[str, Any]:
    """The settings that all runs share. Raises ConfigError naming each that differs."""
    faults: list[str] = []
    for key in _SHARED:
        counts = Counter(json.dumps(run.config.get(key), sort_keys=True) for run in runs)
        if len(counts) > 1:
            values = ", ".join(f"{value} in {count} runs" for value, count in counts.most_common(5))
            faults.append(f"the runs differ in {key}: {values}; choose one with --config {key}=VALUE")
    if faults:
        raise ConfigError(faults)
    return {key: runs[0].config.get(key) for key in _SHARED}


def _entry(run: WandbRun, sweep: Sweep, cell: Cell, remarks: list[str]) -> Entry:
    metrics, history = _metrics(run), _history(run)
    losses = [row["val_loss"] for row in history if "val_loss" in row]
    claimed = metrics.get("best_val_loss")
    if losses and claimed is None:
        metrics["best_val_loss"] = min(losses)
    elif losses and claimed != min(losses):
        remarks.append(
            f"run {run.id} ({run.name}): best_val_loss is {claimed!r} in its summary, but the lowest val_loss of its "
            f"history is {min(losses)!r}; the summary's number is used"
        )
    return entry_of(run, sweep, cell, metrics, history)


def _metrics(run: WandbRun) -> dict[str, float | None]:
    """Numbers of a summary; None for one that is not finite, which W&B stores as a word."""
    named = {name: value for name, value in run.summary.items() if not name.startswith("_") and name != EPOCH}
    return {name: None if value is None else float(value) for name, value in named.items() if _counts(value)}


def _counts(value: Any) -> bool:
    return value is None or is_number(value)


def _history(run: WandbRun) -> list[dict[str, Any]]:
    """One row per epoch, counted from 1. What was logged without an epoch, in a separate step, joins the last one."""
    joined: dict[int, dict[str, float]] = {}
    named = any(is_count(row.get(EPOCH)) for row in run.rows)
    epoch = 0
    for row in run.rows:
        if is_count(row.get(EPOCH)):
            epoch = int(row[EPOCH])
        elif not named:
            epoch += 1
        joined.setdefault(epoch, {}).update(_numbers(row))
    # Some loops count epochs from 0.
    shift = 1 if 0 in joined else 0
    return [{EPOCH: epoch + shift, **joined[epoch]} for epoch in sorted(joined)]


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in row.items()
        if not name.startswith("_") and name != EPOCH and "," not in name and is_number(value)
    }
