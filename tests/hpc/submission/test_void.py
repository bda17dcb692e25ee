"""What is declared void or cancelled does not train, whatever reaches the queue afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.small_sweeps import run_here, run_task

from hpc.errors import SweepError
from hpc.files import limits
from hpc.slurm.answers import Cluster
from hpc.storage import task_list
from hpc.storage.store import Store
from hpc.submission import cancels, intents
from hpc.submission.cancels import TakenOut
from hpc.submission.intents import Intent
from hpc.submission.live import Queues, Unasked, has_ended, live_tasks, queues
from hpc.submission.replacement import give_up, replace_unconfirmed
from hpc.sweep.cell import Cell

LOST = Cluster("lost", "nowhere:6817")


def submission(
    store: Store, *tasks: list[Cell], kind: str = intents.SLURM, prepared: bool = False, where: Cluster | None = None
) -> Intent:
    """A submission of one array whose sbatch has not been called, to a cluster that nobody can reach."""
    conf = store.root / "no-such-slurm.conf"
    return intents.begin(
        store, [tasks], kind=kind, profile="p", name="s", code="", conf=conf, cluster=where, prepared=prepared
    )


def reasons(store: Store, intent: Intent) -> list[str]:
    return [task_list.why_void(store.paths, intent.number, 0, index) for index in range(intent.sizes[0])]


def test_a_void_task_ends_at_its_start_and_says_why(store: Store, cells: list[Cell]) -> None:
    intent = submission(store, [cells[0]], [cells[1]])
    task_list.declare_void(store.paths, intent.number, 0, "it was cancelled", [0])
    done = run_task(store, intent.number)
    assert (done.returncode, store.attempts(cells[0])) == (0, [])
    assert done.stderr == f"task 0 of array 0 of submission {intent.number} is not trained: it was cancelled\n"
    assert not task_list.why_void(store.paths, intent.number, 0, 1)


def test_a_later_submission_of_a_cell_voids_the_earlier_array_that_is_in_no_queue(
    store: Store, cells: list[Cell]
) -> None:
    old = [submission(store, [cells[0]], [cells[1]]), submission(store, [cells[2]])]
    local = submission(store, [cells[0]], kind=intents.LOCAL)
    new = submission(store, [cells[0]])
    replace_unconfirmed(store, new, [[cells[0]]], Queues())
    assert all(f"submission {new.number} has queued" in text for text in reasons(store, old[0]) + reasons(store, local))
    assert reasons(store, old[1]) == reasons(store, new) == [""]


def test_an_array_that_is_queued_or_may_be_is_not_void(store: Store, cells: list[Cell]) -> None:
    seen, unsure = submission(store, [cells[0]]), submission(store, [cells[0]])
    new = submission(store, [cells[0]])
    lost = Unasked("a cluster", "no answer", frozenset(), (unsure.number,))
    replace_unconfirmed(store, new, [[cells[0]]], Queues(tokens=frozenset(seen.tokens), unasked=(lost,)))
    assert reasons(store, seen) == reasons(store, unsure) == [""]


def test_a_void_file_that_cannot_be_read_counts_for_its_array(store: Store, cells: list[Cell]) -> None:
    intent = submission(store, [cells[0]], [cells[1]])
    store.paths.void_file(intent.number, 0, "x").write_text("garbage")
    assert all(reasons(store, intent))
    assert not task_list.why_void(store.paths, intent.number, 1, 0)


@pytest.mark.parametrize("content", ["{", "{}"], ids=["damaged", "no result"])
def test_a_result_that_does_not_count_ends_no_cell(store: Store, cells: list[Cell], content: str) -> None:
    store.paths.result_file(cells[0]).parent.mkdir(parents=True)
    store.paths.result_file(cells[0]).write_text(content)
    assert not has_ended(store, cells[0].name, store.sweep().config_digest)


def test_a_cancellation_concerns_what_came_before_it_and_only_its_cells(store: Store, cells: list[Cell]) -> None:
    before = submission(store, [cells[0]], [cells[1]])
    cancel = cancels.request(store, [cells[1].name])
    after = submission(store, [cells[0]], [cells[1]])
    cancels.declare_all_void(store, cancel, ())
    assert [bool(text) for text in reasons(store, before)] == [False, True]
    assert reasons(store, after) == ["", ""]
    assert cancels.cells(cancels.after(store, before.number)) == {cells[1].name}
    assert cancels.after(store, after.number) == []


def test_a_cancellation_of_all_cells_that_a_sweep_may_have_is_heard(store: Store) -> None:
    """Their names are longer than the 16 MiB that other documents may have."""
    names = {f"{'a' * 240}_run_{number}" for number in range(limits.MOST_CELLS)}
    cancels.request(store, names)
    assert cancels.cells(cancels.after(store, 0)) == cancels.Watch(store, 0)() == names
    assert cancels.standing(store).keys() == names


def test_a_prepared_script_and_an_array_that_is_over_are_left_alone_by_a_cancellation(
    store: Store, cells: list[Cell]
) -> None:
    prepared, over = submission(store, [cells[0]], prepared=True), submission(store, [cells[0]])
    intents.write_receipt(store, over, ["12"])
    queued = submission(store, [cells[0]], prepared=True)
    cancels.declare_all_void(store, cancels.request(store, [cells[0].name]), queued.tokens)
    assert reasons(store, prepared) == reasons(store, over) == [""]
    assert all(reasons(store, queued))


def test_a_cancellation_takes_nothing_for_over_on_a_cluster_that_does_not_answer(
    store: Store, cells: list[Cell]
) -> None:
    reported, prepared = (submission(store, [cells[0]], where=LOST, prepared=prepared) for prepared in (False, True))
    intents.write_receipt(store, reported, ["12"])
    silent = [reported.number, prepared.number]
    cancels.declare_all_void(store, cancels.request(store, [cells[0].name]), (), silent)
    assert all(reasons(store, reported) + reasons(store, prepared))


def test_what_is_cancelled_stays_so_until_it_is_submitted_again(store: Store, cells: list[Cell]) -> None:
    cancels.request(store, [cells[0].name, cells[1].name])
    assert cancels.standing(store).keys() == {cells[0].name, cells[1].name}
    submission(store, [cells[0]])
    assert cancels.standing(store).keys() == {cells[1].name}


def test_cancelling_what_is_done_writes_nothing(store: Store, cells: list[Cell]) -> None:
    run_here(store, cells[:1])
    before = intents.newest(store)
    assert cancels.cancel(store, [cells[0].name]) == TakenOut()
    assert intents.newest(store) == before


def test_cells_on_a_cluster_that_cannot_be_asked_count_as_queued_until_they_are_done_or_given_up(
    store: Store, cells: list[Cell]
) -> None:
    submission(store, [cells[0]], [cells[1]], where=LOST)
    run_here(store, cells[:1])
    seen = queues(store)
    assert seen.cells == {cells[1].name}
    assert "1 cells may be queued on cluster lost (slurmctld at nowhere:6817)" in str(seen.unasked[0])
    give_up(store, seen.unasked, "somebody")
    assert queues(store) == Queues(newest=intents.newest(store))
    assert live_tasks(store) == []


def test_intents_of_the_first_version_are_read_as_before(store: Store, cells: list[Cell]) -> None:
    intent = submission(store, [cells[0]])
    path: Path = store.paths.intent_file(intent.number)
    new = json.loads(path.read_text())
    old = {name: value for name, value in new.items() if name not in ("cluster", "controller", "prepared")}
    path.write_text(json.dumps(old))
    assert intents.intents(store) == [intent]
    path.write_text(json.dumps(new | {"of a later version": 1}))
    with pytest.raises(SweepError, match="use the version that wrote it"):
        intents.intents(store)
