"""Training, evaluation, checkpoint and restore on a device of shapes without numbers: nothing is left on the host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.memory_run import MemoryCell, MemoryRun, cell
from helpers.meta_device import META, Counting
from helpers.packs import make_pack, train_steps
from helpers.sections import whole

from training.loop.loop import Loop
from training.loop.pack import Setup
from training.model import transfer
from training.model.metrics import EVALUATION_BATCH, evaluate
from training.model.settings import read_settings
from training.model.tables import make_tables
from training.shapes.dataset import load
from training.steps.torch_step import TorchStep
from training.workspace import METRICS

CELLS = [cell(8, 1.0, 42), cell(16, 0.5, 43), cell(40, 10.0, 42)]
ALL_LOSSES = {"fusion": 0.5, "demi_cycle": 0.5, "cycle": 0.5, "translation": 0.5}


def on_meta(config: dict[str, Any]) -> Setup:
    settings = read_settings(whole(config))
    tables = make_tables(load(settings.directory), standardize=True, device=META)
    return Setup(settings, tables, META, fixed_width=True)


def trained(config: dict[str, Any], run: MemoryRun, cells: list[MemoryCell]) -> MemoryRun:
    run.numerics(device="meta")
    with Counting():
        Loop(cells, on_meta(config), run, list(METRICS)).train()
    return run


@pytest.mark.slow
@pytest.mark.parametrize("weights", [{"fusion": 1.0}, ALL_LOSSES])
def test_a_run_that_is_stopped_and_resumed_leaves_nothing_on_the_host(
    config: dict[str, Any], weights: dict[str, float]
) -> None:
    config["data"]["batch_size"] = 500
    config["experiment"]["weights"] = weights
    stopped = trained(config, MemoryRun(config, stop_at=20, due_every=3), CELLS)
    assert {checkpoint.step for checkpoint in stopped.saved.values()} <= set(range(1, 32))
    resumed = trained(config, MemoryRun(config, saved=stopped.saved, history=stopped.history), CELLS)
    assert resumed.finished.keys() == {one.name for one in CELLS}
    assert not any(one.diverged for one in resumed.finished.values())


def test_a_step_copies_nothing_to_the_host(config: dict[str, Any]) -> None:
    pack = make_pack(on_meta(config), CELLS[:2])
    with Counting() as counted:
        train_steps(pack, 3)
    assert counted.copies == 0
    assert counted.kernels > 0


@pytest.mark.parametrize("weights", [{"fusion": 1.0}, ALL_LOSSES])
def test_an_epochs_metrics_take_as_many_kernels_and_waits_for_many_cells_as_for_two(
    config: dict[str, Any], weights: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    config["experiment"]["weights"] = weights
    setup, counted = on_meta(config), []
    packs = [make_pack(setup, [cell(8, 1.0, seed) for seed in range(cells)]) for cells in (2, 9)]
    monkeypatch.setattr(transfer, "queued", lambda device: True)
    for cells, pack in zip((2, 9), packs, strict=True):
        with Counting() as counting:
            assert len(pack.finish_epoch()) == cells
        counted.append((counting.kernels, counting.copies))
    assert counted[0] == counted[1]
    assert counted[0][1] == 2  # the validation errors, and the sums of training


def test_a_batch_of_validation_rows_takes_few_kernels(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """At the default sizes: 24 for the layers, the rest for states and sums."""
    config["model"] |= {"hidden_dim": 128, "decoder_hidden_dim": 128, "n_layers": 4}
    setup = on_meta(config)
    pack, table = make_pack(setup, CELLS[:2]), setup.tables.val
    monkeypatch.setattr(transfer, "queued", lambda device: True)
    counts = []
    for rows in (EVALUATION_BATCH, 2 * EVALUATION_BATCH):
        with Counting() as counting:
            evaluate(
                setup.settings,
                pack.architecture,
                pack.state.parameters,
                replace(table, rows=rows),
                setup.tables.rescaling,
            )
        counts.append(counting.kernels)
    assert counts[1] - counts[0] <= 50


@pytest.mark.parametrize(("weights", "most"), [({"fusion": 1.0}, 87), (ALL_LOSSES, 174)])
def test_a_step_of_many_cells_takes_few_kernels(config: dict[str, Any], weights: dict[str, float], most: int) -> None:
    """At the default sizes: 35 products (71 with all losses), 28 (60) for biases, ReLU and masks, 9 for Adam."""
    config["model"] |= {"hidden_dim": 128, "decoder_hidden_dim": 128, "n_layers": 4}
    config["experiment"]["weights"] = weights
    pack = make_pack(on_meta(config), [cell(8, 1.0, seed) for seed in range(30)])
    counts = []
    for steps in (1, 2):  # what a visit costs besides its steps
        with Counting() as counted:
            train_steps(pack, steps)
        counts.append(counted.kernels)
    assert counts[1] - counts[0] <= most


@pytest.mark.parametrize(
    "fault",
    [
        lambda step: step._gradients[step._gradients > 0],
        lambda step: step._gradients.add_(torch.ones_like(step._gradients, device="cpu")),
        lambda step: step._gradients.add_(step._gradients[:, :1, :-1]),
    ],
    ids=["mask", "tensor of the host", "shape"],
)
def test_what_a_device_would_refuse_is_refused(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch, fault: Callable[[TorchStep], Any]
) -> None:
    plant(fault, monkeypatch)
    pack = make_pack(on_meta(config), CELLS[:2])
    with Counting(), pytest.raises((RuntimeError, NotImplementedError)):
        train_steps(pack, 1)


def test_a_number_that_a_step_reads_is_counted(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    plant(lambda step: step._adam.steps.item(), monkeypatch)
    pack = make_pack(on_meta(config), CELLS[:2])
    with Counting() as counted:
        train_steps(pack, 3)
    assert counted.copies == 3


def plant(fault: Callable[[TorchStep], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    original = TorchStep.step

    def step(self: TorchStep, index: torch.Tensor) -> None:
        original(self, index)
        fault(self)

    monkeypatch.setattr(TorchStep, "step", step)
