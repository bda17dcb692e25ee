"""Training that leaves the finite numbers is an outcome: kept once, told, not tried again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers.waiting import PATIENCE

from hpc.storage.store import Store
from training.shapes.generate import generate

from .attempts import ROOT


def holdfast(directory: Path, *words: str, expect: int = 0) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HOLDFAST_SANDBOX": "/nonexistent"}
    command = [sys.executable, "-m", "hpc", *words]
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def diverged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of the built-in trainer at a learning rate at which nothing can be learned."""
    directory = tmp_path_factory.mktemp("diverged")
    generate(directory / "data", train=320, val=64, test=10, seed=1, latents="mixed")
    config = {
        "data": {"dir": "data"},
        "training": {"epochs": 3, "optimizer": {"lr": 1e30}},
        "sweep": {"dims": [4], "scales": [1.0], "runs_per_condition": 2},
    }
    (directory / "sweep.yaml").write_text(yaml.safe_dump(config))
    holdfast(directory, "run", "--config", "sweep.yaml", expect=4)
    return directory


def test_a_diverged_cell_has_a_result_with_that_status_and_no_made_up_numbers(diverged: Path) -> None:
    store = Store(diverged / "out")
    results = [store.result(cell) for cell in store.sweep().grid]
    assert [result and result["status"] for result in results] == ["DIVERGED", "DIVERGED"]
    assert all(value is None for result in results if result for value in result["metrics"].values())


def test_it_is_not_tried_again_and_not_overwritten(diverged: Path) -> None:
    results = sorted((diverged / "out" / "individual_results").glob("*/results.json"))
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in results]
    again = holdfast(diverged, "run", "--config", "sweep.yaml", "--include-failed", expect=4)
    assert "2 done, nothing to run" in again
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in results] == before


def test_status_show_statistics_and_report_tell_it(diverged: Path) -> None:
    assert "2 DIVERGED" in holdfast(diverged, "status", "out", expect=4)
    assert "DIVERGED" in holdfast(diverged, "show", "out", "dim_4_scale_1.0_run_0")
    statistics = json.loads((diverged / "out" / "aggregated_results.json").read_text())
    assert [entry["status"] for entry in statistics["dim_4_scale_1.0"]["individual_results"]] == ["DIVERGED"] * 2
    assert "training left the finite numbers" in (diverged / "out" / "report.html").read_text()
