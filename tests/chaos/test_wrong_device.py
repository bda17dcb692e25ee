"""A GPU that is not there is an error at once, and never a silent training on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import yaml
from waiting import PATIENCE

from hpc.store import Store
from training.generate import generate

from .attempts import ROOT

SECONDS = 30


def test_a_sweep_on_a_gpu_that_is_not_there_fails_within_30_seconds_and_says_so(tmp_path: Path) -> None:
    generate(tmp_path / "data", train=320, val=64, test=10, seed=1, latents="mixed")
    config = {
        "data": {"dir": str(tmp_path / "data")},
        "training": {"epochs": 1},
        "sweep": {"dims": [4], "scales": [1.0]},
    }
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(config))
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "hpc", "run", "--config", "sweep.yaml", "--runs-per-condition", "2", "--device", "cuda"],
        cwd=tmp_path,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert time.monotonic() - began < SECONDS
    assert done.returncode == 4, done.stderr
    store = Store(tmp_path / "out")
    assert not list(store.root.glob("individual_results/*/results.json"))
    causes = [
        json.loads(path.read_text())["cause"]
        for path in store.root.glob("individual_results/*/attempts/*/failure.json")
    ]
    assert len(causes) == 2
    for cause in causes:
        assert cause.startswith("DeviceError: device 'cuda' was asked for and cannot be used"), cause
        assert cause in done.stdout + done.stderr
