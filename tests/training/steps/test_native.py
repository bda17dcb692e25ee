"""The compiled step computes what the step in torch computes, and is never a requirement."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.here import lacking
from helpers.instruction_sets import OTHER_SETS, use
from helpers.memory_run import MemoryRun, cell
from helpers.packs import bits, make_pack, make_setup, train_steps

from training import workspace
from training.contract import UnfitNodeError
from training.steps import build
from training.steps.build import NoKernelError, load_kernel
from training.steps.native_step import NativeStep, shares_of

CELLS = [cell(8, 1.0, 42), cell(12, 5.0, 43)]


@pytest.fixture(autouse=True)
def compiled(request: pytest.FixtureRequest) -> None:
    if "without_a_compiler" not in request.node.name:
        try:
            load_kernel()
        except NoKernelError as error:
            lacking(str(error))


@pytest.fixture(params=["native", *OTHER_SETS])
def instruction_set(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    use(request.param, monkeypatch)


@pytest.mark.parametrize(
    "weights",
    [
        {"fusion": 1.0},
        {"fusion": 1.0, "demi_cycle": 1.0},
        {"fusion": 1.0, "cycle": 1.0},
        {"translation": 1.0},
        {"fusion": 0.5, "demi_cycle": 0.5, "cycle": 0.5, "translation": 0.5},
    ],
)
@pytest.mark.parametrize(
    ("model", "batch", "training"),
    [
        ({}, 32, {"standardize_inputs": True, "source_feature_weight": 4.0}),
        ({"hidden_dim": 41, "decoder_hidden_dim": 24, "n_layers": 2}, 45, {"grad_clip": None}),
        ({"n_layers": 0}, 7, {"optimizer": {"weight_decay": 0.1}, "grad_clip": 0.05}),
        ({"n_layers": 3, "fusion_weights": {"attr": 0.7, "v": 0.4}}, 64, {"optimizer": {"weight_decay": 0.01}}),
    ],
)
@pytest.mark.usefixtures("instruction_set")
def test_the_compiled_step_agrees_with_the_one_in_torch(
    config: dict[str, Any],
    model: dict[str, Any],
    batch: int,
    training: dict[str, Any],
    weights: dict[str, float],
) -> None:
    """Moments are compared: after few steps Adam's update of a parameter hides the size of its gradient."""
    config["model"] |= model
    config["training"] |= training
    config["data"]["batch_size"] = batch
    config["experiment"]["weights"] = weights
    packs = [make_pack(make_setup(config, native=chosen), CELLS) for chosen in (False, True)]
    for pack in packs:
        train_steps(pack, 5)
    for expected, found in zip(*(pack.state.tensors() for pack in packs), strict=True):
        assert torch.allclose(found, expected, rtol=1e-3, atol=1e-5 * max(float(expected.abs().max()), 1e-20))


@pytest.mark.usefixtures("instruction_set")
def test_padding_stays_exactly_zero_in_the_compiled_step_too(config: dict[str, Any]) -> None:
    config["experiment"]["weights"] = {"fusion": 0.5, "demi_cycle": 0.5, "cycle": 0.5, "translation": 0.5}
    packs = [make_pack(make_setup(config, native=chosen), [cell(5)]) for chosen in (False, True)]
    for pack in packs:
        train_steps(pack, 20)
    untouched = packs[0].state.parameters == 0
    assert untouched.any()
    assert not packs[1].state.parameters[untouched].any()


