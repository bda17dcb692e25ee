"""What may be queued on a cluster that cannot be asked: it counts as queued for every command, until it is given up."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from hpc.cli import app
from hpc.errors import BusyError
from hpc.launch import look
from hpc.launch.request import Request
from hpc.processes import here
from hpc.protocol import CommandExit
from hpc.slurm.answers import Cluster
from hpc.storage import task_list
from hpc.storage.store import Store
from hpc.submission import intents
from hpc.submission.lock import lock
from hpc.sweep.cell import Cell
from hpc.sweep.states import COMPLETED

LOST = Cluster("lost", "nowhere:6817")
TRAINING = {
    "run": ["run"],
    "submit here": ["submit", "--profile", "local"],
    "debug": ["run", "--cell", "width_1_run_0", "--debug"],
}


@pytest.fixture(autouse=True)
def queued(store: Store, cells: list[Cell]) -> intents.Intent:
    """All cells are queued on a cluster that does not answer."""
    conf = store.root / "no-such-slurm.conf"
    return intents.begin(store, [[cells]], kind=intents.SLURM, profile="p", name="s", code="", conf=conf, cluster=LOST)


@pytest.fixture
def left_lock(store: Store) -> None:
    """A lock that a command on another machine has left."""
    record = asdict(here()) | {"command": "holdfast submit", "pid": 7, "began": 7, "boot": "another", "machine": "x"}
    store.paths.lock_directory.mkdir(parents=True)
    (store.paths.lock_directory / "owner-x.json").write_text(json.dumps(record))


def void(store: Store, queued: intents.Intent) -> bool:
    return bool(task_list.why_void(store.paths, queued.number, 0, 0))


def completed(store: Store) -> int:
    sweep = store.sweep()
    return sum(status.state == COMPLETED for status in store.statuses(sweep.grid, sweep))


@pytest.mark.parametrize("words", TRAINING.values(), ids=TRAINING)
def test_nothing_is_trained_here_that_it_may_train(
    store: Store, queued: intents.Intent, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    ended = app.main([*words[:1], str(store.root), *words[1:]])
    assert ended == (CommandExit.DONE if "submit" in words else CommandExit.INCOMPLETE)
    assert not store.present()
    said = capsys.readouterr().err
    assert "4 cells may be queued on cluster lost" in said
    assert "they count as queued: work from where it can be asked, or add --take-over" in said
    assert not void(store, queued)


@pytest.mark.parametrize("words", TRAINING.values(), ids=TRAINING)
def test_what_is_given_up_is_trained_here_and_no_more_there(
    store: Store, queued: intents.Intent, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    app.main([*words[:1], str(store.root), *words[1:], "--take-over"])
    assert completed(store) == (1 if "--debug" in words else 4)
    assert "they are taken over from it" in capsys.readouterr().err
    assert void(store, queued)


@pytest.mark.usefixtures("left_lock")
def test_a_word_that_takes_the_lock_gives_up_no_cluster_and_the_next_one_does(
    store: Store, queued: intents.Intent, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(["run", str(store.root), "--take-over"]) == CommandExit.INCOMPLETE
    assert "this --take-over took the lock alone; repeat it if the cluster is gone, too" in capsys.readouterr().err
    assert not store.present()
    assert not void(store, queued)
    assert app.main(["run", str(store.root), "--take-over"]) == CommandExit.DONE
    assert completed(store) == 4


def test_one_whose_lock_was_taken_over_gives_up_nothing(store: Store, queued: intents.Intent) -> None:
    """It was stopped between its look and here; the cluster may answer by now."""
    request = Request(store, store.sweep())
    with lock(store, "holdfast submit") as held:
        seen = look.take(request)
        (store.paths.lock_directory / held.file).unlink()  # what a take-over does
        with pytest.raises(BusyError, match="has taken over this sweep"):
            look.without_silent_clusters(request, seen, held, take_over=True)
    assert not void(store, queued)
