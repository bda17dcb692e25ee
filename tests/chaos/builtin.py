"""The built-in trainer under kills: packs of Global Workspaces, some at different steps after a kill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpc.config.schema.built_in import Weights
from hpc.config.schema.configuration import Configuration
from hpc.trainers.data import data_digest
from hpc.trainers.declaration import read_declaration
from training.shapes.generate import generate

from .attempts import ROOT, ForkServer
from .bench import Bench
from .kills import campaign as kills

TARGET = "training.workspace:train"
PRELOAD = ("training.workspace", "training.shapes.dataset", "training.loop.loop", "training.model.tables")


def make_data(directory: Path) -> Path:
    """A small data set with linear latents; one per directory."""
    generate(directory / "data", train=3200, val=200, test=10, seed=1, latents="mixed")
    return directory / "data"


def workspace(
    root: Path,
    data: Path,
    *,
    epochs: int,
    interval: float,
    factors: dict[str, list[Any]] | None = None,
    runs: int = 1,
    pack: int = 1,
    hidden: int = 32,
) -> Bench:
    """A sweep of the built-in trainer, checkpointed every `interval` seconds."""
    trainer = read_declaration(TARGET, [ROOT])
    given = {
        "data": {"dir": str(data), "batch_size": 32},
        "model": {"n_layers": 1, "hidden_dim": hidden, "decoder_hidden_dim": hidden},
        "training": {"epochs": epochs, "standardize_inputs": True, "optimizer": {"lr": 1e-3}},
    }
    sections = Configuration.model_validate(given).model_dump(include={*given, "synergy"})
    sections["experiment"] = {"name": "fusion_only", "weights": Weights(fusion=1.0).model_dump()}
    return Bench.make(
        root,
        trainer=TARGET,
        factors=factors or {"dim": [8], "scale": [1.0]},
        runs=runs,
        options={},
        pack=pack,
        sections=sections,
        data_digest=data_digest(data, trainer.data_files),
        checkpoint_seconds=interval,
    )


def campaign(directory: Path, seed: int, runs: int, wanted: Mapping[str, int], code: Path = ROOT) -> Counter[str]:
    """Kills over packs of the built-in trainer, until the counts are as wanted. Returns what was counted."""
    data = make_data(directory)

    def make(root: Path) -> Bench:
        factors: dict[str, list[Any]] = {"dim": [4, 8], "scale": [0.1, 1.0]}
        return workspace(root, data, epochs=40, interval=0.02, factors=factors, runs=runs, pack=3)

    with ForkServer(code, PRELOAD) as server:
        return kills(directory, server, seed, make, wanted, quota=10, share=0.3, abreast=2)