@pytest.mark.usefixtures("instruction_set")
def test_steps_passed_together_give_the_same_bits_as_steps_passed_one_by_one(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for stride in (1, 8, 50):
        monkeypatch.setattr(NativeStep, "stride", stride)
        pack = make_pack(make_setup(config, native=True), CELLS)
        train_steps(pack, 50)
        found.append(bits(pack))
    assert found[0] == found[1] == found[2]


@pytest.mark.usefixtures("instruction_set")
def test_subnormal_moments_are_flushed(config: dict[str, Any]) -> None:
    pack = make_pack(make_setup(config, native=True), CELLS[:1])
    pack.state.second.fill_(1e-37)
    pack.state.first.fill_(1e-37)
    train_steps(pack, 50)
    for moments in (pack.state.first, pack.state.second):
        assert not ((moments != 0) & (moments.abs() < torch.finfo(torch.float32).tiny)).any()


@pytest.mark.usefixtures("instruction_set")
def test_a_nan_spreads_within_its_own_cell_only(config: dict[str, Any]) -> None:
    healthy = make_pack(make_setup(config, native=True), CELLS[1:])
    pack = make_pack(make_setup(config, native=True), CELLS)
    pack.state.parameters[0, 0, 3] = torch.nan
    for one in (healthy, pack):
        train_steps(one, 10)
    assert pack.finite() == [False, True]
    assert bits(pack)[CELLS[1].name] == bits(healthy)[CELLS[1].name]


@pytest.mark.parametrize(
    "weights", [{"fusion": 1.0}, {"fusion": 0.4, "demi_cycle": 0.3, "cycle": 0.2, "translation": 0.1}]
)
@pytest.mark.parametrize(("hidden", "batch"), [(128, 32), (41, 45)])
def test_avx2_and_avx512_give_the_same_bits(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch, weights: dict[str, float], hidden: int, batch: int
) -> None:
    config["model"] |= {"hidden_dim": hidden, "decoder_hidden_dim": hidden}
    config["data"]["batch_size"] = batch
    config["experiment"]["weights"] = weights
    found = []
    for march in OTHER_SETS:
        use(march, monkeypatch)
        pack = make_pack(make_setup(config, native=True), CELLS)
        train_steps(pack, 50)
        found.append(bits(pack))
    assert found[0] == found[1]


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("threads", [1, 2])
def test_packs_orders_threads_and_interruptions_change_no_bit(config: dict[str, Any], threads: int) -> None:
    """For every instruction set; loop/test_pack.py has more of it, for this processor's own."""
    cells = [cell(8, 1.0, seed) for seed in range(3)]
    alone = {}
    for one in cells:
        pack = make_pack(make_setup(config, native=True), [one])
        train_steps(pack, 21)
        alone |= bits(pack)
    together = make_pack(make_setup(config, native=True, threads=threads), cells[::-1])
    for steps in (5, 1, 15):
        train_steps(together, steps)
    assert bits(together) == alone


@pytest.mark.parametrize(
    ("cells", "steps", "workers"), [(5, 8, 2), (5, 8, 3), (5, 1, 2), (3, 7, 3), (4, 8, 4), (7, 3, 5)]
)
def test_threads_get_equal_shares_and_no_step_before_the_one_before_it(cells: int, steps: int, workers: int) -> None:
    shares = shares_of(cells, steps, workers)
    lengths = [sum(last - first for _, first, last in share) for share in shares]
    assert max(lengths) - min(lengths) <= 1
    ended: dict[tuple[int, int], int] = {}
    for share in shares:
        clock = 0
        for number, first, last in share:
            for step in range(first, last):
                ended[number, step] = clock = clock + 1
    assert len(ended) == sum(lengths) == cells * steps
    assert all(ended[number, step - 1] < end for (number, step), end in ended.items() if step)


def test_the_numerics_say_which_step_trained(config: dict[str, Any]) -> None:
    config["training"]["epochs"] = 1
    facts = {}
    for kernel in ("torch", "native", "auto"):
        run = MemoryRun(config)
        workspace.train([cell()], {"kernel": kernel}, run)
        facts[kernel] = run.facts["kernel"]
    assert facts["native"] == facts["auto"] != facts["torch"]


def test_without_a_compiler_torch_trains(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    build._loaded.cache_clear()
    run = MemoryRun(config, stop_at=3)
    workspace.train([cell()], {}, run)
    assert run.facts["kernel"] == "packed-2"
    for options in ({"kernel": "native"}, {"precision": "bf16"}):
        with pytest.raises(UnfitNodeError, match=r"trainer_options.* is '.*', but no C compiler on PATH"):
            workspace.train([cell()], options, MemoryRun(config))
    build._loaded.cache_clear()


def test_a_kernel_is_built_once_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = build._built("native")
    assert path.parent == tmp_path / "holdfast"
    assert path.parent.stat().st_mode & 0o022 == 0
    built = path.stat().st_mtime_ns
    assert build._built("native") == path
    assert path.stat().st_mtime_ns == built
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_where_the_users_cache_cannot_be_written_the_kernel_is_built_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert build._built("native").parent.parent == tmp_path


def test_a_library_that_others_can_write_or_whose_folder_they_can_swap_is_not_trusted(tmp_path: Path) -> None:
    library = tmp_path / "open" / "holdfast" / "native.so"
    library.parent.mkdir(parents=True, mode=0o700)
    library.write_bytes(b"")
    library.chmod(0o600)
    assert build._trusted(library)
    library.chmod(0o620)
    assert not build._trusted(library)
    library.chmod(0o600)
    (tmp_path / "open").chmod(0o777)
    assert not build._trusted(library)
    (tmp_path / "open").chmod(0o1777)
    assert build._trusted(library)
    (library.parent / "link.so").symlink_to(library)
    assert not build._trusted(library.parent / "link.so")


def test_a_cache_that_others_can_write_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "holdfast").mkdir()
    (tmp_path / "holdfast").chmod(0o777)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert build._built("native").parent != tmp_path / "holdfast"
