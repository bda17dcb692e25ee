"""The previous tool's four sweeps have the sizes that their names promise, and `plan` agrees with their README."""

from __future__ import annotations

import math
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from helpers.command_line import ROOT, Holdfast
from helpers.waiting import PATIENCE

from hpc.config.schema.configuration import Configuration
from hpc.planning.plan import FILES_PER_CELL
from hpc.slurm.profile_file import load_profile

SWEEPS = ROOT / "examples" / "synergy"


@pytest.mark.parametrize(("name", "cells"), [("quick", 8), ("medium", 60), ("full", 210), ("comprehensive", 1000)])
def test_a_sweep_has_the_cells_its_name_promises_and_costs_what_the_table_says(
    name: str, cells: int, tmp_path: Path, data_dir: Path, holdfast: Holdfast
) -> None:
    written = Configuration(**yaml.safe_load((SWEEPS / f"{name}.yaml").read_text()))
    sweep, reference = written.sweep, written.analysis.reference
    assert sweep.dims is not None
    assert sweep.scales is not None
    assert reference is not None
    assert len(sweep.dims) * len(sweep.scales) * (sweep.runs_per_condition or 0) == cells
    assert reference["dim"] in sweep.dims
    assert reference["scale"] in sweep.scales
    rows = 500_000
    steps = written.training.epochs * math.ceil(rows / written.data.batch_size)
    (row,) = [line for line in (SWEEPS / "README.md").read_text().splitlines() if line.startswith(f"| {name} | ")]
    assert row.startswith(f"| {name} | {cells:,} | {steps:,} | ")
    assert f" | {cells * FILES_PER_CELL:,} | " in row
    (tmp_path / "data").mkdir()
    (tmp_path / written.data.dir).symlink_to(data_dir)
    said = holdfast("plan", "--config", str(SWEEPS / f"{name}.yaml")).stdout
    assert f"{cells:,} cells: 0 done, {cells:,} to run" in said
    (effect,) = re.findall(r"smallest effect these seeds detect: d_z (\S+) ", said)
    assert row.endswith(f" | {effect} |")


def test_the_profile_beside_the_sweeps_is_valid() -> None:
    assert load_profile(str(SWEEPS / "cluster.yaml")).parameters["partition"] == "cpu"


def test_the_script_goes_from_data_to_report_in_order_and_continues_after_failed_cells(tmp_path: Path) -> None:
    (tmp_path / "holdfast").write_text('#!/bin/bash\necho "$1 $2" >> calls\n[ "$1" != submit ] || exit 4\n')
    (tmp_path / "holdfast").chmod(0o755)
    environment = os.environ | {"HOLDFAST": str(tmp_path / "holdfast")}
    command = ["bash", str(SWEEPS / "sweep.sh"), "quick", "sandbox"]
    assert subprocess.run(command, cwd=tmp_path, env=environment, timeout=PATIENCE).returncode == 0
    called = [line.split()[0] for line in (tmp_path / "calls").read_text().splitlines()]
    assert called == ["data", "plan", "submit", "aggregate"]
