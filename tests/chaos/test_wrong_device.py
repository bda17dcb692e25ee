"""A GPU that is not there is an error at once, and never a silent training on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import torch
import yaml
from helpers.waiting import PATIENCE

from hpc.storage.store import Store
from training.shapes.generate import generate

from .attempts import ROOT

# On a machine that needs longer to import torch, twice what the same command needs to train on the CPU.
SECONDS = 30


def run(directory: Path, device: str, out: str) -> tuple[float, subprocess.CompletedProcess[str]]:
    """The seconds that a sweep takes on a device, and how it ended."""
    words = ["--config", "sweep.yaml", "--runs-per-condition", "2", "--device", device, "--output-dir", out]
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "hpc", "run", *words],
        cwd=directory,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return time.monotonic() - began, done


def fails_soon(directory: Path, took: float) -> bool:
    """Whether a sweep without its GPU takes no longer than it may, in one of three tries, the first of which took that.

    The first one also reads torch from the disk, and training on the CPU does not. What hangs, hangs each time.
    """
    if took < SECONDS:
        return True
    most = max(SECONDS, 2 * run(directory, "cpu", "cpu")[0])
    return took < most or any(run(directory, "cuda", f"cuda_{again}")[0] < most for again in (2, 3))


def test_a_sweep_on_a_gpu_that_is_not_there_fails_within_30_seconds_and_says_so(tmp_path: Path) -> None:
    generate(tmp_path / "data", train=320, val=64, test=10, seed=1, latents="mixed")
    config = {
        "data": {"dir": str(tmp_path / "data")},
        "training": {"epochs": 1},
        "sweep": {"dims": [4], "scales": [1.0]},
    }
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(config))
    took, done = run(tmp_path, "cuda", "cuda")
    assert done.returncode == 4, done.stderr
    assert fails_soon(tmp_path, took), "longer than the same command takes to train"
    store = Store(tmp_path / "cuda")
    assert not list(store.paths.root.glob("individual_results/*/results.json"))
    if torch.version.cuda:  # a build for GPUs may find one on another node, so no cell is to blame
        assert done.stderr.count("cannot use its GPU, or not any more; `holdfast show` says why in its log") == 2
        logs = [path.read_text() for path in store.paths.packs_root.glob("*/log.txt")]
        assert all("DeviceError: device 'cuda' was asked for and cannot be used" in log for log in logs)
        return
    causes = [
        json.loads(path.read_text())["cause"]
        for path in store.paths.root.glob("individual_results/*/attempts/*/failure.json")
    ]
    assert len(causes) == 2
    for cause in causes:
        assert cause.startswith("DeviceError: device 'cuda' was asked for and cannot be used"), cause
        assert cause in done.stdout + done.stderr
