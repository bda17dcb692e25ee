"""The gallery: every kind of figure is on it, and every picture on it is one that the demo's sweep makes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from helpers.command_line import ROOT
from helpers.sweeps import ACCURACY, LOSS, Directory, make_sweep
from PIL import Image

from aggregate.pipeline import aggregate
from hpc.sweep.cell import Cell
from hpc.sweep.definition import DeclaredTrainer
from training.workspace import FACTORS, METRICS

KEPT, OTHER = "fusion_attr_synergy_loss", "fusion_attr_non_synergy_features_mse"
SHOWN = re.findall(r"\(images/gallery/(.+?\.png)\)", (ROOT / "docs/gallery.md").read_text())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Figures of the built-in trainer's metrics over a smaller grid."""
    trainer = DeclaredTrainer("training.workspace:train", "", FACTORS, METRICS, "fused")
    sweep = make_sweep({"dim": [4, 8], "scale": [0.1, 1.0]}, 3, trainer)
    retention = {"kept": KEPT, "other": OTHER, "factor": "dim", "kept_chance": 2.079, "other_chance": 0.21}
    object.__setattr__(sweep, "analysis", dict(sweep.analysis) | {"tests": [{"retention": retention}]})
    directory = Directory(tmp_path_factory.mktemp("gallery"), sweep)

    def values(cell: Cell) -> dict[str, float | None]:
        noise = 0.01 * float(np.random.default_rng([cell.seed, int(cell.factors["dim"])]).normal())
        return {ACCURACY: 0.6 + noise, LOSS: 0.4 + noise, KEPT: 0.5 + noise, OTHER: 0.05 + noise / 10}

    directory.fill(values)
    for cell in directory.sweep.grid:
        directory.history(cell, {"val_loss": [1.0, 0.5], ACCURACY: [0.2, 0.6]})
    return aggregate(directory.store.root).plots


def test_every_picture_is_a_figure_that_is_made_under_this_name(made: Path) -> None:
    assert SHOWN
    for name in SHOWN:
        assert (made / name).is_file(), name
        with Image.open(ROOT / "docs/images/gallery" / name) as shown:
            assert min(shown.size) > 300, name


def test_every_kind_of_figure_is_shown(made: Path) -> None:
    def kind(name: str) -> str:
        if name.startswith("training_curves/"):
            return "curves by level" if "_by_" in name else "curves"
        return "versus" if "_vs_" in name else "heatmap" if name.startswith("heatmap_") else name

    drawn = {kind(path.relative_to(made).as_posix()) for path in made.rglob("*.png")}
    assert drawn == {kind(name) for name in SHOWN}
