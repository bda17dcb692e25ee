"""One small data set for all tests of the trainer, and the configuration that trains on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.here import lacking

from training.data import generate
from training.native import NoKernelError, load_kernel


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("shapes") / "data"
    generate(directory, train=8000, val=500, test=100, seed=5, latents="mixed")
    return directory


@pytest.fixture(params=["torch", "native"])
def kernel(request: pytest.FixtureRequest) -> str:
    """Which step trains: for tests that must hold for both."""
    return needed(request.param)


def needed(kernel: str) -> str:
    if kernel == "native":
        try:
            load_kernel()
        except NoKernelError as error:
            lacking(str(error))
    return kernel


@pytest.fixture
def config(data_dir: Path) -> dict[str, Any]:
    """Small and quick: 250 steps an epoch, two hidden layers of 32."""
    return {
        "data": {"dir": str(data_dir), "batch_size": 32},
        "model": {"hidden_dim": 32, "decoder_hidden_dim": 32, "n_layers": 1},
        "synergy": {"unique_indices": {"attr": [3, 4]}, "redundant_indices": {"v": [0]}},
        "training": {"epochs": 2, "optimizer": {"lr": 1e-3}, "grad_clip": 1.0},
        "experiment": {"name": "fusion_only", "weights": {"fusion": 1.0}},
    }
