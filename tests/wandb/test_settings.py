"""How a configuration switches W&B on, and what a run of the built-in trainer says about its cell."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.wandb_sweeps import TRAINERS, width_sweep

from hpc.checkout import BUILT_IN_TRAINER, PROJECT_ROOT
from hpc.config.load import CommandLine, load
from hpc.config.schema.configuration import Configuration
from hpc.errors import ConfigError
from hpc.sweep.definition import Sweep
from hpc.sweep.grid import Axis, Grid
from hpc.trainers.declaration import read_declaration
from hpc.wandb.cells import SWEEP_KEY, Target, begun_run, run_config, sweep_of, target_of


def asked(directory: Path, experiment: dict[str, Any], **line: Any) -> Target:
    settings = {"trainer": f"{TRAINERS / 'width.py'}:train", "sweep": {"name": "mine", "axes": {"width": [1]}}}
    path = directory / "sweep.yaml"
    path.write_text(yaml.safe_dump(settings | {"experiment": experiment}))
    return target_of(load(CommandLine(config=path, **line)).sweep)


@pytest.mark.parametrize(
    ("value", "mode", "group"),
    [
        (False, "off", "mine"),
        (True, "offline", "mine"),
        ("live", "live", "mine"),
        ("off", "off", "mine"),
        ({"mode": "live", "group": "pilot"}, "live", "pilot"),
        ({"tags": ["a"]}, "offline", "mine"),
    ],
)
def test_wandb_can_be_switched_on_in_several_ways(tmp_path: Path, value: object, mode: str, group: str) -> None:
    target = asked(tmp_path, {"log_to_wandb": value})
    assert (target.mode, target.group, target.job_type) == (mode, group, "cell")


def test_wandb_is_off_by_default_and_the_command_line_wins(tmp_path: Path) -> None:
    assert asked(tmp_path, {}).mode == "off"
    assert asked(tmp_path, {"log_to_wandb": "live"}, no_wandb=True).mode == "off"
    assert asked(tmp_path, {"log_to_wandb": False}, overrides=["experiment.log_to_wandb=live"]).mode == "live"


@pytest.mark.parametrize(
    ("experiment", "words"),
    [
        (
            {"log_to_wandb": "sometimes"},
            "experiment.log_to_wandb is 'sometimes'; must be true, false, live, or a section",
        ),
        ({"log_to_wandb": {"mode": "online"}}, "experiment.log_to_wandb.mode is 'online'; "),
        ({"log_to_wandb": {"grup": "x"}}, "unknown key 'experiment.log_to_wandb.grup'. Did you mean 'group'?"),
        ({"log_to_wandb": {"group": "a/b"}}, "experiment.log_to_wandb.group is 'a/b'; "),
        ({"wandb_project": "a/b"}, "experiment.wandb_project is 'a/b'; "),
        ({"wandb_entity": "x\ny"}, "experiment.wandb_entity is "),
    ],
)
def test_a_wrong_setting_is_reported_in_one_line(tmp_path: Path, experiment: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        asked(tmp_path, experiment)
    (line,) = refused.value.faults
    assert line.startswith(f"sweep.yaml: {words}")


def built_in_sweep(**grid: tuple[float | int, ...]) -> Sweep:
    configuration = Configuration()
    sections = {name: getattr(configuration, name).model_dump() for name in ("data", "model", "synergy", "training")}
    sections["data"]["dir"] = "/home/somebody/data"
    sections["experiment"] = {"name": "fusion_only", "weights": {"fusion": 1.0, "cycle": 0.0}}
    return Sweep(
        name="mine",
        grid=Grid(tuple(Axis(name, tuple(values)) for name, values in grid.items()), (42, 43)),
        trainer=read_declaration(BUILT_IN_TRAINER, [PROJECT_ROOT]),
        options={},
        sections=sections,
        data_digest="d" * 64,
        analysis={"primary_metrics": ["best_val_loss"], "reference": None, "alpha": 0.05},
        checkpoint_seconds=60.0,
        keep={"weights": "final", "checkpoints": False},
        wandb={"wandb_project": "synergy-bottleneck-sweep-2025", "wandb_entity": "lab", "log_to_wandb": True},
    )


def test_a_run_of_the_built_in_trainer_has_the_predecessors_keys() -> None:
    sweep = built_in_sweep(dim=(8, 12), scale=(0.05,))
    config = run_config(sweep, sweep.grid[1])
    assert {
        "workspace_dim": 8,
        "synergy_loss_scale": 0.05,
        "experiment_type": "fusion_only",
        "epochs": 50,
        "seed": 43,
        "hidden_dim": 128,
        "decoder_hidden_dim": 128,
        "n_layers": 4,
        "loss_weights": {"fusion": 1.0, "cycle": 0.0},
    }.items() <= config.items()
    target = target_of(sweep)
    assert (target.project, target.entity) == ("synergy-bottleneck-sweep-2025", "lab")
    assert (target.group, target.mode) == ("lowdim-synergy-prior", "offline")
    assert run_config(built_in_sweep(scale=(0.5,)), built_in_sweep(scale=(0.5,)).grid[0])["workspace_dim"] == 12


def test_a_run_carries_its_sweep_without_a_path_of_this_machine() -> None:
    sweep = built_in_sweep(dim=(8, 12), scale=(0.05,))
    run = begun_run(sweep, sweep.grid[0], target_of(sweep))
    assert "/home" not in json.dumps(run.to_json())
    assert str(PROJECT_ROOT) not in json.dumps(run.to_json())
    found = sweep_of(run)
    assert found is not None
    assert (found.config_digest, found.grid) == (sweep.config_digest, sweep.grid)
    assert sweep_of(replace(run, config={SWEEP_KEY: "{"})) is None
    assert sweep_of(replace(run, config={})) is None


def test_the_content_of_a_run_depends_on_the_cell_alone(tmp_path: Path) -> None:
    _, one = width_sweep(tmp_path / "one", mode="live", checkpoint_seconds=1.0)
    _, other = width_sweep(tmp_path / "other", mode="off")
    assert run_config(one, one.grid[0]) == run_config(other, other.grid[0])
