"""A sweep's tasks into Slurm's queue: once, or again and again until all is done."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hpc.errors import ConfigError, of_system, shown
from hpc.files.opening import RefusedFileError
from hpc.launch import look
from hpc.launch.escalation import Amounts, Escalation, escalation, limits_of
from hpc.launch.look import Look
from hpc.launch.options import SubmitOptions
from hpc.launch.preparation import (
    asked_beside,
    check_code,
    check_resources,
    chosen_pack,
    cluster_of,
    cost_of,
    planned_code,
    say_notes,
    say_of_profile,
    say_of_step,
)
from hpc.launch.remarks import say
from hpc.launch.request import Request
from hpc.launch.watching import REFUSED_SECONDS, Pause, Progress, Refusals, follow_in_lines, stays_queued
from hpc.planning.plan import Plan, make_plan
from hpc.protocol import CommandExit
from hpc.slurm.answers import is_node
from hpc.slurm.commands import LimitError, Slurm, SlurmError
from hpc.slurm.profile import Profile
from hpc.status import lines, sweep
from hpc.storage.permissions import check_writable
from hpc.submission.intents import newest
from hpc.submission.lock import SUBMIT, Held, lock
from hpc.units import counted

if TYPE_CHECKING:
    from hpc.submission.arrays import Queued

# --wait gives up after as many submissions in a row that brought no cell further.
_MOST_IDLE_ROUNDS = 2
_MOST_FULL_SECONDS = 600


def submit(request: Request, options: SubmitOptions, profile: Profile) -> int:
    """Queue what is missing, or print the plan; wait for it if that is asked for. Returns the exit code.

    Raises ConfigError, SweepError, OSError, SlurmError.
    """
    conf = cluster_for(request, profile)
    if options.dry_run:
        return dry_run(request, options, profile, conf)
    seen = queue(request, options, profile, conf)
    return wait(request, options, profile, conf, seen) if options.wait else CommandExit.DONE


def queue(request: Request, options: SubmitOptions, profile: Profile, conf: Path | None) -> Look:
    """Queue what is missing. Returns the look at the sweep before, which `wait` needs. Raises as submit() does."""
    check_writable(request.store.root)
    for line in check_code(request, profile).lines()[1:]:
        say(line)
    if not request.store.exists() or request.sweep.resources or options.escalate:
        _check_accepted(request, options, profile, conf)
    since = newest(request.store)
    on_busy = _patience() if options.wait else None
    with lock(request.store, SUBMIT, options.take_over, on_busy) as held:
        request.record(held, options.allow_code_change)
        seen = look.take(request, since, conf)
        say_notes(request)  # before anything is queued: some of it costs claims
        submit_once(request, options, profile, conf, seen, held)
    say_of_step(request)
    say_of_profile(profile)
    return seen


def dry_run(request: Request, options: SubmitOptions, profile: Profile, conf: Path | None) -> int:
    """Print the plan, its cost, the script, and Slurm's verdict on it. Writes nothing in the sweep directory."""
    from hpc.submission.arrays import rehearse

    seen = look.take(request, conf=conf)
    profile = _without_bad_nodes(request, profile, options, seen)
    more = _escalation(request, options, profile, seen)
    planned = _plan_for_slurm(request, options, profile, conf, seen, more)
    code = planned_code(request, planned, profile)
    say_notes(request)
    say_of_step(request)
    say_of_profile(profile)
    print("\n".join([*more.lines, str(planned)]))
    if planned.tasks:
        lines = code.lines() if code else []
        print("\n".join([str(cost_of(request, planned, profile, seen, code)), *lines]))
        script, word = rehearse(request.store, request.sweep, planned, profile, conf)
        print(f"\n{script.rstrip()}\n\nSlurm says: {word}")
    return CommandExit.DONE


def cluster_for(request: Request, profile: Profile) -> Path | None:
    """slurm.conf of the cluster that is to train a sweep, None for the machine's own, once it has answered.

    Raises ConfigError, SlurmError.
    """
    conf = cluster_of(profile)
    _check_path(request.store.root, profile)
    check_resources(request.sweep, profile)
    Slurm(conf).cluster()  # without an answer nothing can be queued, and nothing else need be said
    return conf


