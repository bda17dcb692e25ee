"""Schedules, written by hand, that lead to a violation where a rule of the protocol is broken.

They pass with the rule and fail without it; a search for them and its shrinking has not been run.

Each is what a person would tell: who types what on which host, how far it gets, and what happens then. `A` and `C` are
hosts of cluster a (C a container on the machine of A), `B` is one of cluster b.
"""

from __future__ import annotations

from collections.abc import Callable

from .site import CELLS
from .test_submissions import TO_ITS_END, Submissions

A, B, C = 0, 1, 2
FIRST, SECOND = 0, 1


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


def play(script: Callable[[Submissions], None]) -> None:
    """A script from its beginning to the end of the sweep. Raises AssertionError for a violation."""
    machine = Submissions()
    try:
        script(machine)
        machine.what_must_hold()
    except BaseException:
        machine.site.close()
        raise
    machine.teardown()
