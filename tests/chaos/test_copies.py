"""Two live copies of a task: one result, never a mixture; where they differ, both are kept and nobody is misled."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from hpc.cli import app
from hpc.status.conflict import conflicts, explain
from hpc.sweep.states import COMPLETED, CONFLICT

from .attempts import ForkServer, Hold
from .bench import Bench
from .copies import campaign

SEED = 20_262


def test_an_old_copy_that_goes_on_beside_its_successor_changes_nothing(memory: Path, server: ForkServer) -> None:
    counts = campaign(memory, server, SEED, cells=28)
    assert counts["proven overlaps"] == 28, counts
    assert counts["never saving: files of the old copy changed"] == 14, counts


@pytest.fixture
def torn(memory: Path, server: ForkServer) -> Bench:
    """A sweep of two cells whose first has ended in two ways."""
    options = {"steps": 20}
    bench = Bench.make(memory / "out", trainer="loose.py:train", factors={"width": [1, 2]}, options=options)
    hold = Hold.at(memory / "hold", 10)
    old = bench.start(server, 0, environment=hold.environment)
    hold.reached(old)
    old.signal(signal.SIGSTOP)
    assert bench.start(server, 0).wait() == 0
    hold.release()
    old.signal(signal.SIGCONT)
    assert old.wait() == 0
    assert bench.start(server, 1).wait() == 0
    return bench


def state(bench: Bench) -> str:
    return next(bench.store.statuses([bench.tasks[0][0]], bench.sweep)).state


def test_different_outcomes_of_two_copies_are_a_conflict_and_both_are_kept(torn: Bench) -> None:
    cell = torn.tasks[0][0]
    assert state(torn) == CONFLICT
    (found,) = conflicts(torn.store, cell)
    assert found.published is not None
    assert found.differing == ["error"]
    assert found.published_pack == 2, "the first to publish wins"
    assert found.other_pack == 1
    assert torn.store.paths.private_history(1, cell).exists(), "the other's history is kept too"


def test_a_conflict_is_explained_with_both_values_and_the_way_to_settle_it(torn: Bench) -> None:
    cell = torn.tasks[0][0]
    text = explain(torn.store, cell)
    (found,) = conflicts(torn.store, cell)
    assert str(found.other["metrics"]["error"]) in text
    assert f"rm {torn.store.paths.conflict_file(cell)}" in text
    assert explain(torn.store, torn.tasks[1][0]) == ""


def test_aggregation_of_a_sweep_in_conflict_says_so_and_exits_4(
    torn: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(["aggregate", str(torn.store.paths.root)]) == 4
    assert "width_1_run_0" in capsys.readouterr().err


def test_a_conflict_ends_when_the_user_settles_it_either_way(torn: Bench, server: ForkServer) -> None:
    cell = torn.tasks[0][0]
    torn.store.paths.conflict_file(cell).unlink()
    assert state(torn) == COMPLETED
    shutil.move(torn.store.paths.cell_directory(cell), torn.store.paths.root / "aside")
    torn.submit()
    assert torn.start(server, 0).wait() == 0
    assert state(torn) == COMPLETED
