"""A sweep's tasks into Slurm's queue: once, or again and again until all is done."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hpc.launch import bad_nodes
from hpc.launch.preparation import chosen_pack, pack_asked_for, price, say, set_damaged_aside, statuses_of
from hpc.launch.request import Request
from hpc.planning.plan import Plan, make_plan
from hpc.protocol import CommandExit
from hpc.slurm.commands import LimitError, Slurm, SlurmError
from hpc.slurm.profile import Profile
from hpc.status import sweep
from hpc.status import sweep as status
from hpc.storage.store import Store
from hpc.submission import intents
from hpc.submission.live import by_cluster, live_cells, live_tasks
from hpc.submission.lock import lock
from hpc.sweep.cell import Cell
from hpc.sweep.states import FAILED, FINAL

if TYPE_CHECKING:
    from hpc.submission.arrays import Queued

# --wait gives up after as many submissions in a row that brought no cell an epoch further.
_MOST_IDLE_ROUNDS = 2
_REFUSED_SECONDS, _MOST_REFUSALS = 60, 30


def dry_run(request: Request, arguments: argparse.Namespace, profile: Profile, conf: Path | None) -> int:
    """The plan, its cost, the script, and Slurm's word on it. Writes nothing in the sweep directory."""
    from hpc.submission.arrays import rehearse

    planned = _plan_for_slurm(request, arguments, profile, conf, set())
    print(planned)
    if planned.tasks:
        print(price(request, planned, profile, statuses_of(request)))
        script, word = rehearse(request.store, request.sweep, planned, profile, conf)
        print(f"\n{script.rstrip()}\n\nSlurm says: {word}")
    return CommandExit.DONE


def submit_once(request: Request, arguments: argparse.Namespace, profile: Profile, conf: Path | None) -> int:
    """Queue what is missing. Raises SlurmError; LimitError if Slurm's limits allow not a single task now."""
    from hpc.submission.arrays import sbatch_line

    _cancel_held(request.store)
    set_damaged_aside(request)
    profile, retry = _without_bad_nodes(request, profile, arguments.all_nodes)
    planned = _plan_for_slurm(request, arguments, profile, conf, retry)
    say(str(planned))
    if not planned.tasks:
        return CommandExit.DONE
    queued = _queue(request, planned, profile, conf, prepare_only=arguments.prepare)
    if queued.scripts:
        say("everything is written; this queues it:")
        print(sbatch_line(queued.scripts))
        return CommandExit.DONE
    if queued.refused:
        say(f"{queued.refused}; what is not queued yet is taken by the next submission, or by --wait")
    if arguments.then_aggregate:
        from hpc.submission.arrays import submit_aggregation

        say(f"aggregation after them: job {submit_aggregation(request.store, queued, profile, conf)}")
    say(f"holdfast status {request.store.root} --watch")
    return CommandExit.DONE


def _queue(request: Request, planned: Plan, profile: Profile, conf: Path | None, prepare_only: bool) -> Queued:
    """Queue a plan; in smaller and smaller arrays where a limit that cannot be read refuses them."""
    from hpc.submission.arrays import submit

    while True:
        try:
            return submit(
                request.store, request.sweep, planned, profile, conf=conf, prepare_only=prepare_only, on_array=say
            )
        except LimitError as error:
            smaller = planned.in_smaller_arrays()
            if smaller is None:
                raise
            say(f"{error}; tried again in arrays of {smaller.array_sizes[0]}")
            planned = smaller


def wait(request: Request, arguments: argparse.Namespace, profile: Profile, conf: Path | None) -> int:
    """Wait for the tasks; queue again what came back unfinished, until all is done or nothing moves any more.

    Raises SlurmError if Slurm refuses, or does not answer, half an hour long.
    """
    idle_rounds = refusals = 0
    before = _progress_mark(request)
    while idle_rounds < _MOST_IDLE_ROUNDS:
        seen = watch(request.store, profile.name, quiet=True)
        after = _progress_mark(request)
        idle_rounds = idle_rounds + 1 if after == before else 0
        before = after
        try:
            if not seen.held and not _plan_for_slurm(request, arguments, profile, conf, set()).tasks:
                break
            with lock(request.store, "holdfast submit", arguments.take_over):
                submit_once(request, arguments, profile, conf)
            refusals = 0
        except SlurmError as error:  # other jobs have all the room, or nobody answers: neither need last
            refusals += not isinstance(error, LimitError)
            if refusals > _MOST_REFUSALS:
                raise
            say(f"{error}; tried again in {_REFUSED_SECONDS} s")
            idle_rounds = 0
            time.sleep(_REFUSED_SECONDS)
    taken = sweep.take(request.store)
    print(sweep.text(taken))
    return CommandExit.DONE if all(entry.state in FINAL for entry in taken.statuses) else CommandExit.INCOMPLETE


