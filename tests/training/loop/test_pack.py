"""A pack computes for each cell exactly what the cell would compute by itself."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.memory_run import MemoryCell, cell
from helpers.packs import bits, make_pack, make_setup, train_steps

from training.loop.pack import Pack
from training.model.state import joined

CELLS = [cell(8, 1.0, 42), cell(16, 0.5, 43), cell(32, 10.0, 44), cell(4, 0.0, 42), cell(24, 2.0, 45), cell(2, 1.0, 42)]
BIG = {"hidden_dim": 128, "decoder_hidden_dim": 128, "n_layers": 4}


def trained(config: dict[str, Any], kernel: str, cells: list[MemoryCell], steps: int) -> dict[str, bytes]:
    pack = make_pack(make_setup(config, native=kernel == "native"), cells)
    train_steps(pack, steps)
    return bits(pack)


@pytest.mark.parametrize(("model", "steps"), [({}, 60), (BIG, 15), ({"hidden_dim": 40, "n_layers": 0}, 30)])
def test_a_single_cell_equals_the_same_cell_in_any_pack_to_the_last_bit(
    config: dict[str, Any], kernel: str, model: dict[str, int], steps: int
) -> None:
    config["model"] |= model
    packed = trained(config, kernel, CELLS, steps)
    for one in CELLS:
        assert trained(config, kernel, [one], steps)[one.name] == packed[one.name], one.name
    assert trained(config, kernel, CELLS[::-1], steps) == packed
    assert trained(config, kernel, CELLS[1:3], steps).items() <= packed.items()


@pytest.mark.parametrize("batch", [32, 100])
def test_a_single_cell_equals_the_same_cell_in_any_pack_with_all_losses_too(
    config: dict[str, Any], kernel: str, batch: int
) -> None:
    config["experiment"]["weights"] = {"fusion": 0.5, "demi_cycle": 0.5, "cycle": 0.5, "translation": 0.5}
    config["model"] |= {"hidden_dim": 128, "decoder_hidden_dim": 64, "n_layers": 2}
    config["data"]["batch_size"] = batch
    packed = trained(config, kernel, CELLS, 20)
    for one in CELLS[:3]:
        assert trained(config, kernel, [one], 20)[one.name] == packed[one.name], one.name


def test_validation_metrics_do_not_depend_on_the_pack(config: dict[str, Any]) -> None:
    setup = make_setup(config)
    together = make_pack(setup, CELLS).finish_epoch()
    for one, metrics in zip(CELLS, together, strict=True):
        assert make_pack(setup, [one]).finish_epoch() == [metrics]


@pytest.mark.slow
def test_one_and_two_threads_give_the_same_bits(config: dict[str, Any]) -> None:
    config["model"] |= BIG
    digests = {threads: _digests_in_fresh_process(config, threads) for threads in (1, 2)}
    assert digests[1] == digests[2]
    assert len(set(digests[1].values())) == len(digests[1]) >= 4


def _digests_in_fresh_process(config: dict[str, Any], threads: int) -> dict[str, str]:
    """Digests of packs of one and of five cells, with and without the cycle, by each kernel that can be had."""
    code = """
import sys, json, hashlib
from helpers.memory_run import cell
from helpers.packs import bits, make_pack, make_setup, train_steps

from training.loop.pack import Pack
from training.model.state import joined
from training.steps.build import NoKernelError, load_kernel
kernels = [False]
try:
    load_kernel()
    kernels.append(True)
except NoKernelError:
    pass
config, threads, found = json.loads(sys.argv[1]), int(sys.argv[2]), {}
for native in kernels:
    for weights in ({"fusion": 1.0}, {"fusion": 0.5, "cycle": 0.5}):
        config["experiment"]["weights"] = weights
        for scales in ((1.0, 3.0, 0.1, 2.0, 4.0), (1.0,)):
            pack = make_pack(make_setup(config, threads=threads, native=native), [cell(16, s, 42) for s in scales])
            train_steps(pack, 6)
            digest = hashlib.sha256(b"".join(bits(pack).values())).hexdigest()
            found[f"{native} {weights} {len(scales)}"] = digest
print(json.dumps(found))
"""
    tests = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{tests.parent}{os.pathsep}{tests}"}
    command = [sys.executable, "-c", code, json.dumps(config), str(threads)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_a_cell_that_leaves_or_joins_changes_no_other(config: dict[str, Any], kernel: str) -> None:
    setup = make_setup(config, native=kernel == "native")
    straight = make_pack(setup, CELLS)
    train_steps(straight, 60)
    pack, late = make_pack(setup, CELLS[:4]), make_pack(setup, CELLS[4:])
    train_steps(pack, 20)
    train_steps(late, 40)
    pack = pack.keep([3, 0, 2])
    train_steps(pack, 20)
    pack = Pack(setup, pack.architecture, joined([pack.state, late.state]))
    train_steps(pack, 20)
    expected = bits(straight)
    del expected[CELLS[1].name]
    assert bits(pack) == expected


def test_a_seed_has_the_same_batches_in_every_condition_and_other_seeds_have_others(config: dict[str, Any]) -> None:
    pack = make_pack(make_setup(config), [cell(8, 1.0, 42), cell(32, 5.0, 42), cell(8, 1.0, 43)])
    index = torch.cat(pack.batches(10)).view(10, 3, 2, 32)
    assert index[:, 0].equal(index[:, 1])
    assert not index[:, 0].equal(index[:, 2])
    assert index[:, :, 1].equal(index[:, :, 0] + 8000)


def test_an_epoch_visits_each_row_at_most_once(config: dict[str, Any]) -> None:
    config["data"]["batch_size"] = 300
    setup = make_setup(config)
    pack = make_pack(setup, [cell()])
    seen = torch.cat(pack.batches(setup.steps_per_epoch)).view(-1, 2, 300)[:, 0].flatten()
    assert len(seen) == len(seen.unique()) == 7800


def test_the_helper_bits_covers_the_whole_state(config: dict[str, Any]) -> None:
    pack = make_pack(make_setup(config), [cell()])
    before = hashlib.sha256(bits(pack)[cell().name]).hexdigest()
    pack.state.second[0, 1, 7] = 1e-30
    assert hashlib.sha256(bits(pack)[cell().name]).hexdigest() != before
