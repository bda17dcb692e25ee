"""The reference names every field of the JSON that Holdfast writes, and no other."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from helpers import modules
from helpers.blocks import ROOT
from helpers.waiting import PATIENCE

from hpc.preflight import check, finding
from hpc.status import sweep as status
from hpc.sweep.grid import Axis, Grid

TRAINER = ROOT / "tests" / "trainers" / "width.py"


def run(directory: Path, *words: str) -> Any:
    """The JSON a command prints."""
    command = [sys.executable, "-m", "hpc", *words]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(directory), "LANG": "C.UTF-8"}
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if "--json" in words else None


@pytest.fixture(scope="module")
def outputs() -> ModuleType:
    return modules.load("json_outputs")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with sweep.yaml and the finished sweep in `out`."""
    directory = tmp_path_factory.mktemp("sweep")
    grid = {"axes": {"width": [1, 2]}, "runs_per_condition": 2}
    config = {"trainer": f"{TRAINER}:train", "trainer_options": {"epochs": 3}, "sweep": grid}
    (directory / "sweep.yaml").write_text(json.dumps(config))
    run(directory, "run", "--config", "sweep.yaml")
    (directory / "other.yaml").write_text(json.dumps(config | {"trainer_options": {"epochs": 4}}))
    run(directory, "run", "--config", "other.yaml", "--output-dir", "other")
    return directory


def leaves(data: Any, known: Mapping[str, str], path: str = "") -> Iterator[str]:
    """Paths of the fields; an object is entered only where the reference describes its fields."""
    if isinstance(data, list) and any(name.startswith(f"{path}[]") for name in known):
        for entry in data:
            yield from leaves(entry, known, f"{path}[]")
    elif isinstance(data, dict) and (not path or any(name.startswith(f"{path}.") for name in known)):
        for name, value in data.items():
            prefix = f"{path}." if path else ""
            inner = f"{prefix}{name}"
            there = any(field == inner or field.startswith((f"{inner}.", f"{inner}[")) for field in known)
            yield from leaves(value, known, inner if there else f"{prefix}*")
    else:
        yield path


def test_every_field_that_is_written_is_in_the_reference_and_every_field_there_is_written(
    outputs: ModuleType, sweep: Path
) -> None:
    cell = "out/individual_results/width_1_run_0/results.json"
    found = {
        "holdfast plan --json": run(sweep, "plan", "--config", "sweep.yaml", "--json"),
        "holdfast status DIR --json": run(sweep, "status", "out", "--json"),
        "holdfast show DIR CELL --json": run(sweep, "show", "out", "width_1_run_0", "--json"),
        "holdfast compare A B --json": run(sweep, "compare", "out", "other", "--json"),
        "results.json": json.loads((sweep / cell).read_text()),
        "aggregated_results.json": json.loads((sweep / "out" / "aggregated_results.json").read_text()),
        "statistics.json": json.loads((sweep / "out" / "statistics.json").read_text()),
    }
    sometimes = {"individual[].cause", "individual[].node"}
    sometimes |= {"attempts[].escalated"}  # tests/slurm/test_unequal_cells.py
    sometimes |= {"redone[].redo", "redone[].result"}  # tests/hpc/submission/test_redo.py
    sometimes |= {"code.files", "code.bytes", "code.left_out[].file", "code.left_out[].reason"}  # of cells still to run
    # Of cells that stop_when has ended: tests/hpc/cli/test_stop_when.py
    facts = ("metric", "patience", "min_delta", "last_improvement", "planned_epochs")
    sometimes |= {"individual[].stopped_early", *(f"stopped_early.{fact}" for fact in facts)}
    for name, data in found.items():
        assert set(leaves(data, outputs.OUTPUTS[name])) == set(outputs.OUTPUTS[name]) - sometimes, name


def test_optional_fields_are_in_the_reference_too(outputs: ModuleType) -> None:
    (cell,) = Grid((Axis("width", (1,)),), (42,))
    live: Any = {cell.name: SimpleNamespace(queued=SimpleNamespace(node="n1"))}
    name: Any = SimpleNamespace(name="x")
    taken = status.Snapshot(name, (status.CellStatus(cell, status.FAILED, cause="boom", stopped_early=True),), live)
    assert set(leaves(taken.to_json(), outputs.STATUS)) == set(outputs.STATUS)
    report = check.CheckReport([finding.problem("node", "text", "fix")]).to_json()
    assert set(leaves(report, outputs.CHECK)) == set(outputs.CHECK)


def test_the_page_has_a_row_for_each_field(outputs: ModuleType) -> None:
    text = outputs.page()
    assert all(f"| `{field}` | " in text for fields in outputs.OUTPUTS.values() for field in fields)