def _plan_for_slurm(
    request: Request, arguments: argparse.Namespace, profile: Profile, conf: Path | None, retry: set[Cell]
) -> Plan:
    """The plan, with what Slurm has now taken into account. Raises SlurmError if it cannot be asked.

    retry: failed cells to take along all the same.
    """
    slurm = Slurm(conf)
    queued = live_cells(live_tasks(request.store))
    statuses = statuses_of(request)
    # A whole node of GPUs is busy with a cell for each.
    pack = chosen_pack(pack_asked_for(arguments.pack), request, profile, statuses, conf) or profile.workers
    most = -(-len(request.sweep.grid) // pack)
    return make_plan(
        statuses,
        queued=queued,
        pack_size=pack,
        include_failed=arguments.include_failed,
        retry=retry,
        largest_array=slurm.max_array_size(),
        room=slurm.room(most),
    )


def _cancel_held(store: Store) -> None:
    """Cancel tasks that Slurm holds for ever because a daemon died while it started them; their cells are free again.

    Releasing them may take an operator, cancelling does not. Raises SlurmError.
    """
    held = [task for task in live_tasks(store) if task.queued.held]
    for conf, tasks in by_cluster(store, held).items():
        Slurm(conf).cancel([task.queued for task in tasks])
    if held:
        say(f"{len(held)} tasks that Slurm holds since a launch failed are cancelled; their cells are queued again")


def _without_bad_nodes(request: Request, profile: Profile, all_nodes: bool) -> tuple[Profile, set[Cell]]:
    """The profile with nodes left out on which tasks keep failing at their start, and the cells they cost so far."""
    if all_nodes or not request.store.exists():
        return profile, set()
    bad, cells = bad_nodes.find(request.store, statuses_of(request))
    for node, count in bad.items():
        say(f"node {node} is left out: {count} tasks failed there at the start; --all-nodes takes it again")
    if not bad:
        return profile, set()
    given = profile.parameters.get("exclude")
    excluded = ",".join([*([given] if given else []), *sorted(bad)])
    return replace(profile, parameters={**profile.parameters, "exclude": excluded}), cells


def _progress_mark(request: Request) -> tuple[int, int]:
    """Grows whenever a cell ends or gets an epoch further."""
    statuses = statuses_of(request)
    ended = sum(entry.state in (*FINAL, FAILED) for entry in statuses)
    return ended, sum(entry.epoch for entry in statuses)


_WATCH_SECONDS = 30.0


_SANDBOX_WATCH_SECONDS = 1.0


def status_text(store: Store, taken: status.Snapshot) -> str:
    estimate = status.estimate(store, taken)
    return status.text(taken) + (f"\n\n{estimate}" if estimate else "")


def watch(store: Store, profile: str, quiet: bool) -> status.Snapshot:
    """Look again and again until nothing more will happen by itself; Slurm is asked at most twice a minute."""
    here = profile == "sandbox" or any(entry.profile == "sandbox" for entry in intents.intents(store))
    pause = _SANDBOX_WATCH_SECONDS if here else _WATCH_SECONDS
    live_view = sys.stdout.isatty() and not quiet
    last = ""
    while True:
        taken = status.take(store)
        text = status_text(store, taken)
        if live_view:
            print(f"\x1b[H\x1b[2J{text}", flush=True)
        elif text != last:
            (say if quiet else print)(text.splitlines()[0] if quiet else text + "\n")
        last = text
        if taken.finished and not taken.trouble:
            return taken
        time.sleep(pause)
