"""The one command for the first day on a GPU: rehearsed to its end on a CPU, where nothing of it may fall over."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.command_line import ROOT
from helpers.graphs import emulated_gpu
from helpers.sections import whole

from benchmarks import gpu
from benchmarks.loops import BATCH, HIDDEN, LARGEST_NORM, LAYERS, LEARNING_RATE
from benchmarks.packs import ROWS, settings_of
from hpc.protocol import TaskExit
from training.model.settings import read_settings

# What a machine that has torch need not have.
NOT_THERE = ("submitit", "wandb", "click", "rich", "pandas", "pyarrow", "matplotlib", "scipy", "jinja2")
BROKEN = """
import os, signal, sys
if "--part" in sys.orig_argv:
    part = sys.orig_argv[sys.orig_argv.index("--part") + 1]
    if part == "equal":
        os.kill(os.getpid(), signal.SIGSEGV)
    if part == "copies":
        import time
        time.sleep(10**6)
    if part == "speed":
        import torch
        torch.optim.Adam = None
"""


def called(*arguments: str, expect: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.gpu", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | environment)
    assert done.returncode == expect, f"{done.stdout}\n{done.stderr}"
    return done


def at_start(directory: Path, code: str) -> dict[str, str]:
    """The environment of processes that first of all run this code."""
    directory.mkdir()
    (directory / "sitecustomize.py").write_text(code)
    return {"PYTHONPATH": str(directory)}


def without(directory: Path, *modules: str) -> dict[str, str]:
    return at_start(directory, f"import sys; sys.modules.update(dict.fromkeys({modules!r}))")


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path: Path) -> None:
    done = called("--json", str(tmp_path / "gpu.json"), "--markdown", str(tmp_path / "gpu.md"))
    assert done.stdout.startswith("benchmarks.gpu: no CUDA device here")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_whole_rehearsal_runs_where_the_toolkits_packages_are_missing(tmp_path: Path) -> None:
    files = "--json", str(tmp_path / "gpu.json"), "--markdown", str(tmp_path / "gpu.md")
    called("--rehearse", *files, **without(tmp_path / "start", *NOT_THERE))
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert list(found) == ["machine", *gpu.LIMITS]
    assert not [part for part in gpu.LIMITS if "failed" in found[part]]
    assert {f"## {part}" for part in gpu.LIMITS} <= set((tmp_path / "gpu.md").read_text().splitlines())
    assert found["equal"]["P = 3"] == {"cells compared": 3, "equal": 3}
    assert "skipped" in found["tests"]["last lines"][-1]
    assert found["sanitizer"]["last lines"][-1].startswith("sum of the parameters after three steps: ")
    timed = [*(f"pack of {n}" for n in (1, 3)), *(f"3 packs of 1 {how}" for how in ("at once", "in turn"))]
    timed += ["tight loop", "tight loop, 2 processes"]
    assert list(found["speed"]) == timed
    assert all(value > 0 for part in ("copies", "speed") for value in found[part].values())
    kernels = [value for value in found["profile"].values() if isinstance(value, dict)]
    assert kernels
    assert all(kernel["us a step"] > 0 and kernel["calls a step"] > 0 for kernel in kernels)
    sweep = found["sweep"]
    assert sweep["exit status, stopped and resumed"] == [TaskExit.STOPPED, TaskExit.DONE]
    assert sweep["finished"] == sweep["cells"] == 3
    assert sum(sweep["steps of a cell, stopped and resumed"]) <= 3 * 2 * (20_000 // 32)
    for kind in ("launching steps", "waiting for the device", "evaluation", "results", "reporting epochs", "all else"):
        assert len(sweep[f"seconds of {kind}, stopped and resumed"]) == 2
    assert sweep["minutes of training for 50 epochs, extrapolated"] > 0
    copies = found["copies"]
    called("--rehearse", "--parts", "copies", *files)
    again = json.loads((tmp_path / "gpu.json").read_text())
    assert list(again) == list(found)
    assert again["copies"] != copies
    assert again["sweep"] == sweep


@pytest.mark.slow
def test_a_part_that_fails_dies_or_hangs_keeps_what_it_had_and_takes_no_other_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, value in at_start(tmp_path / "start", BROKEN).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(gpu.LIMITS, "copies", 0.01)
    arguments = argparse.Namespace(json=tmp_path / "gpu.json", markdown=tmp_path / "gpu.md", rehearse=True)
    assert gpu.run(["equal", "copies", "speed", "sanitizer"], gpu.TINY, arguments) == 1
    found = json.loads(arguments.json.read_text())
    assert found["equal"] == {"failed": "its process ended with status -11"}
    assert found["copies"] == {"failed": "it was not done after 0.1 s"}
    assert found["speed"].pop("failed") == "TypeError: 'NoneType' object is not callable"
    assert list(found["speed"])[-1] == "3 packs of 1 in turn"
    assert found["sanitizer"]["exit status"] == 0
    assert "| failed | it was not done after 0.1 s |" in arguments.markdown.read_text()
    assert "in tight_loop" in capfd.readouterr().err


@pytest.mark.slow
def test_modules_that_a_part_needs_are_asked_for_before_anything_runs(tmp_path: Path) -> None:
    environment = without(tmp_path / "start", "pydantic", "msgspec")
    files = "--json", str(tmp_path / "gpu.json"), "--markdown", str(tmp_path / "gpu.md")
    done = called("--rehearse", *files, expect=2, **environment)
    others = "equal,sanitizer,copies,profile,speed"
    assert done.stderr.splitlines()[-1].endswith(
        f"these modules are missing: pydantic, msgspec; install them, or leave out with --parts {others}"
    )
    assert not (tmp_path / "gpu.json").exists()
    called("--rehearse", "--parts", "sanitizer", *files, **environment)


def test_each_call_that_the_documentation_names_fits_into_ten_minutes_and_all_into_fifteen() -> None:
    text = (ROOT / "docs" / "performance.md").read_text()
    calls = [parts.split(",") for parts in re.findall(r"python -m benchmarks\.gpu --parts (\S+)", text)]
    assert sorted(part for call in calls for part in call) == sorted(gpu.LIMITS)
    assert all(sum(gpu.LIMITS[part] for part in call) <= 9 * 60 for call in calls)
    assert sum(gpu.LIMITS.values()) <= 13 * 60
    windows = len(gpu.REAL.widths) + 2 * len(gpu.REAL.at_once) + 1 + len(gpu.REAL.processes)
    assert 2 * windows * gpu.REAL.window_s < gpu.LIMITS["speed"]


def test_what_is_measured_is_the_built_in_experiment_with_its_defaults(tmp_path: Path) -> None:
    config: Mapping[str, Any] = {
        "data": {"dir": str(tmp_path), "batch_size": BATCH},
        "model": {"hidden_dim": HIDDEN, "decoder_hidden_dim": HIDDEN, "n_layers": LAYERS},
        "training": {"optimizer": {"lr": LEARNING_RATE}, "grad_clip": LARGEST_NORM},
        "experiment": {"weights": {"fusion": 1.0}},
    }
    assert settings_of(tmp_path) == read_settings(whole(config))
    assert whole(config)["model"] == whole({})["model"]
    assert whole(config)["training"] == whole({})["training"]


def test_kernels_have_short_names_that_say_what_they_compute() -> None:
    native, hidden = "void at::native::", "at::native::(anonymous namespace)::"
    elementwise = "elementwise_kernel<128, 2, at::native::gpu_kernel_impl_nocast<at::native::"
    names = {
        f"void {hidden}multi_tensor_apply_kernel<{hidden}FusedOptimizerTensorListMetadata<4>, "
        f"{hidden}FusedAdamMathFunctor<float, 4>>(float)": "multi_tensor_apply_kernel FusedAdamMathFunctor",
        f"{native}{elementwise}BinaryFunctor<float, float, float, at::native::binary_internal::MulFunctor<float> > >"
        "(at::TensorIteratorBase&)::{lambda(int)#1}>(int)": "elementwise_kernel MulFunctor",
        f"{native}{elementwise}direct_copy_kernel_cuda(at::TensorIteratorBase&)::{{lambda()#3}}::operator()() const>"
        "(int)": "elementwise_kernel direct_copy_kernel_cuda",
        f"{native}reduce_kernel<512, 1, at::native::ReduceOp<float, at::native::NormTwoOps<float, float> > >"
        "(float)": "reduce_kernel NormTwoOps",
        "sm80_xmma_gemm_f32f32_f32f32_f32_nn_n_tilesize32x32x8_stage3_warpsize1x2x1_ffma": (
            "sm80_xmma_gemm_f32f32_f32f32_f32_nn_n_tilesize32x32x8"
        ),
        "clipped_adam": "clipped_adam",
        "aten::bmm": "aten::bmm",
    }
    assert {name: gpu.short_name(name) for name in names} == names


def test_a_whole_sweep_is_extrapolated_kind_by_kind() -> None:
    seconds = {"launching steps": 1.0, "waiting for the device": 2.0, "evaluation": 0.5, "reporting epochs": 0.1}
    seconds |= {"waiting for orders": 0.2, "recording graphs": 0.3, "results": 4.0, "checkpoints": 0.0}
    task = {"steps of a cell": 1000, "seconds": seconds, "calls": {"checkpoints": 1}}
    # 10 cells of 50 epochs with 100 steps each are 25 times these two tasks; the rest once in 50 epochs.
    assert gpu.minutes([task, task], 10, 2, 100, 50) == pytest.approx((25 * 6.0 + 50 * 0.8 + 4.3) / 60)
    slower = task | {"seconds": seconds | {"checkpoints": 6.0}}
    assert gpu.minutes([task, slower], 10, 2, 100, 50) == pytest.approx((25 * 6.0 + 50 * 0.8 + 4.3) / 57)


@pytest.mark.slow
def test_its_packs_are_measured_in_lanes_and_as_graphs_by_the_rules_of_a_device(tmp_path: Path) -> None:
    gpu.generated(tmp_path / "data", ROWS)
    with emulated_gpu():
        bench = gpu.Bench(gpu.TINY, tmp_path)
        assert dict(bench.equal())["P = 3"] == {"cells compared": 3, "equal": 3}
        assert all(value > 0 for _, value in bench._several(3))
        assert dict(bench.profile())["cells"] == 3


@pytest.mark.slow
def test_it_loads_no_more_than_training_does() -> None:
    unwanted = {"submitit", "wandb", "pydantic", "msgspec", "hpc", "aggregate"}
    code = f"import sys, benchmarks.gpu; print(sorted(sys.modules.keys() & {unwanted!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
