"""Real sweep directories to mutate: finished and aggregated, half finished with all that goes wrong, large, former."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from helpers.small_sweeps import make_grid, make_store, make_sweep, run_here, write_trainer

from aggregate.pipeline import aggregate
from hpc.files import atomic, directories
from hpc.processes import here
from hpc.status import state_cache
from hpc.storage import task_list
from hpc.storage.claims import new_attempt
from hpc.storage.store import Store
from hpc.submission import cancels, intents
from hpc.sweep.cell import Cell
from hpc.trainers.snapshot import snapshot

ANALYSIS = {
    "primary_metrics": ["loss"],
    "reference": {"width": 1},
    "tests": [
        {"metric": "loss", "slope": "width"},
        {"metric": "accuracy", "compare": {"width": [1, 2]}},
        {"retention": {"kept": "loss", "other": "accuracy", "factor": "width", "kept_chance": 1.0, "other_chance": 0}},
    ],
    "looks": 2,
    "alpha": 0.05,
    "equivalence_margin": {"loss": 0.1},
    "last_epochs": 3,
    "formats": ["png"],
    "figures": [],
}
WANDB = {"wandb_project": "p", "wandb_entity": None, "log_to_wandb": {"mode": "offline", "group": "g", "tags": ["a"]}}


def finished(root: Path, trainer: Path) -> Path:
    """Four cells with results, aggregated, with a certificate and a W&B journal."""
    store = make_store(root, make_sweep(path=trainer, analysis=ANALYSIS, wandb=WANDB | {"log_to_wandb": False}))
    run_here(store, list(store.sweep().grid))
    directories.make_directory(store.paths.certificates_directory)
    certificate = {"format": 1, "kept": True, "device": "cpu", "code_digest": "0" * 64, "cells": 2, "stops": 4}
    atomic.publish(store.paths.certificate_file("0" * 64, "cpu"), json.dumps(certificate).encode())
    directories.make_directory(store.paths.wandb_root)
    journal = {"format": 1, "same": {" p g": {cell.name: "0" * 64 for cell in store.sweep().grid}}}
    atomic.publish(store.paths.wandb_journal_file, json.dumps(journal).encode())
    aggregate(root)
    return root


def half_finished(root: Path, trainer: Path) -> Path:
    """Results, a failure, a cell that began, a conflict; submissions to Slurm with all that they leave; a lock."""
    grid = make_grid((1, 2, 3), (42, 43))
    store = make_store(root, make_sweep(grid, path=trainer, analysis=ANALYSIS, wandb=WANDB | {"log_to_wandb": False}))
    done, failed, began, disputed, *others = store.sweep().grid
    digest, _ = snapshot(store, store.sweep().trainer)
    intent = intents.begin(
        store,
        [[[done], [failed, began]], [[disputed, *others]]],
        kind=intents.SLURM,
        profile="p",
        name="n",
        code=digest,
    )
    intents.write_receipt(store, intent, ["17", "18"])
    run_here(store, [done, disputed])
    _fail(store, failed)
    _begin(store, began)
    _dispute(store, disputed)
    prepared = intents.begin(store, [[others]], kind=intents.SLURM, profile="p", name="n", code=digest, prepared=True)
    task_list.declare_void(store.paths, prepared.number, 0, "replaced", [0])
    cancels.request(store, [cell.name for cell in others])
    log = store.paths.task_log(prepared.number, 0, 0)
    log.write_text("the node has no python\n")
    log.with_name("0_0.1.n1.failed").write_text("127\n")
    _lock(store)
    return root


def large(root: Path, trainer: Path) -> Path:
    """More cells than are read without a cache of their states, two of them done."""
    store = make_store(root, make_sweep(make_grid((1,), range(42, 42 + 2100)), path=trainer))
    run_here(store, list(store.sweep().grid[:2]))
    sweep = store.sweep()
    stamps = store.stamps()
    cells = {name: (stamps[name], "COMPLETED", 1, 8) for name in store.present()}
    state_cache._write(store, sweep.config_digest, cells)
    return root


def former(root: Path, trainer: Path) -> Path:
    """The predecessor's layout: an aggregate, and results of single runs."""
    runs = [
        {
            "workspace_dim": dim,
            "synergy_scale": scale,
            "run_id": run,
            "seed": 42 + run,
            "epochs": 3,
            "loss": dim / scale,
        }
        for dim in (8, 12)
        for scale in (0.1, 1.0)
        for run in (0, 1)
    ]
    for run in runs:
        name = f"dim_{run['workspace_dim']}_scale_{run['synergy_scale']}_run_{run['run_id']}"
        place = root / "individual_results" / name
        place.mkdir(parents=True)
        (place / "sweep_results_1.json").write_text(json.dumps([run]))
    (root / "aggregated_results.json").write_text(json.dumps({"all": {"individual_results": runs}}))
    return root


KINDS: dict[str, Callable[[Path, Path], Path]] = {
    "finished": finished,
    "half_finished": half_finished,
    "large": large,
    "former": former,
}


def make_all(directory: Path) -> dict[str, Path]:
    """A directory of every kind, by name."""
    trainer = write_trainer(directory / "trainers")
    return {kind: make(directory / kind, trainer) for kind, make in KINDS.items()}


def _fail(store: Store, cell: Cell) -> None:
    attempt = new_attempt(store, cell)
    failure = {"cause": "ValueError: no", "traceback": "Traceback ...", "submission": 1, "node": "n1"}
    atomic.publish(store.paths.failure_file(cell, attempt), json.dumps(failure).encode())


def _begin(store: Store, cell: Cell) -> None:
    """A cell whose task was killed half-way: checkpoints, progress, a log."""
    sweep = store.sweep()
    number = intents.begin(store, [[[cell]]], kind=intents.LOCAL, profile="local", name="n", code="").number
    run_here(store, [cell], number)
    shutil.rmtree(store.paths.cell_directory(cell) / "attempts" / "0002", ignore_errors=True)
    for path in (store.paths.result_file(cell), store.paths.history_file(cell), store.paths.weights_file(cell)):
        path.unlink(missing_ok=True)
    pack = store.pack_of(cell, 1)
    assert pack is not None
    progress = {"cells": {cell.name: [3, 8]}, "ended": ""}
    atomic.publish(store.paths.progress_file(pack), json.dumps(progress).encode())
    store.paths.pack_log(pack).write_text("epoch 3 of 8\n" * 20)
    store.paths.log_file(cell).write_text("epoch 3 of 8\n" * 20)
    assert sweep.config_digest


def _dispute(store: Store, cell: Cell) -> None:
    result = store.result(cell)
    assert result is not None
    other = result | {"outcome_digest": "1" * 64, "metrics": {"loss": 0.5}}
    atomic.publish(store.paths.conflict_file(cell), json.dumps({"outcome": other, "pack": 1}).encode())


def _lock(store: Store) -> None:
    """Of a command that is long gone."""
    held = store.paths.lock_directory
    directories.make_directory(held)
    record = {"command": "submit", "pid": 2**22 - 1, "began": 1, "id": "x"} | asdict(here())
    atomic.publish(store.paths.lock_owner_file(held, "x"), json.dumps(record).encode())
