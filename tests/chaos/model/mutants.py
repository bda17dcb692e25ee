"""Rules of the protocol, each taken out: what the model says then, and a script that leads there.

PYTHONPATH=tests python -m chaos.model.mutants [--only NAME]    # searches at random, prints the script found, shortened
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest

from hpc.errors import SweepError
from hpc.files import atomic
from hpc.launch import look, request, slurm
from hpc.node import attempt, generations, giving_up, pack
from hpc.node.books import Book
from hpc.slurm.commands import Slurm
from hpc.storage import named_files, published, results, task_list
from hpc.storage.store import Store
from hpc.submission import arrays, cancels, live, lock, redo

from . import scripts
from .campaign import Model
from .scripts import Submissions
from .swarm import Found, Search, shrunk
from .test_model import Loose, Protocol


@dataclass(frozen=True)
class Mutant:
    """A rule that is broken. item: number of the kind of violation. says: part of what the model then says.

    owner, attribute, wrong: the patch. script: a schedule that leads to the violation. machine: what is searched.
    """

    item: int
    name: str
    owner: Any
    attribute: str
    wrong: Any
    says: str
    script: Callable[[Any], None]
    machine: type[Model] = Submissions

    def apply(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(self.owner, self.attribute, self.wrong)


def _nothing(*arguments: Any, **options: Any) -> None:
    """In place of a step that is left out."""


def _standing(changed: Callable[[dict[str, Any], Any], Any]) -> Callable[[dict[str, Any]], Any]:
    real = lock._standing
    return lambda record: changed(record, real)


def _living_is_unsure(record: dict[str, Any], real: Any) -> Any:
    found = real(record)
    return lock._Owner.UNSURE if found is lock._Owner.RUNS else found


def _never_gone(record: dict[str, Any], real: Any) -> Any:
    found = real(record)
    return lock._Owner.UNSURE if found is lock._Owner.GONE else found


def _by_pid_alone(*same: str) -> Any:
    """Judges an owner as if these fields of his record were ours."""

    def judged(record: dict[str, Any], real: Any) -> Any:
        ours = lock.here()
        return real(record | {name: getattr(ours, name) for name in same})

    return _standing(judged)


def _silent_is_empty(store: Any) -> Any:
    return replace(live.queues(store), unasked=())


def _cancel_with(second_look: bool, silent: bool) -> Callable[[Any, Any], int]:
    """hpc.submission.cancels.cancel as it once was."""

    def cancel(store: Any, names: Any) -> int:
        wanted = cancels.request(store, names)
        seen = cancels.queues(store)
        numbers = {number for cluster in seen.unasked for number in cluster.submissions}
        cancels.declare_all_void(store, wanted, seen.tokens, numbers if silent else ())
        seen = cancels.queues(store) if second_look else seen
        hit = [task for task in seen.tasks if wanted.cells.intersection(task.cells)]
        for conf, tasks in live.by_cluster(hit).items():
            Slurm(conf).cancel(task.queued for task in tasks)
        return len(hit)

    return cancel


QUEUED_TWICE, REPLACED = "is queued 2 times", "is replaced while it trains"
STARTED_AFTER = "by a task that started after it was cancelled"


OLDER_THAN_REDO = "is trained on from what is older than its redo"


def _keep_one_conflict(paths: Any, cell: Any, conflict: Any, needless: Any) -> None:
    atomic.publish_once(paths.conflict_file(cell), json.dumps(conflict).encode())


def _foreign_refused(own: Any) -> int:
    """hpc.node.pack.PackTask.run where one foreign result ends the whole task."""
    strangers = [reason for cell in own.cells if (reason := own._stranger(cell))]
    if strangers:
        raise SweepError(strangers[-1])
    return int(_run_pack(own))


def _last_alone(book: Book, *ours: Any) -> Any:
    return _lineage(book, *ours)[-1:]


_lineage, _run_pack, _set_aside = Book.lineage, pack.PackTask.run, redo.set_aside

MUTANTS = (
    Mutant(
        2,
        "what lies beside a result is believed",
        named_files,
        "_is_named",
        lambda path, *_, gone=True: gone or os.path.exists(path),
        "believed",
        scripts.weights_damaged,
        machine=Protocol,
    ),
    Mutant(
        2,
        "a stranger beside a result stays",
        published,
        "_settle",
        lambda private, public, *_: private == public or published._link(private, public),
        "one more task does not finish the sweep",
        scripts.moved_away_beside_damaged_weights,
        machine=Protocol,
    ),
    Mutant(
        2,
        "a damaged result keeps its place beside a whole one",
        attempt,
        "_MOST_DAMAGED",
        1,
        "the same training twice is in conflict",
        scripts.result_damaged_while_another_copy_ends,
        machine=Protocol,
    ),
    Mutant(
        3,
        "a result forgets the codes and numerics before the last",
        Book,
        "lineage",
        _last_alone,
        "and its result says",
        scripts.killed_and_continued_under_other_numerics,
        machine=Protocol,
    ),
    Mutant(
        4,
        "a sweep is corrected under its queued tasks",
        request.Request,
        "_check_nothing_lives",
        _nothing,
        "queued tasks are to train",
        scripts.corrected_while_tasks_are_queued,
    ),
    Mutant(
        3,
        "each round of --wait queues the code as it is then",
        request.Request,
        "freeze",
        lambda own, held, allowed=False: request.snapshot(own.store, own.sweep.trainer),
        "queues code that is not on record",
        scripts.trainer_edited_while_a_submission_waits,
    ),
    Mutant(
        5,
        "what is queued again leaves the earlier array valid",
        arrays,
        "replace_unconfirmed",
        _nothing,
        QUEUED_TWICE,
        scripts.late_array_beside_its_replacement,
    ),
    Mutant(
        5,
        "a task does not look whether it is void",
        task_list,
        "why_void",
        lambda *_: "",
        "by a task that was void before",
        scripts.late_array_starts,
    ),
    Mutant(
        5,
        "a submitter does not look again at its lock",
        lock.Held,
        "check",
        _nothing,
        "although its lock was taken over",
        scripts.stopped_submitter_continued_after_a_take_over,
    ),
    Mutant(
        5,
        "--wait takes over in every round",
        slurm,
        "lock",
        lambda store, command, take_over=False, on_busy=None, **more: lock.lock(store, command, True, on_busy, **more),
        "which lives",
        scripts.other_command_while_a_take_over_waits,
    ),
    Mutant(
        5,
        "--take-over takes from a living command",
        lock,
        "_standing",
        _standing(_living_is_unsure),
        "which lives",
        scripts.take_over_from_a_living_command,
    ),
    Mutant(
        6,
        "whatever cluster answers is taken for the one that was meant",
        live._Place,
        "reached",
        lambda place: place.conf,
        REPLACED,
        scripts.submitted_on_two_clusters,
    ),
    Mutant(
        6,
        "a cluster that does not answer is taken for empty",
        look,
        "queues",
        _silent_is_empty,
        REPLACED,
        scripts.submitted_on_two_clusters,
    ),
    Mutant(
        6,
        "a result that does not count ends its cell on a cluster that does not answer",
        live,
        "has_ended",
        lambda store, name, _: store.has_result(name),
        QUEUED_TWICE,
        scripts.foreign_result_beside_a_silent_cluster,
    ),
    Mutant(
        7,
        "a pid counts in any PID namespace",
        lock,
        "_standing",
        _by_pid_alone("namespace"),
        "which lives",
        scripts.container_beside_its_machine,
    ),
    Mutant(
        7,
        "a pid counts on any machine of this name",
        lock,
        "_standing",
        _by_pid_alone("boot"),
        "which lives",
        scripts.two_machines_of_one_name,
    ),
    Mutant(
        7,
        "nobody is ever known to be gone",
        lock,
        "_standing",
        _standing(_never_gone),
        "the last submission is refused",
        scripts.killed_while_it_held_the_lock,
    ),
    Mutant(
        8,
        "a waiting submission does not look for cancellations",
        cancels,
        "after",
        lambda *_: [],
        STARTED_AFTER,
        scripts.cancelled_under_a_waiting_submission,
    ),
    Mutant(
        8,
        "a cancellation makes nothing void",
        cancels,
        "declare_all_void",
        _nothing,
        STARTED_AFTER,
        scripts.cancelled_between_look_and_sbatch,
    ),
    Mutant(
        8,
        "a cancellation takes what a silent cluster has for over",
        cancels,
        "cancel",
        _cancel_with(second_look=True, silent=False),
        STARTED_AFTER,
        scripts.cancelled_while_its_cluster_is_silent,
    ),
    Mutant(
        8,
        "a cancellation looks once at the queue",
        cancels,
        "cancel",
        _cancel_with(second_look=False, silent=True),
        "trains on after it was cancelled",
        scripts.task_starts_between_the_look_and_the_void_file,
    ),
    Mutant(
        8,
        "a second submission that waits is refused",
        slurm,
        "_patience",
        lambda: None,
        "waits for its turn, and is refused",
        scripts.second_submission_that_waits,
    ),
    Mutant(
        9,
        "a newer claim takes the cell",
        generations.Generations,
        "saved_by_newer",
        lambda own, cell: any(number > own.claims[cell] for number in own.store.attempts(cell)),
        "by one that has saved nothing of it",
        scripts.killed_right_after_its_claim,
        machine=Protocol,
    ),
    Mutant(
        9,
        "one foreign result keeps its pack waiting",
        pack.PackTask,
        "run",
        _foreign_refused,
        "one more submission does not finish the sweep",
        scripts.foreign_result_in_a_pack,
    ),
    Mutant(
        9,
        "stops are never bounded",
        giving_up,
        "MOST_INTERRUPTED",
        10**9,
        "before it got anywhere",
        scripts.stopped_before_it_begins,
    ),
    Mutant(
        9,
        "saving again what was restored counts as progress",
        giving_up,
        "_only_repeated",
        lambda *_: False,
        "before it got anywhere",
        scripts.stopped_before_its_first_step,
    ),
    Mutant(
        9,
        "a result from before a redo counts",
        results,
        "redos_in",
        lambda _: [],
        "is believed after redo",
        scripts.old_copy_that_ends_while_its_cell_is_redone,
        machine=Protocol,
    ),
    Mutant(
        9,
        "a state from before a redo is restored",
        Store,
        "counting_attempts",
        lambda own, cell: own.attempts(cell),
        OLDER_THAN_REDO,
        scripts.redone_while_a_copy_has_saved_states,
        machine=Protocol,
    ),
    Mutant(
        5,
        "a task does not look whether its cell was redone",
        pack.PackTask,
        "_to_do",
        lambda own, cell: not own.store.has_result(cell.name),
        OLDER_THAN_REDO,
        scripts.late_task_starts_after_a_redo,
        machine=Protocol,
    ),
    Mutant(
        5,
        "redo does not ask whether a task has the cell",
        redo,
        "_check_nothing_lives",
        _nothing,
        "is redone while a task has it",
        scripts.redone_while_its_pack_trains,
    ),
    Mutant(
        5,
        "redo does not look again at its lock",
        redo,
        "set_aside",
        lambda store, cells, held: _set_aside(store, cells, SimpleNamespace(check=_nothing)),
        "sets results aside although its lock was taken over",
        scripts.stopped_redo_continued_after_a_take_over,
    ),
    Mutant(
        10,
        "a third outcome is dropped",
        published,
        "keep_conflict",
        _keep_one_conflict,
        "an outcome is lost",
        scripts.three_copies_that_end_differently,
        machine=Loose,
    ),
    Mutant(
        10,
        "a job is known by its name alone",
        Slurm,
        "numbered",
        lambda *_: [],
        REPLACED,
        scripts.renamed_job,
    ),
)


def hunt(mutant: Mutant, schedules: int, seed: int, shrink_s: float = 0.0) -> Found | None:
    """What a search that knows nothing of the mutant finds, shortened; None if nothing."""
    with pytest.MonkeyPatch.context() as patch:
        mutant.apply(patch)
        found = Search(mutant.machine, seed).run(schedules)
        if found and shrink_s:
            found = shrunk(mutant.machine, found, mutant.says, shrink_s)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="part of a mutant's name")
    parser.add_argument("--schedules", type=int, default=2_000, help="tried at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shrink", type=float, default=60.0, help="seconds for shortening a script")
    arguments = parser.parse_args()
    survivors = 0
    for mutant in MUTANTS:
        if arguments.only in mutant.name:
            began = time.monotonic()
            found = hunt(mutant, arguments.schedules, arguments.seed, arguments.shrink)
            survivors += not found
            told = f"schedule {found.schedule}: {found}" if found else "SURVIVED"
            print(f"{mutant.name} ({time.monotonic() - began:.0f} s): {told}\n", flush=True)
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