def _check_path(root: Path, profile: Profile) -> None:
    """Raise ConfigError for a sweep directory whose name sbatch, or a container, would read as something else."""
    if "\\" in str(root):
        raise ConfigError([f"{root}: sbatch drops the '\\' of a path; name another directory"])
    if not str(root).isprintable():  # nor can all of them be written into a script, or be read in what squeue says
        raise ConfigError([f"{str(root)!r}: Slurm is given no path with such characters; name another directory"])
    if "," in str(root) and len(profile.launcher) > 1:
        raise ConfigError([f"{root}: a container cannot be shown a path with ',' in it; name another directory"])


def _check_accepted(request: Request, options: SubmitOptions, profile: Profile, conf: Path | None) -> None:
    """Raise SlurmError if Slurm refuses the tasks of a sweep that has no directory yet; so none is left behind. And if
    it refuses what some of the cells ask for, so that not only the others are queued.

    A limit on what may be queued now is no reason: the first submission prepares for more than that.
    """
    from hpc.submission.arrays import is_limit, rehearse

    seen = look.take(request, conf=conf) if request.store.exists() else look.of_nothing(request)
    planned = _plan_for_slurm(request, options, profile, conf, seen)
    if planned.tasks:
        try:
            rehearse(request.store, request.sweep, planned, profile, conf)
        except SlurmError as error:
            if not is_limit(error):
                raise


def submit_once(
    request: Request, options: SubmitOptions, profile: Profile, conf: Path | None, seen: Look, held: Held
) -> None:
    """Queue what is missing. held: the sweep's lock, under which the look was taken.

    Raises SlurmError; LimitError if Slurm's limits allow not a single task now.
    """
    from hpc.submission.arrays import sbatch_line

    Slurm(conf).cluster()  # it may have gone since, in a submission that waits
    seen = look.without_silent_clusters(request, look.clear(request, seen, conf), held, options.take_over)
    seen = look.set_damaged_aside(request, seen)
    profile = _without_bad_nodes(request, profile, options, seen)
    more = _escalation(request, options, profile, seen)
    planned = _plan_for_slurm(request, options, profile, conf, seen, more)
    for line in more.lines:
        say(line)
    say(str(planned))
    if not planned.tasks:
        return
    code = request.freeze(held, options.allow_code_change)
    raised = more.of(planned, profile, asked_beside(request.sweep, profile))
    queued = _queue(request, planned, profile, conf, seen, held, code, raised, prepare_only=options.prepare)
    if queued.scripts:
        say("everything is written; this queues it:")
        print(sbatch_line(queued.scripts))
        return
    if queued.refused:
        say(f"{queued.refused}; what is not queued yet is taken by the next submission, or by --wait")
    if options.then_aggregate and queued.job_ids:
        from hpc.submission.arrays import submit_aggregation

        say(f"aggregation after them: job {submit_aggregation(request.store, queued, profile, conf)}")
    say(f"holdfast status {shlex.quote(str(request.store.root))} --watch")


def _queue(
    request: Request,
    planned: Plan,
    profile: Profile,
    conf: Path | None,
    seen: Look,
    held: Held,
    code: tuple[str, Path],
    raised: Mapping[str, Amounts],
    prepare_only: bool,
) -> Queued:
    """Queue a plan; a smaller and smaller part of it where a limit that cannot be read refuses more.

    code: digest and directory of the snapshot that its tasks run. raised: what cells get, as --escalate gave it.
    """
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
                since=seen.since,
                code=code,
                conf=conf,
                prepare_only=prepare_only,
                escalated=raised,
                on_array=say,
            )
        except LimitError as error:
            smaller = planned.half_of_first_array()
            if smaller is None:
                raise
            say(f"{error}; tried again with {counted(len(smaller.tasks), 'task')}")
            planned = smaller


def wait(request: Request, options: SubmitOptions, profile: Profile, conf: Path | None, seen: Look) -> int:
    """Wait as wait_until_done() does, and print where that ended. Returns the exit code."""
    ended = wait_until_done(request, options, profile, conf, seen, time.sleep)
    print(lines.text(ended))
    return CommandExit.DONE if ended.done else CommandExit.INCOMPLETE


