"""The one command for the first day on a GPU: here only that it runs where it can, and says so where it cannot."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.command_line import ROOT

pytestmark = pytest.mark.slow


def called(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.gpu", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path: Path) -> None:
    done = called("--json", str(tmp_path / "gpu.json"), "--markdown", str(tmp_path / "gpu.md"))
    assert done.stdout.startswith("benchmarks.gpu: no CUDA device here")
    assert list(tmp_path.iterdir()) == []


def test_a_rehearsal_writes_json_and_a_table_and_a_later_call_adds_to_them(tmp_path: Path) -> None:
    files = "--json", str(tmp_path / "gpu.json"), "--markdown", str(tmp_path / "gpu.md")
    for part in ("equal", "copies"):
        called("--rehearse", "--parts", part, *files)
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["equal"]["P = 3"] == {"cells compared": 3, "equal": 3}
    assert all(value > 0 for value in found["copies"].values())
    assert {"## equal", "## copies"} <= set((tmp_path / "gpu.md").read_text().splitlines())


def test_it_loads_neither_submitit_nor_wandb() -> None:
    code = "import sys, benchmarks.gpu; print(sorted(sys.modules.keys() & {'submitit', 'wandb'}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
