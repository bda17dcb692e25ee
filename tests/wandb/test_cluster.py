"""A sweep with W&B on a real Slurm cluster: preempted and requeued, synced, and extracted again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from helpers.held import held_trainer, hold, release
from helpers.waiting import PATIENCE, wait_until
from helpers.wandb_server import WandbServer
from helpers.wandb_sweeps import GROUP, KEY, PROJECT, assert_complete, tables

from hpc.sandbox import cluster as sandbox
from hpc.sandbox.cluster import Sandbox
from hpc.slurm.commands import SlurmError
from hpc.storage.store import Store
from hpc.sweep.definition import Sweep

PROJECT_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, slurm_here: None) -> Iterator[Sandbox]:
    """A cluster where a busy machine is no dead node, and evicted tasks have time to save."""
    directory = tmp_path_factory.mktemp("cluster")
    with sandbox.up(directory, slurmd_timeout=300, message_timeout=50, kill_wait=60, die_with_owner=True) as found:
        yield found


def holdfast(cluster: Sandbox, directory: Path, *words: str, expect: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "hpc", *words],
        cwd=directory,
        env=os.environ | {"HOLDFAST_SANDBOX": str(cluster.directory), "PYTHONPATH": str(PROJECT_ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == expect, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stderr


def test_a_preempted_sweep_is_one_complete_run_per_cell_and_gives_the_same_table_from_wandb(
    cluster: Sandbox, server: WandbServer, tmp_path: Path
) -> None:
    trainer = held_trainer(tmp_path)
    with trainer.open("a") as file:  # as for the tests' own process
        file.write(f"\n\nfrom hpc.wandb import mirror\nmirror.SECONDS = {PATIENCE}\n")
    settings = {
        "trainer": f"{trainer}:train",
        "trainer_options": {"epochs": 40, "seconds": 0.1} | hold(tmp_path),
        "sweep": {"name": "foreign", "axes": {"width": [2, 1]}, "runs_per_condition": 2},
        "experiment": {"wandb_project": PROJECT, "log_to_wandb": {"group": GROUP}},
    }
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(settings))
    store = Store(tmp_path / "out")
    options = ("--config", "sweep.yaml", "--profile", "sandbox", "--output-dir", "out", "--pack", "2")
    holdfast(cluster, tmp_path, "submit", *options)
    sweep = store.sweep()
    wait_until(lambda: begun(store, sweep) == 2, "the first cell of both packs in mid-training")
    assert "evicted 2 tasks" in holdfast(cluster, tmp_path, "sandbox", "preempt")
    release(tmp_path)
    wait_until(lambda: queue_is_empty(cluster), "the end of the sweep")
    results = [store.result(cell) or {} for cell in sweep.grid]
    assert max(result["provenance"]["attempts"] for result in results) == 2
    assert server.requests == []  # nodes wrote files, and asked nobody

    holdfast(cluster, tmp_path, "wandb", "sync", "out")
    assert_complete(server, store, sweep)
    expected = tables(store.paths.root)
    words = ("--project", PROJECT, "--group", GROUP)
    holdfast(cluster, tmp_path, "wandb", "extract", *words, "--output-dir", "server")
    holdfast(cluster, tmp_path, "wandb", "extract", *words, "--output-dir", "files", "--offline", "out/wandb")
    for place in ("server", "files"):
        found = tables(tmp_path / place)
        assert found.pop("table.parquet") != b""
        assert found == {name: data for name, data in expected.items() if name != "table.parquet"}
        assert cells(tmp_path / place) == cells(store.paths.root)
        assert (Store(tmp_path / place).paths.plots_directory / "error_vs_width.png").stat().st_size > 1000
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def queue_is_empty(cluster: Sandbox) -> bool:
    try:
        return not cluster.slurm.queue()
    except SlurmError:  # on a busy machine the controller may not answer in time
        return False


def begun(store: Store, sweep: Sweep) -> int:
    return sum(status.epoch >= 5 for status in store.statuses(sweep.grid, sweep))


def cells(root: Path) -> object:
    """The table of cells but for the number of attempts, which W&B does not know."""
    import pyarrow.parquet

    return pyarrow.parquet.read_table(Store(root).paths.table_file).drop_columns(["attempts"]).to_pylist()