def wait_until_done(
    request: Request, options: SubmitOptions, profile: Profile, conf: Path | None, seen: Look, pause: Pause
) -> sweep.Snapshot:
    """Wait for the tasks; queue again what came back unfinished, until all is done or nothing moves any more.

    seen: the look before the tasks were queued; each round takes a new one. Cells that somebody cancels meanwhile are
    not queued again, failed ones only if they were to be and have not been tried since, and nothing is taken over any
    more: whoever has the lock now came later. pause: waits so many seconds, and may raise to end this.
    Raises SlurmError or OSError if Slurm or a file system refuses, or does not answer, for half an hour.
    """
    failed = seen.failed if options.include_failed else {}
    options = replace(options, take_over=False, include_failed=False)
    refused, progress = Refusals(), Progress(seen.mark)
    idle_rounds, full = 0, REFUSED_SECONDS // 2
    while True:
        try:
            with stays_queued(request.store):
                follow_in_lines(request.store, profile.name, pause)
            seen = look.take(request, seen.since, conf).with_untried(failed)
            more = _escalation(request, options, profile, seen).fresh
            idle_rounds = 0 if progress.made(seen.mark) or more else idle_rounds + 1
            if not seen.held and not _plan_for_slurm(request, options, profile, conf, seen).tasks:
                break
            if idle_rounds == _MOST_IDLE_ROUNDS:
                say(f"stopped: {idle_rounds} submissions in a row brought no cell further; nothing is queued again")
                break
            with lock(request.store, SUBMIT, on_busy=_patience(), pause=pause) as held:
                again = look.take(request, seen.since, conf).with_untried(failed)
                submit_once(request, options, profile, conf, again, held)
            refused, full = Refusals(), REFUSED_SECONDS // 2
        except RefusedFileError:
            raise  # what is no regular file does not become one
        except (SlurmError, OSError) as error:  # other jobs have all the room, or nobody answers: neither need last
            if not isinstance(error, LimitError) and refused.too_often():
                raise
            reason = of_system(error) if isinstance(error, OSError) else str(error)
            seconds = REFUSED_SECONDS
            if isinstance(error, LimitError):  # each try leaves a few files, and others may have all the room for days
                seconds = full = min(2 * full, _MOST_FULL_SECONDS)
            say(f"{reason}; tried again in {seconds} s")
            idle_rounds = 0
            pause(seconds)
    return sweep.take(request.store)


def _patience() -> Callable[[str], None]:
    """For a command that waits for its turn: says once for whom."""
    told: list[str] = []

    def tell(busy: str) -> None:
        if not told:
            say(f"waiting: {busy}")
            told.append(busy)

    return tell


def _plan_for_slurm(
    request: Request,
    options: SubmitOptions,
    profile: Profile,
    conf: Path | None,
    seen: Look,
    more: Escalation | None = None,
) -> Plan:
    """The plan, within what Slurm's limits allow now. Raises SlurmError if it cannot be asked.

    more: what cells get beyond profile and resources, where that is known already.
    """
    slurm, more = Slurm(conf), more or _escalation(request, options, profile, seen)
    # A whole node of GPUs is busy with a cell for each.
    pack = chosen_pack(options, request, profile, seen, conf) or profile.workers
    most = -(-len(request.sweep.grid) // pack)
    retry = seen.untried | more.fresh
    return make_plan(
        seen.statuses,
        queued=seen.queued,
        cancelled=seen.cancelled,
        stopping=seen.stopping,
        pack_size=pack,
        include_failed=options.include_failed,
        retry=retry if options.all_nodes else retry | seen.bad.cells,
        largest_array=slurm.max_array_size(),
        room=slurm.room(most),
        resources=more.over(profile, asked_beside(request.sweep, profile)),
    )


def _escalation(request: Request, options: SubmitOptions, profile: Profile, seen: Look) -> Escalation:
    """What cells get beyond profile and resources, since they ran out of it."""
    return escalation(request, limits_of(options.escalate), profile, seen)


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
        failed = f"{count} tasks failed there at the start, lost their GPU or lacked what they need"
        say(f"node {node} is excluded: {failed}; --all-nodes includes it")
        excluded.append(node)
    if not excluded:
        return profile
    return replace(profile, parameters={**profile.parameters, "exclude": ",".join(excluded)})
