"""On a CUDA device. Skipped where there is none: nothing here is evidence until it has run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.memory_run import MemoryRun, cell
from helpers.packs import make_pack, make_setup, train_steps

from training.workspace import train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

CELLS = [cell(8, 1.0, 42), cell(16, 0.5, 43), cell(32, 10.0, 44)]
ALL_LOSSES = {"fusion": 0.5, "demi_cycle": 0.5, "cycle": 0.5, "translation": 0.5}


@pytest.mark.parametrize("weights", [{"fusion": 1.0}, ALL_LOSSES])
def test_the_recorded_step_agrees_with_the_one_on_the_cpu(config: dict[str, Any], weights: dict[str, float]) -> None:
    config["experiment"]["weights"] = weights
    packs = [make_pack(make_setup(config, device=device), CELLS) for device in ("cpu", "cuda")]
    for pack in packs:
        train_steps(pack, 20)
    for expected, found in zip(*(pack.state.tensors() for pack in packs), strict=True):
        assert torch.allclose(found.cpu(), expected, rtol=1e-2, atol=1e-4 * float(expected.abs().max()))


def test_a_run_on_a_gpu_stopped_and_resumed_ends_with_identical_results(config: dict[str, Any]) -> None:
    runs = [MemoryRun(config, device="cuda"), MemoryRun(config, device="cuda", stop_at=2)]
    for run in runs:
        train(CELLS, {}, run)
    again = MemoryRun(config, device="cuda", saved=runs[1].saved, history=runs[1].history)
    train(CELLS, {}, again)
    assert again.history == runs[0].history
    assert {name: one.metrics for name, one in again.finished.items()} == {
        name: one.metrics for name, one in runs[0].finished.items()
    }
    assert again.facts["pack"] == len(CELLS)


def test_a_cell_that_diverges_on_a_gpu_does_not_touch_its_neighbours(config: dict[str, Any]) -> None:
    doomed = cell(8, 1e42, 45)
    runs = [MemoryRun(config, device="cuda"), MemoryRun(config, device="cuda")]
    for run, third in zip(runs, (doomed, cell(8, 1.0, 45)), strict=True):
        train([*CELLS, third], {}, run)
    assert runs[0].finished[doomed.name].diverged
    for one in CELLS:
        assert runs[0].history[one.name] == runs[1].history[one.name]
