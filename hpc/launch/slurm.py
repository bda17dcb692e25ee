"""A sweep's tasks into Slurm's queue: once, or again and again until all is done."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hpc.errors import ConfigError, shown
from hpc.launch import look
from hpc.launch.look import Look
from hpc.launch.options import SubmitOptions
from hpc.launch.preparation import check_code, chosen_pack, cluster_of, cost_of, say_notes, say_of_profile
from hpc.launch.remarks import say
from hpc.launch.request import Request
from hpc.launch.watching import follow_in_lines
from hpc.planning.plan import Plan, make_plan
from hpc.protocol import CommandExit
from hpc.slurm.answers import is_node
from hpc.slurm.commands import LimitError, Slurm, SlurmError
from hpc.slurm.profile import Profile
from hpc.status import lines, sweep
from hpc.storage.permissions import check_writable
from hpc.submission.intents import newest
from hpc.submission.lock import SUBMIT, Held, lock
from hpc.sweep.states import FINAL

if TYPE_CHECKING:
    from hpc.submission.arrays import Queued

# --wait gives up after as many submissions in a row that brought no cell an epoch further.
_MOST_IDLE_ROUNDS = 2
# A restart of slurmctld takes a minute or two; what refuses half an hour long is a fault that waiting does not cure.
_REFUSED_SECONDS, _MOST_REFUSALS = 60, 30


def submit(request: Request, options: SubmitOptions, profile: Profile) -> int:
    """Queue what is missing, or print the plan; wait for it if that is asked for. Returns the exit code.

    Raises ConfigError, SweepError, OSError, SlurmError.
    """
    conf = cluster_of(profile)
    _check_path(request.store.root, profile)
    Slurm(conf).cluster()  # without an answer nothing can be queued, and nothing else need be said
    if options.dry_run:
        return dry_run(request, options, profile, conf)
    check_writable(request.store.root)
    request.check_trainer()
    for line in check_code(request, profile).lines()[1:]:
        say(line)
    if not request.store.exists():
        _check_accepted(request, options, profile, conf)
    since = newest(request.store)
    on_busy = _patience() if options.wait else None
    with lock(request.store, SUBMIT, options.take_over, on_busy) as held:
        request.record(options.allow_code_change)
        seen = look.take(request, since)
        code = submit_once(request, options, profile, conf, seen, held)
    say_notes(request)
    say_of_profile(profile)
    if code == CommandExit.DONE and options.wait:
        return wait(request, options, profile, conf, seen)
    return code


def dry_run(request: Request, options: SubmitOptions, profile: Profile, conf: Path | None) -> int:
    """Print the plan, its cost, the script, and Slurm's verdict on it. Writes nothing in the sweep directory."""
    from hpc.submission.arrays import rehearse

    seen = look.take(request)
    profile = _without_bad_nodes(request, profile, options, seen)
    planned = _plan_for_slurm(request, options, profile, conf, seen)
    code = check_code(request, profile) if planned.tasks else None
    say_notes(request)
    say_of_profile(profile)
    print(planned)
    if code is not None:
        print("\n".join([str(cost_of(request, planned, profile, seen, code)), *code.lines()]))
        script, word = rehearse(request.store, request.sweep, planned, profile, conf)
        print(f"\n{script.rstrip()}\n\nSlurm says: {word}")
    return CommandExit.DONE


def _check_path(root: Path, profile: Profile) -> None:
    """Raise ConfigError for a sweep directory whose name sbatch, or a container, would read as something else."""
    if "\\" in str(root):
        raise ConfigError([f"{root}: sbatch drops the '\\' of a path; name another directory"])
    if not str(root).isprintable():  # nor can all of them be written into a script, or be read in what squeue says
        raise ConfigError([f"{str(root)!r}: Slurm is given no path with such characters; name another directory"])
    if "," in str(root) and len(profile.launcher) > 1:
        raise ConfigError([f"{root}: a container cannot be shown a path with ',' in it; name another directory"])


def _check_accepted(request: Request, options: SubmitOptions, profile: Profile, conf: Path | None) -> None:
    """Raise SlurmError if Slurm refuses the tasks of a sweep that has no directory yet; so none is left behind.

    A limit on what may be queued now is no reason: the first submission prepares for more than that.
    """
    from hpc.submission.arrays import is_limit, rehearse

    planned = _plan_for_slurm(request, options, profile, conf, look.of_nothing(request))
    if planned.tasks:
        try:
            rehearse(request.store, request.sweep, planned, profile, conf)
        except SlurmError as error:
            if not is_limit(error):
                raise


