"""What a submission writes before it queues anything."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers.small_sweeps import ROOT, make_store, run_task
from helpers.waiting import PATIENCE

from hpc.files import directories
from hpc.planning.plan import make_plan
from hpc.protocol import ARRAY, TaskExit
from hpc.slurm.commands import ElsewhereError
from hpc.slurm.profile import Profile
from hpc.storage.claims import new_submission
from hpc.storage.store import Store
from hpc.storage.task_list import read_task
from hpc.submission import arrays, intents
from hpc.submission.live import Queues, live_tasks
from hpc.submission.local_workers import start_worker
from hpc.submission.lock import lock
from hpc.sweep.cell import Cell


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
    directories.make_directory(store.paths.logs_directory(1))
    intent = intents.begin(store, [[cells]], kind=intents.LOCAL, profile="local", name="small", code="")
    assert intent.number == 2
    assert intents.intents(store) == [intent]
    assert live_tasks(store) == []


# --- a sweep directory that is made anew under its queued tasks -------------------------------------------------------


def queue(store: Store, cells: list[Cell]) -> intents.Intent:
    return intents.begin(store, [[cells]], kind=intents.SLURM, profile="p", name="small", code="")


def made_anew(store: Store) -> Store:
    """`rm -rf out`, and the same sweep again: its first submission has the number, code and configuration of before."""
    sweep = store.sweep()
    shutil.rmtree(store.root)
    return make_store(store.root, sweep)


def test_a_task_of_the_directory_that_was_there_before_trains_nothing(store: Store, cells: list[Cell]) -> None:
    old = queue(store, cells)
    new = queue(made_anew(store), cells)
    assert new.number == old.number
    done = run_task(store, 1, **{ARRAY: old.tokens[0]})
    assert done.returncode == TaskExit.OUTDATED
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{store.paths.intent_file(1)}: this task belongs to {old.tokens[0]}")
    assert not store.paths.packs_root.exists()


@pytest.mark.parametrize("queued_by", ["this version", "an older one"])
def test_a_task_of_the_directory_that_is_there_trains_and_so_does_one_whose_script_names_no_array(
    store: Store, cells: list[Cell], queued_by: str
) -> None:
    intent = queue(store, cells)
    named = {ARRAY: intent.tokens[0]} if queued_by == "this version" else {}
    assert run_task(store, 1, **named).returncode == TaskExit.DONE
    assert all(store.has_result(cell.name) for cell in cells)


def test_a_sweep_that_is_run_from_within_a_task_has_its_own_name(
    store: Store, cells: list[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trainer may call `holdfast run`, whose tasks inherit what the script around it says."""
    monkeypatch.setenv(ARRAY, "outer-1.0-0123456789")
    worker = start_worker(store, queue(store, cells), ROOT, 0, "cpu", 1)
    assert worker.wait(PATIENCE) == TaskExit.DONE


# --- a site that sends jobs to another cluster ------------------------------------------------------------------------

CLUSTER = "ClusterName = home\\nSlurmctldHost[0] = ctl\\nSlurmctldPort = 6817\\n"


def test_an_array_that_a_plugin_sends_to_another_cluster_is_cancelled_and_said_not_looked_for_here(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked"
    answers = {"sbatch": "echo '7;genius'", "scontrol": f"printf '{CLUSTER}'", "squeue": "true", "scancel": "true"}
    for command, answer in answers.items():
        path = tmp_path / "bin" / command
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\necho {command} "$@" >> {asked}\n{answer}\n')
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")
    sweep = store.sweep()
    plan = make_plan(list(store.statuses(sweep.grid, sweep)))
    with lock(store, "holdfast submit") as held, pytest.raises(ElsewhereError, match=r"genius.*is cancelled"):
        arrays.submit(store, sweep, plan, Profile("p"), held, Queues())
    commands = asked.read_text().splitlines()
    assert "scancel --clusters=genius 7" in commands
    assert not any(line.startswith("squeue") for line in commands)
