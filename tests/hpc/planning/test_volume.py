"""What a plan says of files and bytes, against what arrives."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.command_line import WIDTH, Holdfast
from helpers.small_sweeps import make_sweep

from hpc.checkout import BUILT_IN_TRAINER
from hpc.planning.plan import make_plan
from hpc.planning.volume import volume
from hpc.sweep.definition import Sweep
from hpc.sweep.grid import Axis, Grid
from hpc.sweep.states import MISSING, CellStatus

# Figures and the report are made by another command.
LEAVES_OUT = {"plots", "report.html", "aggregated_results.json", "statistics.json", "table.parquet", "curves.parquet"}


def arrived(root: Path) -> tuple[int, int]:
    """(entries, bytes) of a sweep directory without what aggregation makes."""
    found = [path for path in root.rglob("*") if path.relative_to(root).parts[0] not in LEAVES_OUT]
    return len(found), sum(path.lstat().st_size for path in found)


def test_files_and_bytes_arrive_as_planned_to_a_third(holdfast: Holdfast, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(
        f"trainer: {WIDTH}:train\ntrainer_options: {{epochs: 50}}\n"
        "sweep: {name: small, axes: {width: [1, 2, 3, 4, 5]}, runs_per_condition: 8}\n"
    )
    planned = json.loads(holdfast("plan", "--config", "sweep.yaml", "--json").stdout)["cost"]
    holdfast("run", "--config", "sweep.yaml", "--pack", "1")
    files, size = arrived(tmp_path / "out")
    assert planned["files"] == pytest.approx(files, rel=0.3)
    assert planned["bytes"] == pytest.approx(size, rel=0.3)


def built_in(dim: int, **model: int) -> Sweep:
    sweep = make_sweep(Grid((Axis("dim", (dim,)),), (42,)))
    factors = {"dim": {"kind": "integer", "overrides": "model.workspace_dim"}}
    trainer = replace(sweep.trainer, target=BUILT_IN_TRAINER, factors=factors, metrics={})
    sections = {"model": {"workspace_dim": 12, **model}, "training": {"epochs": 0}}
    return replace(sweep, trainer=trainer, sections=sections)


@pytest.mark.parametrize("dim", [4, 33])
@pytest.mark.parametrize("layers", [0, 1, 3])
def test_the_weights_of_the_built_in_networks_are_those_that_it_saves(dim: int, layers: int) -> None:
    from training.model.rows import Architecture, canonical_width, initial_row, named_weights

    architecture = Architecture(canonical_width(dim), 24, 40, layers)
    weights = named_weights(architecture, dim, initial_row(architecture, dim, 1))
    real = sum(array.nbytes for array in weights.values())
    sweep = built_in(dim, hidden_dim=24, decoder_hidden_dim=40, n_layers=layers)
    plan = make_plan([CellStatus(cell, MISSING) for cell in sweep.grid])
    without = volume(plan, replace(sweep, keep={"weights": "none", "checkpoints": False}))
    counted = volume(plan, sweep).bytes - without.bytes
    assert real < counted < real + 4096, "the numbers, and a header of names"


def test_sizes_of_finished_cells_win_over_all_that_is_known_before() -> None:
    sweep = make_sweep()
    plan = make_plan([CellStatus(cell, MISSING) for cell in sweep.grid])
    files = {"history.csv": {"bytes": 10**6}, "weights.safetensors": {"bytes": 10**7}}
    assert volume(plan, sweep).without_weights
    found = volume(plan, sweep, [{"files": files}], pilot_weights=5)
    assert found.bytes == pytest.approx(len(sweep.grid) * 11e6, rel=0.01)
    assert not found.without_weights


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"workspace_dim": "8", "hidden_dim": 64, "decoder_hidden_dim": 64, "n_layers": 2},
        {"workspace_dim": 8, "hidden_dim": 64, "decoder_hidden_dim": 64, "n_layers": 10**12},
        {"workspace_dim": 8, "hidden_dim": 64, "decoder_hidden_dim": 64, "n_layers": "2"},
        {"workspace_dim": None, "hidden_dim": 64, "decoder_hidden_dim": 64, "n_layers": 2},
    ],
)
def test_a_network_that_nobody_would_train_has_no_known_size(model: dict[str, Any]) -> None:
    sweep = make_sweep(sections={"model": model} if model else {})
    sweep = replace(sweep, trainer=replace(sweep.trainer, target=BUILT_IN_TRAINER))
    plan = make_plan([CellStatus(cell, MISSING) for cell in sweep.grid])
    assert volume(plan, sweep).without_weights


@pytest.mark.parametrize("epochs", [None, "many", -1, 10**400, [3]])
def test_epochs_that_nobody_would_train_are_the_usual_ones(epochs: Any) -> None:
    sweep = make_sweep()
    plan = make_plan([CellStatus(cell, MISSING) for cell in sweep.grid])
    assert volume(plan, replace(sweep, sections={"training": {"epochs": epochs}})) == volume(plan, sweep)


@pytest.mark.parametrize("target", ["training.script:train", "training.command:train"])
def test_no_weights_are_promised_of_a_program_that_keeps_them_to_itself(target: str) -> None:
    sweep = make_sweep()
    plan = make_plan([CellStatus(cell, MISSING) for cell in sweep.grid])
    assert volume(plan, sweep).without_weights
    assert not volume(plan, replace(sweep, trainer=replace(sweep.trainer, target=target))).without_weights