def submit_once(
    request: Request, options: SubmitOptions, profile: Profile, conf: Path | None, seen: Look, held: Held
) -> int:
    """Queue what is missing. held: the sweep's lock, under which the look was taken.

    Raises SlurmError; LimitError if Slurm's limits allow not a single task now.
    """
    from hpc.submission.arrays import sbatch_line

    Slurm(conf).cluster()  # it may have gone since, in a submission that waits
    seen = look.without_silent_clusters(request, look.clear(request, seen), options.take_over)
    seen = look.set_damaged_aside(request, seen)
    profile = _without_bad_nodes(request, profile, options, seen)
    planned = _plan_for_slurm(request, options, profile, conf, seen)
    say(str(planned))
    if not planned.tasks:
        return CommandExit.DONE
    queued = _queue(request, planned, profile, conf, seen, held, prepare_only=options.prepare)
    if queued.scripts:
        say("everything is written; this queues it:")
        print(sbatch_line(queued.scripts))
        return CommandExit.DONE
    if queued.refused:
        say(f"{queued.refused}; what is not queued yet is taken by the next submission, or by --wait")
    if options.then_aggregate and queued.job_ids:
        from hpc.submission.arrays import submit_aggregation

        say(f"aggregation after them: job {submit_aggregation(request.store, queued, profile, conf)}")
    say(f"holdfast status {request.store.root} --watch")
    return CommandExit.DONE


def _queue(
    request: Request,
    planned: Plan,
    profile: Profile,
    conf: Path | None,
    seen: Look,
    held: Held,
    prepare_only: bool,
) -> Queued:
    """Queue a plan; in smaller and smaller arrays where a limit that cannot be read refuses them."""
    from hpc.submission.arrays import submit

    while True:
        try:
            return submit(
                request.store,
                request.sweep,
                planned,
                profile,
                held,
                seen.queues,
                conf=conf,
                prepare_only=prepare_only,
                on_array=say,
            )
        except LimitError as error:
            smaller = planned.in_smaller_arrays()
            if smaller is None:
                raise
            say(f"{error}; tried again in arrays of {smaller.array_sizes[0]}")
            planned = smaller


def wait(request: Request, options: SubmitOptions, profile: Profile, conf: Path | None, seen: Look) -> int:
    """Wait for the tasks; queue again what came back unfinished, until all is done or nothing moves any more.

    seen: the look before the tasks were queued; each round takes a new one. Cells that somebody cancels meanwhile are
    not queued again, and nothing is taken over any more: whoever has the lock now came later.
    Raises SlurmError if Slurm refuses, or does not answer, for half an hour.
    """
    options = replace(options, take_over=False)
    idle_rounds = refusals = 0
    while True:
        follow_in_lines(request.store, profile.name)
        try:
            before, seen = seen, look.take(request, seen.since)
            idle_rounds = idle_rounds + 1 if seen.mark == before.mark else 0
            if not seen.held and not _plan_for_slurm(request, options, profile, conf, seen).tasks:
                break
            if idle_rounds == _MOST_IDLE_ROUNDS:
                say(f"stopped: {idle_rounds} submissions in a row brought no cell further; nothing is queued again")
                break
            with lock(request.store, SUBMIT, on_busy=_patience()) as held:
                submit_once(request, options, profile, conf, look.take(request, seen.since), held)
            refusals = 0
        except SlurmError as error:  # other jobs have all the room, or nobody answers: neither need last
            refusals += not isinstance(error, LimitError)
            if refusals > _MOST_REFUSALS:
                raise
            say(f"{error}; tried again in {_REFUSED_SECONDS} s")
            idle_rounds = 0
            time.sleep(_REFUSED_SECONDS)
    taken = sweep.take(request.store)
    print(lines.text(taken))
    return CommandExit.DONE if all(entry.state in FINAL for entry in taken.statuses) else CommandExit.INCOMPLETE


def _patience() -> Callable[[str], None]:
    """For a command that waits for its turn: says once for whom."""
    told: list[str] = []

    def tell(busy: str) -> None:
        if not told:
            say(f"waiting: {busy}")
            told.append(busy)

    return tell


def _plan_for_slurm(request: Request, options: SubmitOptions, profile: Profile, conf: Path | None, seen: Look) -> Plan:
    """The plan, within what Slurm's limits allow now. Raises SlurmError if it cannot be asked."""
    slurm = Slurm(conf)
    # A whole node of GPUs is busy with a cell for each.
    pack = chosen_pack(options, request, profile, seen, conf) or profile.workers
    most = -(-len(request.sweep.grid) // pack)
    return make_plan(
        seen.statuses,
        queued=seen.queued,
        cancelled=seen.cancelled,
        pack_size=pack,
        include_failed=options.include_failed,
        retry=() if options.all_nodes else seen.bad.cells,
        largest_array=slurm.max_array_size(),
        room=slurm.room(most),
    )


def _without_bad_nodes(request: Request, profile: Profile, options: SubmitOptions, seen: Look) -> Profile:
    """The profile with those nodes left out on which tasks keep failing at the start."""
    if options.all_nodes or not seen.bad.nodes:
        return profile
    given = profile.parameters.get("exclude")
    excluded = [given] if given else []
    for node, count in sorted(seen.bad.nodes.items()):
        if not is_node(node):
            say(f"{request.store.root}: a node called {shown(node)} is not excluded; no node can have this name")
            continue
        failed = f"{count} tasks failed there at the start or lost their GPU"
        say(f"node {node} is excluded: {failed}; --all-nodes includes it")
        excluded.append(node)
    if not excluded:
        return profile
    return replace(profile, parameters={**profile.parameters, "exclude": ",".join(excluded)})
