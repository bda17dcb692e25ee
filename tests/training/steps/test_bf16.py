"""Products of bf16 factors: rounded as the instruction rounds, the same bits without it, and it learns as fp32 does."""

from __future__ import annotations

import ctypes
import statistics
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.instruction_sets import OTHER_SETS, use
from helpers.memory_run import MemoryRun, cell
from helpers.packs import bits, make_pack, make_setup, train_steps
from numpy.typing import NDArray
from torch import Tensor

from training import workspace
from training.contract import UnfitNodeError
from training.loop.pack import Pack
from training.model import stack
from training.model.settings import SettingsError
from training.steps import build
from training.steps.build import load_kernel

CELLS = [cell(8, 1.0, 42), cell(12, 5.0, 43)]
ALL_LOSSES = {"fusion": 0.4, "demi_cycle": 0.3, "cycle": 0.2, "translation": 0.1}

# What the kernel does to numbers before and while it multiplies, by itself; with subnormals flushed, as in training.
PROBE = """
#include <xmmintrin.h>
#include "kernel_bf16.h"
#define FLUSHING(...) { unsigned was = _mm_getcsr(); _mm_setcsr(was | 0x8040); __VA_ARGS__ _mm_setcsr(was); }
void row(const float *from, float *to, long count) FLUSHING(
    for (long i = 0; i < count; i += 2 * LANES)
        put_pairs(to + i / 2, rounded_row(load(from + i), load(from + i + LANES)));)
void pair(const float *low, const float *high, float *to, long count) FLUSHING(
    for (long i = 0; i < count; i += LANES) put_pairs(to + i, pair_of(load(low + i), load(high + i)));)
void add(const float *a, const float *b, float *sums, long count) FLUSHING(
    for (long i = 0; i < count; i += LANES)
        store(sums + i, multiply_add_pairs(pairs_at(a + i), pairs_at(b + i), load(sums + i)));)
"""
Words = NDArray[np.uint32]


