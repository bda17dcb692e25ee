"""One command at a time, and what a submission writes before it queues anything."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from helpers.small_sweeps import ROOT

from hpc.errors import BusyError
from hpc.processes import boot_id, host, start_time
from hpc.storage import files
from hpc.storage.claims import new_submission
from hpc.storage.store import Store
from hpc.storage.task_list import read_task
from hpc.submission import intents
from hpc.submission.live import live_tasks
from hpc.submission.lock import busy, lock
from hpc.sweep.cell import Cell

SPAWN = multiprocessing.get_context("spawn")


def locks(store: Store) -> list[str]:
    return [name for name in os.listdir(store.paths.submissions_root) if "lock" in name]


def held_by(store: Store, **changes: Any) -> None:
    """A lock that another process has left here."""
    store.paths.lock_directory.mkdir(parents=True)
    record = {"command": "holdfast run", "host": host(), "pid": 1, "began": start_time(1), "boot": boot_id(), "id": "x"}
    (store.paths.lock_directory / "owner.json").write_text(json.dumps(record | changes))


def test_the_second_command_is_refused_and_told_who_holds_the_lock(store: Store) -> None:
    with lock(store, "holdfast run"):
        with pytest.raises(BusyError) as caught, lock(store, "holdfast submit"):
            pass
        text = str(caught.value)
        assert text.startswith(
            f"{store.paths.root}: holdfast run (process {os.getpid()} on {host()}) is at work here; "
        )
        assert "--take-over" in text
        assert len(text.splitlines()) == 1
    assert locks(store) == []


def test_a_lock_is_free_again_after_an_error_inside(store: Store) -> None:
    with pytest.raises(ValueError, match="inside"), lock(store, "holdfast run"):
        raise ValueError("inside")
    with lock(store, "holdfast run"):
        assert locks(store) == ["lock"]


def test_the_lock_of_a_killed_process_is_taken_without_asking(store: Store) -> None:
    code = (
        "import os, sys; from pathlib import Path; from hpc.storage.store import Store\n"
        "from hpc.submission.lock import lock\n"
        "with lock(Store(Path(sys.argv[1])), 'holdfast run'): os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(store.paths.root)], cwd=ROOT, check=False)
    assert done.returncode == -9
    assert locks(store) == ["lock"]
    with lock(store, "holdfast run"):
        pass
    assert locks(store) == []


@pytest.mark.parametrize(
    "gone",
    [{"pid": 2**22 + 1}, {"began": 7}, {"boot": "another boot"}],
    ids=["no such process", "its number was given again", "before the last boot"],
)
def test_the_lock_of_a_process_that_is_gone_is_taken(store: Store, gone: dict[str, Any]) -> None:
    held_by(store, **gone)
    with lock(store, "holdfast run"):
        assert locks(store) == ["lock"]


@pytest.mark.parametrize("alive", [{}, {"host": "another-host", "pid": 2**22 + 1, "boot": "another"}])
def test_a_lock_of_a_live_process_or_of_another_machine_is_taken_only_when_asked(
    store: Store, alive: dict[str, Any]
) -> None:
    held_by(store, **alive)
    with pytest.raises(BusyError, match=f"process .* on {alive.get('host', host())}"), lock(store, "x"):
        pass
    with lock(store, "x", take_over=True):
        assert json.loads((store.paths.lock_directory / "owner.json").read_text())["command"] == "x"
    assert locks(store) == []


def test_one_whose_lock_was_taken_over_does_not_remove_its_successors(store: Store) -> None:
    with lock(store, "the first"):
        second = lock(store, "the second", take_over=True)
        second.__enter__()
    with pytest.raises(BusyError, match="the second"), lock(store, "the third"):
        pass
    second.__exit__(None, None, None)
    assert locks(store) == []


def test_a_lock_that_names_nobody_does_not_block_for_good(store: Store) -> None:
    store.paths.lock_directory.mkdir(parents=True)
    with lock(store, "holdfast run"):
        pass


@pytest.mark.parametrize("owner", ["", "garbage", "5", "{}"])
def test_a_lock_that_cannot_be_read_is_taken_over_when_asked(store: Store, owner: str) -> None:
    store.paths.lock_directory.mkdir(parents=True)
    (store.paths.lock_directory / "owner.json").write_text(owner)
    with pytest.raises(BusyError, match="add --take-over if none is at work here"), lock(store, "x"):
        pass
    with lock(store, "x", take_over=True):
        pass
    assert locks(store) == []


def test_a_lock_without_a_process_is_of_nobody(store: Store) -> None:
    held_by(store, pid="x")
    assert not busy(store)


TURNS = 5


def _hold(root: str, barrier: Any, number: int, log: Any) -> None:
    store = Store(Path(root))
    barrier.wait()
    held = 0
    while held < TURNS:
        try:
            with lock(store, f"number {number}"):
                entered = time.monotonic()
                time.sleep(0.001)
                log.put((entered, time.monotonic()))
            held += 1
        except BusyError:
            time.sleep(0.001)


def test_eight_commands_that_race_for_a_dead_ones_lock_never_hold_it_together(store: Store) -> None:
    held_by(store, pid=2**22 + 1)
    barrier, log = SPAWN.Barrier(8), SPAWN.SimpleQueue()
    workers = [SPAWN.Process(target=_hold, args=(str(store.paths.root), barrier, n, log)) for n in range(8)]
    for worker in workers:
        worker.start()
    times = []
    while any(worker.is_alive() for worker in workers) or not log.empty():
        if not log.empty():
            times.append(log.get())
        else:
            time.sleep(0.01)
    assert [worker.exitcode for worker in workers] == [0] * 8
    times.sort()
    assert len(times) == 8 * TURNS
    assert all(left <= entered for (_, left), (entered, _) in itertools.pairwise(times))
    assert locks(store) == []


def test_an_intent_is_there_before_anything_could_be_queued(store: Store, cells: list[Cell]) -> None:
    arrays = [[[cells[0], cells[1]], [cells[2]]], [[cells[3]]]]
    intent = intents.begin(store, arrays, kind=intents.SLURM, profile="p", name="small", code="c" * 64)
    assert intent.sizes == (2, 1)
    assert len(set(intent.tokens)) == 2
    assert intents.intents(store) == [intent]
    assert read_task(store.paths.tasks_file(1, 0), 0).cells == cells[:2]
    assert read_task(store.paths.tasks_file(1, 1), 0).cells == cells[3:]


def test_tokens_of_two_submissions_differ_even_in_two_copies_of_a_sweep(store: Store, cells: list[Cell]) -> None:
    other = Store(store.paths.root.with_name("copy"))
    shutil.copytree(store.root, other.root)
    made = [
        intents.begin(place, [[cells]], kind=intents.SLURM, profile="p", name="small", code="")
        for place in (store, other)
    ]
    assert made[0].number == made[1].number == 1
    assert made[0].tokens != made[1].tokens


def test_a_submission_that_died_before_its_intent_is_passed_over(store: Store, cells: list[Cell]) -> None:
    new_submission(store)
    files.make_directory(store.paths.logs_directory(1))
    intent = intents.begin(store, [[cells]], kind=intents.LOCAL, profile="local", name="small", code="")
    assert intent.number == 2
    assert intents.intents(store) == [intent]
    assert live_tasks(store) == []


def test_nothing_is_left_behind_when_the_lock_cannot_be_written(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "publish", full)
    with pytest.raises(OSError, match="No space"), lock(store, "x"):
        pass
    assert locks(store) == []
