"""Schedules that lead to a violation where a rule of the protocol is broken, and to none otherwise.

Each is what a person would tell: who types what on which host, how far it gets, and what happens then. `A` and `C` are
hosts of cluster a (C a container on the machine of A), `B` is one of cluster b.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .site import CELLS
from .test_model import CELLS as TWO_CELLS
from .test_model import Protocol
from .test_submissions import TO_ITS_END, Submissions

A, B, C = 0, 1, 2
FIRST, SECOND = 0, 1
ONE_CELL = TWO_CELLS[:1]


def submit(m: Submissions, host: int, *, wait: bool = False, take_over: bool = False, own_conf: bool = False) -> None:
    m.submit(host, 1, wait, take_over, own_conf)


def until_it_trains(m: Submissions) -> None:
    m.train_until_a_step(FIRST)


def start_all(m: Submissions) -> None:
    """The clusters start what waits, and what is started trains to its end."""
    m.what_must_hold()
    while m._waiting():
        m.start(FIRST)
        m.train(FIRST, TO_ITS_END)
        m.what_must_hold()


def late_array_beside_its_replacement(m: Submissions) -> None:
    m.late("a")
    submit(m, A)
    m.step(FIRST, TO_ITS_END)
    m.late("a")
    submit(m, A)
    m.step(FIRST, TO_ITS_END)
    m.arrive("a")


def late_array_starts(m: Submissions) -> None:
    late_array_beside_its_replacement(m)
    m.start(3)  # the first that came late: three were queued in its place
    m.train(FIRST, TO_ITS_END)


def stopped_submitter_continued_after_a_take_over(m: Submissions) -> None:
    submit(m, A)
    m.step(FIRST, TO_ITS_END, "rmtree")  # it has the lock
    m.step(FIRST, TO_ITS_END, "scontrol")
    m.stop_or_continue(FIRST)
    submit(m, B, take_over=True, own_conf=True)
    m.step(FIRST, TO_ITS_END)
    m.stop_or_continue(FIRST)
    m.step(FIRST, TO_ITS_END)


def holder(m: Submissions, host: int) -> None:
    """A command that holds the lock."""
    submit(m, host)
    m.step(FIRST, TO_ITS_END, "rmtree")


def take_over_from_a_living_command(m: Submissions) -> None:
    holder(m, A)
    submit(m, A, take_over=True)
    m.step(SECOND, TO_ITS_END)


def container_beside_its_machine(m: Submissions) -> None:
    holder(m, C)
    submit(m, A)
    m.step(SECOND, TO_ITS_END)


def two_machines_of_one_name(m: Submissions) -> None:
    holder(m, B)
    submit(m, A)
    m.step(SECOND, TO_ITS_END)


def killed_while_it_held_the_lock(m: Submissions) -> None:
    holder(m, A)
    m.kill(FIRST)


def other_command_while_a_take_over_waits(m: Submissions) -> None:
    submit(m, A, wait=True, take_over=True)
    m.step(FIRST, TO_ITS_END, "sleep")
    for _ in CELLS:
        m.start(FIRST)
        m.kill(SECOND)  # the task; the command is the first process that lives
    submit(m, B, own_conf=True)
    m.step(SECOND, TO_ITS_END, "rmtree")
    m.step(FIRST, 2_000)


def trainer_edited_while_a_submission_waits(m: Submissions) -> None:
    submit(m, A, wait=True)
    m.step(FIRST, TO_ITS_END, "sleep")
    for _ in CELLS:
        m.start(FIRST)
        m.kill(SECOND)  # the task; the command is the first process that lives
    m.site.code = "edited"
    m.step(FIRST, 2_000)
    m.site.code = "toy"  # put back, so that the sweep can be brought to its end


def training(m: Submissions, host: int) -> None:
    """A submission whose first task trains."""
    submit(m, host)
    m.step(FIRST, TO_ITS_END)
    m.start(FIRST)
    until_it_trains(m)
    m.what_must_hold()


def submitted_on_two_clusters(m: Submissions) -> None:
    training(m, A)
    submit(m, B)
    m.step(FIRST, TO_ITS_END)


def foreign_result_beside_a_silent_cluster(m: Submissions) -> None:
    m.submit_without_a_break(C, take_over=False)
    m.foreign_result(CELLS[0])
    m.submit_without_a_break(B, take_over=False)


def renamed_job(m: Submissions) -> None:
    training(m, A)
    m.tasks[FIRST].job.job.name = "renamed"
    submit(m, A)
    m.step(FIRST, TO_ITS_END)


def cancelled_under_a_waiting_submission(m: Submissions) -> None:
    submit(m, A, wait=True)
    m.step(FIRST, TO_ITS_END, "sleep")
    m.cancel(A, CELLS)
    m.step(SECOND, TO_ITS_END)
    m.what_must_hold()
    m.step(FIRST, 2_000)
    start_all(m)


def cancelled_while_sbatch_is_under_way(m: Submissions) -> None:
    submit(m, A)
    m.step(FIRST, TO_ITS_END, "sbatch answered")
    m.cancel(A, CELLS)
    m.step(SECOND, TO_ITS_END)
    m.step(FIRST, TO_ITS_END)
    start_all(m)


def cancelled_between_look_and_sbatch(m: Submissions) -> None:
    submit(m, A)
    m.step(FIRST, TO_ITS_END, "sbatch")
    m.cancel(A, CELLS)
    m.step(SECOND, TO_ITS_END)
    m.what_must_hold()
    m.step(FIRST, TO_ITS_END, "sbatch answered")
    m.kill(FIRST)
    start_all(m)


def cancelled_while_its_cluster_is_silent(m: Submissions) -> None:
    submit(m, A)
    m.step(FIRST, TO_ITS_END)
    m.silence("a")
    m.cancel(A, CELLS)
    m.step(FIRST, TO_ITS_END)
    m.silence("a")
    m.what_must_hold()
    start_all(m)


def task_starts_between_the_look_and_the_void_file(m: Submissions) -> None:
    submit(m, A)
    m.step(FIRST, TO_ITS_END, "sbatch")
    m.cancel(A, CELLS)
    m.step(SECOND, TO_ITS_END, "squeue answered")
    m.step(FIRST, 1)
    m.start(FIRST)
    until_it_trains(m)
    m.step(SECOND, TO_ITS_END)
    m.what_must_hold()


def corrected_while_tasks_are_queued(m: Submissions) -> None:
    submit(m, A)
    m.step(FIRST, TO_ITS_END)
    m.start_what_fails(FIRST)  # so all that began has failed
    m.what_must_hold()
    m.correct(A)
    m.step(FIRST, TO_ITS_END)


def second_submission_that_waits(m: Submissions) -> None:
    holder(m, A)
    submit(m, A, wait=True)
    m.step(SECOND, 2_000)


def foreign_result_in_a_pack(m: Submissions) -> None:
    m.foreign_result(CELLS[0])


def stopped_before_it_begins(m: Submissions) -> None:
    submit(m, A)
    m.step(FIRST, TO_ITS_END)
    m.stop_again_and_again(FIRST, loaded=False)


def stopped_before_its_first_step(m: Submissions) -> None:
    submit(m, A)
    m.step(FIRST, TO_ITS_END)
    m.stop_again_and_again(FIRST, loaded=True)


def redone_while_its_pack_trains(m: Submissions) -> None:
    m.submit(A, 2, False, False, False)
    m.step(FIRST, TO_ITS_END)
    m.start(FIRST)
    for _ in range(4):
        until_it_trains(m)  # three steps, then the next cell's first
    m.what_must_hold()
    m.redo(A, CELLS[:1], until="")


def stopped_redo_continued_after_a_take_over(m: Submissions) -> None:
    m.how_it_stands("done", A, 1, False)
    m.redo(A, CELLS)
    m.step(FIRST, TO_ITS_END, "squeue")
    m.stop_take_over_and_continue(FIRST, B)
    m.step(FIRST, TO_ITS_END)


# --- of tasks alone ---------------------------------------------------------------------------------------------------


def moved_away_beside_damaged_weights(m: Protocol) -> None:
    m.start(TWO_CELLS, lagging=False, way=2)
    m.finish(FIRST)
    m.damage(TWO_CELLS[1], "weights_file")
    m.move_the_result_away_by_hand(TWO_CELLS[1])


def weights_damaged(m: Protocol) -> None:
    m.start(ONE_CELL, lagging=False, way=0)
    m.finish(FIRST)
    m.damage(ONE_CELL[0], "weights_file")


def killed_right_after_its_claim(m: Protocol) -> None:
    m.copies_at_one_point(2, ("begin",))
    m.kill(SECOND)
    m.finish(FIRST)


def killed_and_continued_under_other_numerics(m: Protocol) -> None:
    m.copies_at_one_point(1, ("step", "step"))
    m.kill(FIRST)
    m.start(ONE_CELL, lagging=False, way=1)
    m.finish(FIRST)


def result_damaged_while_another_copy_ends(m: Protocol) -> None:
    m.copies_at_one_point(2, ("step", "link"))
    m.finish(FIRST)
    m.damage(ONE_CELL[0], "result_file")
    m.finish(FIRST)


def old_copy_that_ends_while_its_cell_is_redone(m: Protocol) -> None:
    m.copies_at_one_point(2, ("step", "link"))
    m.finish(FIRST)
    m.redo(ONE_CELL, at_once=True)
    m.finish(FIRST)


def late_task_starts_after_a_redo(m: Protocol) -> None:
    m.start(ONE_CELL, lagging=False, way=0)
    m.finish(FIRST)
    m.redo(ONE_CELL, at_once=True)
    m.start(ONE_CELL, lagging=False, way=0, late=True)
    m.finish(FIRST)


def redone_while_a_copy_has_saved_states(m: Protocol) -> None:
    m.start(ONE_CELL, lagging=True, way=0)
    for _ in range(3):
        m.step_until(FIRST, "step")
    m.start(ONE_CELL, lagging=False, way=0)
    m.finish(SECOND)
    m.redo(ONE_CELL, at_once=True)
    m.step_until(FIRST, "step")  # it does not see at once that its cell has been redone, and saves


def three_copies_that_end_differently(m: Protocol) -> None:
    m.copies_at_one_point(3, ("step", "link"))


def play(script: Callable[[Any], None], machine: type[Submissions | Protocol] = Submissions) -> None:
    """A script from its beginning to the end of the sweep. Raises AssertionError for a violation."""
    model = machine()
    try:
        script(model)
        model.what_must_hold()
    except BaseException:
        model.close()
        raise
    model.teardown()
