"""A sweep as pandas tables: complete, honest about what is missing, equal to what `aggregate` writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.command_line import ROOT, Holdfast, environment
from helpers.waiting import PATIENCE

from aggregate.frames import load
from hpc.errors import SweepError

RIDGE = ROOT / "examples" / "trainers" / "ridge.yaml"


def test_the_tables_of_a_sweep_and_the_notebook_that_reads_them(holdfast: Holdfast, tmp_path: Path) -> None:
    holdfast("run", "--config", str(RIDGE), "--runs-per-condition", "2", "--pack", "12")
    frames = load(tmp_path / "out")
    assert len(frames.cells) == 12
    assert set(frames.cells["state"]) == {"COMPLETED"}
    written = json.loads((tmp_path / "out" / "aggregated_results.json").read_text())
    for row in frames.conditions.itertuples():
        assert row.mean == written[row.condition]["aggregated_metrics"][row.metric]["mean"]
        of_condition = frames.cells[frames.cells["condition"] == row.condition]
        assert of_condition[row.metric].mean() == pytest.approx(row.mean)
        assert row.degree == of_condition["degree"].iloc[0]
    (tmp_path / "out" / "individual_results" / "degree_1_penalty_0.1_run_1" / "results.json").unlink()
    less = load(tmp_path / "out")
    assert less.cells["test_error"].isna().sum() == 1
    assert len(less.cells) == 12
    script = [sys.executable, str(ROOT / "examples" / "notebook.py"), "out"]
    told = subprocess.run(script, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=PATIENCE)
    assert told.returncode == 0, told.stderr
    assert "COMPLETED    11" in told.stdout


def test_a_directory_without_a_sweep_is_named(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=str(tmp_path)):
        load(tmp_path)
