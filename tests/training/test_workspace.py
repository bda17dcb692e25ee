from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.memory_run import MemoryRun, cell

from training import workspace
from training.loop.device import DeviceError
from training.model.settings import SettingsError


def literals() -> dict[str, Any]:
    """The declarations as planning reads them: from the text, without importing anything."""
    tree = ast.parse(Path(workspace.__file__).read_text())
    found = {}
    for node in tree.body:
        if isinstance(node, ast.AnnAssign | ast.Assign):
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            if isinstance(target, ast.Name) and target.id.isupper() and node.value is not None:
                found[target.id] = ast.literal_eval(node.value)
    return found


def test_the_declarations_are_literals_that_need_no_import() -> None:
    declared = literals()
    assert list(declared["FACTORS"]) == ["dim", "scale"]
    assert declared["PACK_MODE"] == "fused"
    assert declared["METRICS"] == workspace.METRICS
    assert declared["METRICS"]["predictability/synergy_acc"]["chance"] == 1 / 8


def test_every_metric_that_is_recorded_is_declared(config: dict[str, Any]) -> None:
    for_all = {"attr": [3], "v": [0]}
    config["synergy"] = {"unique_indices": for_all, "redundant_indices": for_all}
    run = MemoryRun(config)
    workspace.train([cell()], {}, run)
    assert set(run.finished[cell().name].metrics) == set(workspace.METRICS)
    recorded = {name for row in run.history[cell().name] for name in row}
    assert recorded == set(workspace.METRICS) - {"best_val_loss", "final_val_loss"}


def test_the_best_loss_is_the_true_minimum_over_epochs(config: dict[str, Any]) -> None:
    config["training"] |= {"epochs": 4, "optimizer": {"lr": 0.05}}
    run = MemoryRun(config)
    cells = [cell(8, 1.0, seed) for seed in (42, 43, 44)]
    workspace.train(cells, {}, run)
    for one in cells:
        losses = [row["val_loss"] for row in run.history[one.name]]
        outcome = run.finished[one.name]
        assert outcome.metrics["best_val_loss"] == min(losses)
        assert outcome.best_epoch == 1 + losses.index(min(losses))
        assert outcome.metrics["final_val_loss"] == losses[-1]
    assert any(run.finished[one.name].best_epoch != 4 for one in cells)


def test_a_small_run_learns_the_synergy_far_above_chance(config: dict[str, Any]) -> None:
    config["model"] |= {"hidden_dim": 128, "decoder_hidden_dim": 128}
    config["training"] |= {"epochs": 5, "standardize_inputs": True, "source_feature_weight": 4.0}
    run = MemoryRun(config)
    workspace.train([cell(16, 1.0, 42), cell(16, 1.0, 43)], {}, run)
    for outcome in run.finished.values():
        assert (outcome.metrics["predictability/synergy_acc"] or 0.0) > 0.5


def test_without_factors_the_configured_width_and_scale_are_used(config: dict[str, Any]) -> None:
    config["model"]["workspace_dim"] = 6
    config["synergy"]["loss_scale"] = 2.5
    plain, explicit = cell(6, 2.5), cell(6, 2.5)
    object.__setattr__(plain, "values", ())
    runs = [MemoryRun(config), MemoryRun(config)]
    for one, run in zip((plain, explicit), runs, strict=True):
        workspace.train([one], {}, run)
    assert runs[0].finished[plain.name].metrics == runs[1].finished[plain.name].metrics
    assert runs[0].finished[plain.name].weights["decoder_v.0.weight"].shape == (32, 6)


def test_a_cuda_device_that_is_not_there_fails_loudly(config: dict[str, Any]) -> None:
    with pytest.raises(DeviceError, match="'cuda:63' was asked for and cannot be used"):
        workspace.train([cell()], {}, MemoryRun(config, device="cuda:63"))


def test_a_batch_larger_than_the_data_is_refused(config: dict[str, Any]) -> None:
    config["data"]["batch_size"] = 9000
    with pytest.raises(SettingsError, match=r"data.batch_size is 9000"):
        workspace.train([cell()], {}, MemoryRun(config))


def test_the_trainer_loads_without_submitit_wandb_pydantic_and_the_other_packages() -> None:
    code = (
        "import sys, training.workspace, training.shapes.dataset, training.model.settings\n"
        "early = [name for name in ('torch',) if name in sys.modules]\n"
        "import training.loop.loop\n"
        "print(early + [n for n in ('submitit', 'wandb', 'pydantic', 'hpc', 'aggregate') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
