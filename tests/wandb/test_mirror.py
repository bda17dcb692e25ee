"""W&B beside training: absent, silent, without space or live, it changes no result and delays a task only so long."""

from __future__ import annotations

import itertools
import re
import time
from pathlib import Path

import pytest
from helpers.held import hold, release
from helpers.waiting import PATIENCE
from helpers.wandb_server import WandbServer
from helpers.wandb_sweeps import GROUP, KEY, PROJECT, train, width_sweep

from hpc.storage.store import Store
from hpc.sweep.definition import Sweep
from hpc.wandb import mirror
from hpc.wandb.cells import cell_run, target_of
from hpc.wandb.compare import differences
from hpc.wandb.helper import environment
from hpc.wandb.offline_files import find_segments, join_segments, read_segment


def outcomes(store: Store, sweep: Sweep) -> dict[str, str]:
    results = {cell.name: store.result(cell) for cell in sweep.grid}
    return {name: result["outcome_digest"] for name, result in results.items() if result is not None}


@pytest.fixture
def undisturbed(tmp_path: Path) -> dict[str, str]:
    """Outcomes of the same cells without W&B."""
    store, sweep = width_sweep(tmp_path / "undisturbed")
    train(store, sweep)
    return outcomes(store, sweep)


def test_nothing_is_written_for_wandb_unless_it_is_configured(tmp_path: Path) -> None:
    store, sweep = width_sweep(tmp_path / "out")
    train(store, sweep)
    assert not store.paths.wandb_root.exists()


def test_offline_files_are_written_from_published_results_one_per_cell(
    server: WandbServer, tmp_path: Path, undisturbed: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    store, sweep = width_sweep(tmp_path / "out", mode="offline")
    assert train(store, sweep) == 0
    assert outcomes(store, sweep) == undisturbed
    runs = {run.id: run for run in join_segments(map(read_segment, find_segments(store.paths.root)))}
    for cell in sweep.grid:
        expected = cell_run(store, sweep, cell, target_of(sweep))
        assert expected is not None
        assert differences(expected, runs.pop(expected.id)) == []
    assert not runs
    assert "warning" not in capfd.readouterr().err
    assert server.requests == []
    assert train(store, sweep) == 0
    assert len(find_segments(store.paths.root)) == 4


@pytest.mark.parametrize("mode", ["offline", "live"])
def test_training_succeeds_without_the_client_and_warns_once(
    tmp_path: Path,
    undisturbed: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    mode: str,
) -> None:
    fake = tmp_path / "fake"
    fake.mkdir()
    (fake / "wandb.py").write_text("raise ModuleNotFoundError(\"No module named 'wandb'\")\n")
    monkeypatch.setenv("PYTHONPATH", str(fake))
    store, sweep = width_sweep(tmp_path / "out", mode=mode)
    assert train(store, sweep) == 0
    assert outcomes(store, sweep) == undisturbed
    warnings = [line for line in capfd.readouterr().err.splitlines() if "warning" in line]
    assert len(warnings) == 1
    assert "No module named 'wandb'" in warnings[0]
    assert f"holdfast wandb sync {store.paths.root}" in warnings[0]


def test_training_succeeds_where_files_of_wandb_cannot_be_written(
    tmp_path: Path, undisturbed: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    store, sweep = width_sweep(tmp_path / "out", mode="offline")
    store.paths.wandb_root.write_text("in the way")
    assert train(store, sweep) == 0
    assert outcomes(store, sweep) == undisturbed
    assert "Not a directory" in capfd.readouterr().err


def test_a_task_waits_a_bounded_time_for_a_server_that_never_answers(
    server: WandbServer,
    tmp_path: Path,
    undisturbed: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(mirror, "SECONDS", 1.0)
    server.fall_silent()
    store, sweep = width_sweep(tmp_path / "out", mode="live")
    assert train(store, sweep) == 0
    assert outcomes(store, sweep) == undisturbed
    waited = re.search(r"W&B did not answer in (\d+) s", capfd.readouterr().err)
    assert waited is not None
    assert int(waited[1]) < 60


def test_a_stopped_task_does_not_wait_for_wandb(
    server: WandbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "SECONDS", 10 * PATIENCE)
    server.fall_silent()
    held = hold(tmp_path)
    store, sweep = width_sweep(tmp_path / "out", mode="live", widths=(1,), runs=1, epochs=20, hold=held)
    began = time.monotonic()
    asked = itertools.count()
    train(store, sweep, stop=lambda: next(asked) > 50)
    assert time.monotonic() - began < PATIENCE
    assert store.attempts(sweep.grid[0]) == [1]


def test_a_live_run_streams_what_is_saved_and_is_one_run_after_a_requeue(server: WandbServer, tmp_path: Path) -> None:
    store, sweep = width_sweep(
        tmp_path / "out", mode="live", widths=(1,), runs=1, epochs=230, hold=hold(tmp_path), checkpoint_seconds=0.5
    )
    deadline = time.monotonic() + PATIENCE

    def stop() -> bool:
        return any(run.lines for run in server.all()) or time.monotonic() > deadline

    train(store, sweep, stop=stop)
    release(tmp_path)
    (run,) = server.all()
    assert run.state == "running"
    streamed = len(run.lines)
    assert streamed > 0
    assert train(store, sweep) == 0
    expected = cell_run(store, sweep, sweep.grid[0], target_of(sweep))
    assert expected is not None
    assert server.all() == [run]
    assert run.state == "finished"
    assert [row["_step"] for row in run.history] == list(range(1, 231))
    assert [row["error"] for row in run.history] == [row["error"] for row in expected.rows]
    assert (run.project, run.fields["groupName"], run.fields["tags"]) == (PROJECT, GROUP, ["test"])


def test_only_a_helper_that_goes_online_sees_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_RUN_ID", "of somebody else")
    assert KEY not in environment(needs_key=False).values()
    assert environment(needs_key=True)["WANDB_API_KEY"] == KEY
    assert "WANDB_RUN_ID" not in environment(needs_key=True)
