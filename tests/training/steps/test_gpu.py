"""On a CUDA device: only there is this evidence of it. What needs no real one is also rehearsed on the emulator
(helpers/graphs.py), so that these tests can be trusted to run when the day comes."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from helpers.graphs import emulated_gpu
from helpers.memory_run import MemoryRun, cell
from helpers.packs import make_pack, make_setup, train_steps

from training.loop import loop
from training.steps.choice import working_triton
from training.steps.graph_step import GraphStep
from training.workspace import train

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture(params=[pytest.param("cuda", marks=on_a_gpu), pytest.param("emulated", marks=pytest.mark.slow)])
def device(request: pytest.FixtureRequest, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """On the real one, Triton clips and updates, where it works."""
    if request.param == "cuda":
        yield "cuda"
        return
    # Fewer steps, as often looked at within an epoch.
    monkeypatch.setattr(loop, "CHECK_EVERY", 10)
    monkeypatch.setattr(GraphStep, "stride", 10)
    config["data"]["batch_size"] = 250
    with emulated_gpu():
        yield "cpu"


@pytest.fixture
def options(device: str) -> dict[str, str]:
    """The emulator is a CPU: the compiled step must not train there."""
    return {"kernel": "torch"} if device == "cpu" else {}


CELLS = [cell(8, 1.0, 42), cell(16, 0.5, 43), cell(32, 10.0, 44)]
ALL_LOSSES = {"fusion": 0.5, "demi_cycle": 0.5, "cycle": 0.5, "translation": 0.5}


@on_a_gpu
@pytest.mark.parametrize("weights", [{"fusion": 1.0}, ALL_LOSSES])
def test_the_recorded_step_agrees_with_the_one_on_the_cpu(config: dict[str, Any], weights: dict[str, float]) -> None:
    config["experiment"]["weights"] = weights
    packs = [make_pack(make_setup(config, device=device), CELLS) for device in ("cpu", "cuda")]
    for pack in packs:
        train_steps(pack, 20)
    for expected, found in zip(*(pack.state.tensors() for pack in packs), strict=True):
        assert torch.allclose(found.cpu(), expected, rtol=1e-2, atol=1e-4 * float(expected.abs().max()))


@on_a_gpu
@pytest.mark.parametrize("training", [{}, {"grad_clip": 0.0}, {"optimizer": {"lr": 1e-3, "weight_decay": 0.1}}])
def test_triton_clips_and_updates_as_torch_does(config: dict[str, Any], training: dict[str, Any]) -> None:
    config["training"] |= training
    setups = [make_setup(config, device="cuda", triton=triton) for triton in (False, True)]
    assert working_triton({}, setups[0].settings, setups[0].device)
    packs = [make_pack(setup, CELLS) for setup in setups]
    for pack in packs:
        train_steps(pack, 20)
    for expected, found in zip(*(pack.state.tensors() for pack in packs), strict=True):
        assert torch.allclose(found, expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max()))


@on_a_gpu
def test_with_triton_a_cells_bits_do_not_depend_on_the_width_of_its_pack(config: dict[str, Any]) -> None:
    setup = make_setup(config, device="cuda", triton=True)
    many = [cell(8, 1.0, seed) for seed in range(40)]
    found = []
    for cells in (many, many[:7], many[:1]):
        pack = make_pack(setup, cells)
        train_steps(pack, 20)
        found.append([tensor[0].cpu() for tensor in pack.state.tensors()])
    for other in found[1:]:
        assert all(one.equal(two) for one, two in zip(found[0], other, strict=True))


def test_a_run_on_a_gpu_stopped_and_resumed_ends_with_identical_results(
    config: dict[str, Any], device: str, options: dict[str, str]
) -> None:
    runs = [MemoryRun(config, device=device), MemoryRun(config, device=device, stop_at=2)]
    for run in runs:
        train(CELLS, options, run)
    again = MemoryRun(config, device=device, saved=runs[1].saved, history=runs[1].history)
    train(CELLS, options, again)
    assert again.history == runs[0].history
    assert {name: one.metrics for name, one in again.finished.items()} == {
        name: one.metrics for name, one in runs[0].finished.items()
    }
    assert again.facts["pack"] == len(CELLS)


def test_a_requeue_after_a_cell_left_trains_the_others_in_as_many_rows_as_before(
    config: dict[str, Any], device: str, options: dict[str, str]
) -> None:
    straight, stopped = MemoryRun(config, device=device), MemoryRun(config, device=device, stop_at=2)
    for run in (straight, stopped):
        train(CELLS, options, run)
    saved = {one.name: stopped.saved[one.name] for one in CELLS[1:]}
    again = MemoryRun(config, device=device, saved=saved)
    train(CELLS[1:], options, again)
    assert again.facts["pack"] == len(CELLS)
    for one in CELLS[1:]:
        assert again.history[one.name] == straight.history[one.name]


@on_a_gpu
def test_half_a_pack_trains_in_the_same_process_after_memory_ran_out(config: dict[str, Any]) -> None:
    config["model"] |= {"hidden_dim": 1024, "decoder_hidden_dim": 1024, "n_layers": 4}
    cells = [cell(8, 1.0, seed) for seed in range(8)]
    torch.cuda.empty_cache()
    # Of all memory, four float32 buffers of seven cells (17 million parameters each): there are copies to make besides.
    share = 7 * 4 * 4 * 17e6 / torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction(share)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            train(cells, {}, MemoryRun(config, device="cuda", stop_at=2))
        gc.collect()  # as a task does
        half = MemoryRun(config, device="cuda", stop_at=2)
        train(cells[:2], {}, half)
        assert len(half.saved) == 2
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_a_cell_that_diverges_on_a_gpu_does_not_touch_its_neighbours(
    config: dict[str, Any], device: str, options: dict[str, str]
) -> None:
    doomed = cell(8, 1e42, 45)
    runs = [MemoryRun(config, device=device), MemoryRun(config, device=device)]
    for run, third in zip(runs, (doomed, cell(8, 1.0, 45)), strict=True):
        train([*CELLS, third], options, run)
    assert runs[0].finished[doomed.name].diverged
    for one in CELLS:
        assert runs[0].history[one.name] == runs[1].history[one.name]


def test_packs_at_once_end_like_each_by_itself(config: dict[str, Any], device: str, options: dict[str, str]) -> None:
    """Two packs of two architectures, and thus in two lanes."""
    groups = CELLS[:2], [cell(40, 1.0, 42), cell(64, 0.5, 44)]
    together = MemoryRun(config, device=device)
    train([one for group in groups for one in group], options, together)
    for group in groups:
        alone = MemoryRun(config, device=device)
        train(group, options, alone)
        assert alone.facts["pack"] == together.facts["pack"] == 2
        for one in group:
            assert together.history[one.name] == alone.history[one.name]
