"""Triton's kernels for clipping and Adam: what they compute, by Triton's interpreter, and that they compile."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.command_line import ROOT
from helpers.graphs import emulated_gpu
from helpers.interpreter import triton_adam
from helpers.memory_run import cell
from helpers.packs import bits, make_pack, make_setup, train_steps
from helpers.sections import whole
from torch import Tensor

from training.model.optimizer import BETAS, EPSILON
from training.model.rows import HALF_MULTIPLE
from training.model.settings import Settings, read_settings
from training.steps.choice import working_triton
from training.steps.graph_step import GraphStep

CELLS = [cell(8, 1.0, 42), cell(16, 0.5, 43), cell(32, 10.0, 44)]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked at again when a kernel is first called."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")


@pytest.fixture
def settings(config: dict[str, Any]) -> Settings:
    return read_settings(whole(config))


def drawn(cells: int, generator: torch.Generator) -> Tensor:
    """One block more than a program has in each row; of very different sizes from cell to cell."""
    sizes = torch.logspace(-3, 3, cells).view(-1, 1, 1)
    return sizes * torch.randn(cells, 2, 2 * HALF_MULTIPLE, generator=generator)


def updated(settings: Settings, gradients: list[Tensor], begin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Parameters and moments after a step with each of the gradients."""
    buffers = begin.clone(), torch.zeros_like(begin), torch.zeros_like(begin)
    adam = triton_adam.TritonAdam(settings, *buffers, 0)
    for gradient in gradients:
        adam.step(gradient)
    assert float(adam.steps) == len(gradients)
    return buffers


@pytest.mark.parametrize(("clip", "decay"), [(1.0, 0.0), (0.0, 0.0), (1.0, 0.1)])
def test_each_cell_is_clipped_and_updated_as_by_torchs_own_functions_in_double(
    settings: Settings, clip: float, decay: float
) -> None:
    settings = replace(settings, grad_clip=clip, weight_decay=decay)
    generator = torch.Generator().manual_seed(1)
    begin, gradients = drawn(3, generator), [drawn(3, generator) for _ in range(4)]
    found = updated(settings, gradients, begin)
    for row in range(3):
        parameter = torch.nn.Parameter(begin[row].double())
        optimizer = torch.optim.Adam([parameter], lr=settings.lr, betas=BETAS, eps=EPSILON, weight_decay=decay)
        for gradient in gradients:
            parameter.grad = gradient[row].double()
            if clip:
                torch.nn.utils.clip_grad_norm_([parameter], clip)
            optimizer.step()
        state = optimizer.state[parameter]
        for one, expected in zip(found, (parameter.detach(), state["exp_avg"], state["exp_avg_sq"]), strict=True):
            torch.testing.assert_close(one[row].double(), expected, rtol=1e-6, atol=1e-6 * float(expected.abs().mean()))


@pytest.mark.filterwarnings("ignore:.*:RuntimeWarning")  # numpy says where a number becomes none
def test_a_cells_bits_depend_on_no_other_cell(settings: Settings) -> None:
    generator = torch.Generator().manual_seed(2)
    begin, gradients = drawn(3, generator), [drawn(3, generator) for _ in range(2)]
    for other in (1.0, torch.nan, torch.inf):
        mixed = [gradient.clone() for gradient in gradients]
        for gradient in mixed:
            gradient[0] *= other
        together = updated(settings, mixed, begin)
        alone = updated(settings, [gradient[1:2] for gradient in gradients], begin[1:2])
        assert all(one[1:2].equal(two) for one, two in zip(together, alone, strict=True))
        assert bool(together[0][0].isfinite().all()) == (other == 1.0)


def test_gradients_are_only_read(settings: Settings) -> None:
    gradients = drawn(2, torch.Generator().manual_seed(3))
    before = gradients.clone()
    updated(settings, [gradients], torch.zeros_like(gradients))
    assert gradients.equal(before)


def test_the_recorded_step_with_triton_trains_the_bits_of_the_plain_one_and_nearly_those_of_torch(
    config: dict[str, Any],
) -> None:
    config["model"] |= {"hidden_dim": 16, "decoder_hidden_dim": 16}
    setup = make_setup(config)
    with_triton, packs = replace(setup, triton=True), []
    for one in (setup, with_triton):
        packs.append(make_pack(one, CELLS))
        train_steps(packs[-1], 3)
    with emulated_gpu():
        recorded = make_pack(with_triton, CELLS)
        train_steps(recorded, 3)
        assert type(recorded._step) is GraphStep
        assert bits(recorded) == bits(packs[1])
    for expected, found in zip(*(pack.state.tensors() for pack in packs), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6 * float(expected.abs().max()))


@pytest.mark.slow
@pytest.mark.command
@pytest.mark.parametrize("architecture", [80, 90, 100])
def test_the_kernels_compile_and_round_as_they_are_written(architecture: int, tmp_path: Path) -> None:
    """For NVIDIA's generations Ampere, Hopper and Blackwell; Triton brings the assembler."""
    environment = {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    command = [sys.executable, "-m", "helpers.compiled_kernels", str(architecture)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    single = re.findall(r"\b((?:div|sqrt|fma|mul|add|sub|ex2|rcp)\.[\w.]*f32)", done.stdout)
    assert {name for name in single if ".approx" in name or ".full" in name or ".ftz" in name} == set()
    assert {"div.rn.f32", "sqrt.rn.f32", "fma.rn.f32"} <= set(single)
    # The compiler may not fuse what the source does not: the update has as many for each number.
    update = done.stdout.partition("clipped_adam(")[2]
    assert update.count("fma.rn.f32") == 4 * triton_adam.BLOCK // 128


@pytest.mark.parametrize(("options", "device"), [({}, CPU), ({"kernel": "torch"}, CUDA)])
def test_triton_is_not_even_looked_for_on_a_cpu_or_where_torchs_step_is_required(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, options: dict[str, str], device: torch.device
) -> None:
    monkeypatch.setitem(sys.modules, "training.steps.triton_adam", SimpleNamespace(tried=lambda *_: "9.9"))
    assert working_triton({}, settings, CUDA) == "9.9"
    assert working_triton(options, settings, device) == ""


def test_torch_clips_and_updates_where_triton_is_missing_or_does_not_work_and_the_log_says_why(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> str:
        raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)  # of a GPU that is well
    for module, why in ((None, "ModuleNotFoundError"), (SimpleNamespace(tried=broken), "Failed to find C compiler")):
        monkeypatch.setitem(sys.modules, "training.steps.triton_adam", module)
        assert working_triton({}, settings, CUDA) == ""
        (line,) = capfd.readouterr().err.splitlines()
        assert line.startswith("note: torch clips and updates")
        assert why in line


def test_a_gpu_that_fails_in_the_trial_is_not_taken_for_a_triton_that_does_not_work(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> str:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setitem(sys.modules, "training.steps.triton_adam", SimpleNamespace(tried=lost))
    monkeypatch.setattr(torch.cuda, "synchronize", lost)
    with pytest.raises(RuntimeError, match="CUDA error"):
        working_triton({}, settings, CUDA)


@pytest.mark.parametrize("wrong", [{"BETAS": (0.9, 0.99)}, {"EPSILON": 1e-2}, {"NORM_EPSILON": 1.0}])
def test_the_trial_compares_a_step_with_torch_and_refuses_what_differs(
    settings: Settings, wrong: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", triton_adam.tried(settings, CPU))
    for name, value in wrong.items():
        monkeypatch.setattr(triton_adam, name, value)
    with pytest.raises(RuntimeError, match="something else than torch"):
        triton_adam.tried(settings, CPU)