@pytest.fixture(params=["native", *OTHER_SETS])
def instruction_set(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    use(request.param, monkeypatch, "bf16")
    return str(request.param)


@pytest.fixture
def probe(instruction_set: str, tmp_path: Path) -> Callable[..., Words]:
    """Calls a function of PROBE: its name, then arrays of 32-bit words; the last one is returned."""
    (tmp_path / "probe.c").write_text(PROBE)
    place = [f"-march={instruction_set}", "-iquote", str(build.SOURCE.parent), "probe.c", "-o", "probe.so", "-lm"]
    subprocess.run([build.find_compiler(), *build.FLAGS, *place], cwd=tmp_path, check=True)
    library = ctypes.CDLL(str(tmp_path / "probe.so"))

    def call(name: str, *words: Words) -> Words:
        getattr(library, name)(*(one.ctypes.data_as(ctypes.c_void_p) for one in words), ctypes.c_long(words[0].size))
        return words[-1]

    return call


def numbers(words: Words) -> NDArray[np.float32]:
    return words.view(np.float32)


def make(config: dict[str, Any], cells: list[Any] = CELLS, **how: Any) -> Pack:
    return make_pack(make_setup(config, native=True, precision="bf16", **how), cells)


# --- rounding and adding ------------------------------------------------------------------------------------------


def every_kind_of_number() -> Words:
    """Every sign, exponent and upper half of the fraction, each with lower halves on, beside and between ties."""
    lower = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    return ((np.arange(1 << 16, dtype=np.uint32) << 16)[:, None] | lower).reshape(-1)


def test_numbers_are_rounded_to_the_nearest_even_and_subnormals_to_zero(probe: Callable[..., Words]) -> None:
    words = every_kind_of_number()
    nearest = torch.from_numpy(numbers(words).copy()).bfloat16().view(torch.int16).numpy().view(np.uint16)
    subnormal = (words & 0x7F800000) == 0
    expected = np.where(subnormal, words >> 16 & 0x8000, nearest).astype(np.uint16)
    nan = np.isnan(numbers(words))
    low, high = words, np.roll(words, 7)
    in_a_row = probe("row", words, np.zeros(words.size // 2, np.uint32)).view(np.uint16)
    paired = probe("pair", low, high, np.zeros_like(words))
    for found, right, strange in (
        (in_a_row, expected, nan),
        (paired.astype(np.uint16), expected, nan),
        ((paired >> 16).astype(np.uint16), np.roll(expected, 7), np.roll(nan, 7)),
    ):
        assert (found[~strange] == right[~strange]).all()
        assert np.isnan(numbers(found[strange].astype(np.uint32) << 16)).all()


def test_the_high_halves_are_added_first_and_each_sum_is_rounded_once(probe: Callable[..., Words]) -> None:
    """Exponents so near that float64 holds every sum exactly, and the rounding to fp32 is the only one."""
    random = np.random.default_rng(1)
    halves = (random.integers(120, 134, (4, 1 << 16)) << 7 | random.integers(0, 128, (4, 1 << 16))).astype(np.uint32)
    halves |= random.integers(0, 2, halves.shape).astype(np.uint32) << 15
    low_a, high_a, low_b, high_b = halves
    start = random.uniform(-100, 100, 1 << 16).astype(np.float32)
    found = numbers(probe("add", low_a | high_a << 16, low_b | high_b << 16, start.copy().view(np.uint32)))
    wide = [numbers(half << 16).astype(np.float64) for half in halves]
    once = (start + wide[1] * wide[3]).astype(np.float32)
    expected = (once + wide[0] * wide[2]).astype(np.float32)
    assert (found == expected).all()
    other = ((start + wide[0] * wide[2]).astype(np.float32) + wide[1] * wide[3]).astype(np.float32)
    assert (found != other).any()


@pytest.mark.parametrize("instruction_set", OTHER_SETS, indirect=True)
@pytest.mark.parametrize("exponents", [(0, 255, 0, 255, 0, 255), (0, 70, 50, 80, 0, 30)])
def test_without_the_instruction_sums_are_the_same_also_near_overflow_and_underflow(
    probe: Callable[..., Words], exponents: tuple[int, ...], tmp_path: Path
) -> None:
    """Both of one source: what the test above holds is held here for this processor's own instruction."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "probe.c").write_text(PROBE)
    place = ["-march=native", "-iquote", str(build.SOURCE.parent), "probe.c", "-o", "own.so", "-lm"]
    subprocess.run([build.find_compiler(), *build.FLAGS, *place], cwd=own, check=True)
    library, random = ctypes.CDLL(str(own / "own.so")), np.random.default_rng(2)

    def words(least: int, most: int) -> Words:
        found = random.integers(0, 1 << 32, 1 << 18, dtype=np.uint64).astype(np.uint32) & 0x807F807F
        low, high = (random.integers(least, most + 1, found.size).astype(np.uint32) for _ in range(2))
        return found | low << 7 | high << 23

    a, b, start = (words(*exponents[i : i + 2]) for i in (0, 2, 4))
    expected = start.copy()
    library.add(*(one.ctypes.data_as(ctypes.c_void_p) for one in (a, b, expected)), ctypes.c_long(a.size))
    found = probe("add", a, b, start.copy())
    nan = np.isnan(numbers(expected))
    assert (np.isnan(numbers(found)) == nan).all()
    assert (found[~nan] == expected[~nan]).all()
    assert (expected != start).mean() > 0.3


# --- the step -----------------------------------------------------------------------------------------------------


def rounded(tensor: Tensor) -> Tensor:
    return tensor.bfloat16().float()


def step_in_torch_with_rounded_factors(monkeypatch: pytest.MonkeyPatch) -> None:
    class Rounding:
        """torch, where the model calls it for a product."""

        def __getattr__(self, name: str) -> Any:
            return getattr(torch, name)

        def baddbmm(self, bias: Tensor, a: Tensor, b: Tensor, out: Tensor) -> Tensor:
            return torch.baddbmm(bias, rounded(a), rounded(b), out=out)

        def bmm(self, a: Tensor, b: Tensor, out: Tensor) -> Tensor:
            return torch.bmm(rounded(a), rounded(b), out=out)

    add = Tensor.baddbmm_
    monkeypatch.setattr(stack, "torch", Rounding())
    monkeypatch.setattr(Tensor, "baddbmm_", lambda self, a, b: add(self, rounded(a), rounded(b)))


@pytest.mark.parametrize("weights", [{"fusion": 1.0}, {"fusion": 1.0, "cycle": 1.0}, ALL_LOSSES])
@pytest.mark.parametrize(
    ("model", "batch", "training"),
    [
        ({}, 32, {"standardize_inputs": True, "source_feature_weight": 4.0}),
        ({"hidden_dim": 41, "decoder_hidden_dim": 23, "n_layers": 2}, 45, {"grad_clip": None}),
        ({"n_layers": 0}, 7, {"optimizer": {"weight_decay": 0.1}, "grad_clip": 0.05}),
    ],
)
@pytest.mark.usefixtures("instruction_set")
def test_only_the_factors_of_products_are_rounded(
    config: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    model: dict[str, Any],
    batch: int,
    training: dict[str, Any],
    weights: dict[str, float],
) -> None:
    """After one step: the first moments are its gradients. Rounded factors come ten times as near as fp32 does."""
    config["model"] |= model
    config["training"] |= training
    config["data"]["batch_size"] = batch
    config["experiment"]["weights"] = weights
    found, exact = make(config), make_pack(make_setup(config), CELLS)
    train_steps(found, 1)
    train_steps(exact, 1)
    step_in_torch_with_rounded_factors(monkeypatch)
    expected = make_pack(make_setup(config), CELLS)
    train_steps(expected, 1)

    def apart(one: Pack) -> float:
        return float((found.state.first - one.state.first).norm() / one.state.first.norm())

    assert apart(expected) < 1e-3
    assert apart(exact) > 10 * apart(expected)
    assert float((found.state.squares - exact.state.squares).abs().max()) > 0


@pytest.mark.parametrize("weights", [{"fusion": 1.0}, ALL_LOSSES])
@pytest.mark.parametrize(("hidden", "batch"), [(128, 32), (41, 45)])
def test_the_instruction_changes_no_bit(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch, weights: dict[str, float], hidden: int, batch: int
) -> None:
    config["model"] |= {"hidden_dim": hidden, "decoder_hidden_dim": hidden}
    config["data"]["batch_size"] = batch
    config["experiment"]["weights"] = weights
    found = []
    for march in ("native", *OTHER_SETS):
        use(march, monkeypatch, "bf16")
        pack = make(config)
        train_steps(pack, 50)
        found.append(bits(pack))
    assert found[0] == found[1] == found[2]


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("threads", [1, 2])
def test_packs_orders_threads_and_interruptions_change_no_bit(config: dict[str, Any], threads: int) -> None:
    cells = [cell(8, 1.0, seed) for seed in range(3)]
    alone = {}
    for one in cells:
        pack = make(config, [one])
        train_steps(pack, 21)
        alone |= bits(pack)
    together = make(config, cells[::-1], threads=threads)
    for steps in (5, 1, 15):
        train_steps(together, steps)
    assert bits(together) == alone


@pytest.mark.usefixtures("instruction_set")
def test_a_run_that_is_stopped_and_resumed_ends_with_the_same_bits(config: dict[str, Any]) -> None:
    straight, stopped = MemoryRun(config), MemoryRun(config, stop_at=9)
    for run in (straight, stopped):
        workspace.train(CELLS, {"precision": "bf16"}, run)
    assert stopped.saved
    assert not stopped.finished
    resumed = MemoryRun(config, saved=stopped.saved)
    workspace.train(CELLS[::-1], {"precision": "bf16"}, resumed)
    for one in CELLS:
        ends = [run.finished[one.name].weights for run in (straight, resumed)]
        assert all((ends[0][name] == ends[1][name]).all() for name in ends[0])


@pytest.mark.usefixtures("instruction_set")
def test_padding_stays_exactly_zero_and_a_nan_in_its_own_cell(config: dict[str, Any]) -> None:
    config["experiment"]["weights"] = ALL_LOSSES
    healthy, pack = make(config, CELLS[1:]), make(config)
    untouched = pack.state.parameters[1] == 0
    assert untouched.any()
    pack.state.parameters[0, 0, 3] = torch.nan
    for one in (healthy, pack):
        train_steps(one, 20)
    assert pack.finite() == [False, True]
    assert bits(pack)[CELLS[1].name] == bits(healthy)[CELLS[1].name]
    assert not pack.state.parameters[1][untouched].any()


def test_it_learns_as_fp32_does_within_the_noise_of_seeds(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    use("x86-64-v3", monkeypatch, "bf16")
    config["model"] |= {"hidden_dim": 128, "decoder_hidden_dim": 128}
    config["training"] |= {"epochs": 5, "standardize_inputs": True, "source_feature_weight": 4.0}
    cells = [cell(16, 1.0, seed) for seed in range(42, 50)]
    found: dict[str, dict[str, list[float]]] = {}
    for precision in ("fp32", "bf16"):
        run = MemoryRun(config)
        workspace.train(cells, {"precision": precision, "kernel": "native"}, run)
        for name in ("predictability/synergy_acc", "best_val_loss"):
            values = [run.finished[one.name].metrics[name] or 0.0 for one in cells]
            found.setdefault(name, {})[precision] = values
    assert min(found["predictability/synergy_acc"]["bf16"]) > 0.5
    for values in found.values():
        assert values["fp32"] != values["bf16"]
        error = (sum(map(statistics.variance, values.values())) / len(cells)) ** 0.5
        assert abs(statistics.mean(values["bf16"]) - statistics.mean(values["fp32"])) < 2 * error


# --- where it is not ------------------------------------------------------------------------------------------------


@pytest.fixture
def old_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler to which this processor has no AVX512-BF16, whatever it has."""
    script = tmp_path / "cc-old"
    script.write_text(f'#!/bin/bash\nexec {build.find_compiler()} "${{@/-march=native/-march=x86-64}}"\n')
    script.chmod(0o700)
    monkeypatch.setenv("CC", str(script))
    monkeypatch.delenv(build.VARIABLE, raising=False)
    build._loaded.cache_clear()


@pytest.mark.usefixtures("old_compiler")
@pytest.mark.parametrize("has", [False, True])
def test_a_machine_without_the_instruction_is_unfit_and_fp32_trains_there(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch, has: bool
) -> None:
    monkeypatch.setattr(build, "BF16_FLAG", " fpu " if has else " no such flag ")
    reason = "the compiler .*cc-old does not know" if has else "this machine's processor has no"
    said = f"trainer_options.precision is 'bf16', but {reason} AVX512-BF16.*; use fp32."
    run = MemoryRun(config)
    with pytest.raises(UnfitNodeError, match=said):
        workspace.train(CELLS, {"precision": "bf16"}, run)
    assert not run.facts
    workspace.train(CELLS[:1], {"precision": "fp32"}, MemoryRun(config, stop_at=1))
    build._loaded.cache_clear()


def test_a_gpu_is_refused(config: dict[str, Any]) -> None:
    from training.steps.choice import compiled_step

    with pytest.raises(SettingsError, match=r"trainer_options.precision is 'bf16', but the device is cuda; use"):
        compiled_step({"precision": "bf16"}, "cuda")


@pytest.mark.usefixtures("instruction_set")
def test_the_numerics_say_how_products_are_rounded_and_those_of_fp32_are_as_they_were(config: dict[str, Any]) -> None:
    facts = {}
    for precision in ("fp32", "bf16"):
        run = MemoryRun(config, stop_at=1)
        workspace.train(CELLS[:1], {"precision": precision}, run)
        facts[precision] = run.facts
    assert (facts["fp32"]["dtype"], facts["bf16"]["dtype"]) == ("float32", "float32, products of bf16")
    assert facts["bf16"]["kernel"] == load_kernel("bf16").name
    assert facts["bf16"]["kernel"] != facts["fp32"]["kernel"]


def test_bf16_gives_the_step_in_fp32_no_other_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell that is resumed under another name is recorded as trained under two numerics."""
    named = partial(build._source, "fp32")
    before = named()
    (tmp_path / "kernel_bf16.h").write_text("something else")
    monkeypatch.setattr(build, "BF16", tmp_path / "kernel_bf16.h")
    assert named() == before
    assert build.translation_unit("fp32") == build.SOURCE.read_text()
