"""What a submission writes before it queues anything."""

from __future__ import annotations

import shutil

from hpc.storage import files
from hpc.storage.claims import new_submission
from hpc.storage.store import Store
from hpc.storage.task_list import read_task
from hpc.submission import intents
from hpc.submission.live import live_tasks
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
    files.make_directory(store.paths.logs_directory(1))
    intent = intents.begin(store, [[cells]], kind=intents.LOCAL, profile="local", name="small", code="")
    assert intent.number == 2
    assert intents.intents(store) == [intent]
    assert live_tasks(store) == []
