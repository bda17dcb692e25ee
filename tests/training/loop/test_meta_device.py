"""Training, evaluation, checkpoint and restore on a device of shapes without numbers: nothing is left on the host."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.command_line import ROOT
from helpers.memory_run import MemoryCell, MemoryRun, cell
from helpers.meta_device import H100, H200, META, Counting, Gpu
from helpers.packs import make_pack, train_steps
from helpers.sections import whole

from training.loop.loop import Loop
from training.loop.order import Batches
from training.loop.pack import Pack, Setup
from training.model import transfer
from training.model.metrics import EVALUATION_BATCH, evaluate
from training.model.rows import Architecture
from training.model.settings import read_settings
from training.model.state import Member, joined, new_state
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


def sweep_pack(config: dict[str, Any]) -> Pack:
    """210 cells at the default sizes."""
    config["model"] |= {"hidden_dim": 128, "decoder_hidden_dim": 128, "n_layers": 4}
    setup = on_meta(config)
    member = Member.of(cell(16), setup.settings)
    architecture = Architecture.of(setup.settings, member.dim)
    return Pack(setup, architecture, joined([new_state(member, architecture, setup.settings, META)] * 210))


def step_seconds(pack: Pack, gpu: Gpu) -> float:
    counts = []
    for steps in (1, 2):  # what a visit costs besides its steps
        with Counting() as counted:
            train_steps(pack, steps)
        counts.append(gpu.seconds(counted.work))
    return counts[1] - counts[0]


def test_a_step_of_a_sweep_takes_what_the_documentation_says_by_the_model(config: dict[str, Any]) -> None:
    page = " ".join((ROOT / "docs" / "performance.md").read_text().split())  # wherever its lines are broken
    found = re.search(r"a step of 210 cells would take (\S+) ms on an H100 and (\S+) ms on an H200", page)
    assert found is not None
    pack = sweep_pack(config)
    for said, gpu in zip(found.groups(), (H100, H200), strict=True):
        assert 1e3 * step_seconds(pack, gpu) == pytest.approx(float(said), abs=0.005)


@pytest.mark.parametrize("gpu", [H100, H200], ids=["H100", "H200"])
@pytest.mark.parametrize(("weights", "most"), [({"fusion": 1.0}, 0.02), (ALL_LOSSES, 0.025)])
def test_validating_50_000_rows_takes_at_most_a_fiftieth_of_an_epoch_by_the_model(
    config: dict[str, Any], weights: dict[str, float], most: float, gpu: Gpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 210 cells that train on 500,000. With all losses products alone, a third of a step's for a tenth of the rows,
    take nearly as much, and in all it is a fortieth."""
    config["experiment"]["weights"] = weights
    pack = sweep_pack(config)
    epoch = 500_000 // 32 * step_seconds(pack, gpu)
    settings, tables = pack._setup.settings, pack._setup.tables
    monkeypatch.setattr(transfer, "queued", lambda device: True)
    counts = []
    for rows in (EVALUATION_BATCH, 2 * EVALUATION_BATCH):
        with Counting() as counting:
            evaluate(
                settings, pack.architecture, pack.state.parameters, replace(tables.val, rows=rows), tables.rescaling
            )
        counts.append(gpu.seconds(counting.work))
    batch = counts[1] - counts[0]
    validation = counts[0] + (math.ceil(50_000 / EVALUATION_BATCH) - 1) * batch
    assert 0.5 * most * epoch < validation <= most * epoch


def test_the_model_counts_what_a_kernel_reads_writes_and_multiplies() -> None:
    a, b, c = (torch.zeros(3, *shape, device=META) for shape in ((4, 5), (5, 6), (4, 6)))
    row = torch.zeros(6, device=META)
    with Counting() as counted:
        torch.bmm(a, b, out=c)
        c.baddbmm_(a, b)
        c.copy_(row.expand_as(c))
        c.add_(1.0)
        torch.add(c, row)
        c.transpose(1, 2)
    factors, product = 4 * (60 + 90), 4 * 72
    assert counted.work == [
        (factors + product, 720),
        (factors + 2 * product, 720),
        (24 + product, 0),
        (2 * product, 0),
        (24 + 2 * product, 0),
    ]
    assert Gpu(1e9, 1e9, 0.5, 0.5, 1e-6).seconds([(1000, 0), (0, 1000)]) == pytest.approx(6e-6)


def test_the_orders_of_an_epoch_are_given_to_the_device_once() -> None:
    with Counting() as counted:
        batches = Batches([42, 43, 42], 8000, 32, META)
        before = counted.given
        for step in (0, 100, 249, 250, 499):
            assert batches.between(step, step + 1).device == META
    assert counted.given == before + 2


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
