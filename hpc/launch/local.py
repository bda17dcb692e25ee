"""A sweep's tasks in worker processes of this machine."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace

from hpc import protocol
from hpc.errors import ConfigError
from hpc.launch import look
from hpc.launch.look import Look
from hpc.launch.options import RunOptions, SubmitOptions
from hpc.launch.preparation import check_code, check_resources, check_step, chosen_pack, planned_code, say_notes
from hpc.launch.remarks import say
from hpc.launch.request import Request
from hpc.planning.plan import Plan, make_plan
from hpc.processes import cores
from hpc.protocol import CommandExit, TaskExit
from hpc.slurm.profile import Profile
from hpc.status import cell as one_cell
from hpc.status.progress import progress
from hpc.storage.permissions import check_writable
from hpc.storage.revisions import shared_digest
from hpc.storage.store import Store
from hpc.submission import cancels, intents, local_workers
from hpc.submission.lock import RUN, SUBMIT_HERE, Held, lock
from hpc.submission.replacement import replace_unconfirmed
from hpc.sweep.definition import Sweep
from hpc.sweep.states import is_done

# A fused pack of this many cells still fits a core's cache at the default model size (docs/performance.md).
_CACHE_PACK = 5


def run(request: Request, options: RunOptions) -> int | None:
    """Train what is missing. Returns the exit code; None if everything ended and is to be aggregated."""
    if options.debug and not options.cell:
        raise ConfigError(["command line: --debug runs one cell in the foreground; add --cell NAME"])
    if options.cell:
        one_cell.find_cell(request.sweep, request.store, options.cell)
    with _begun(request, RUN, options) as (sweep, held, since):
        if options.cell and options.debug:
            return _debug(request, sweep, options.cell, options, held, since)
        ends = run_here(request, sweep, options, held, since)
    if ends.interrupted:
        say(f"stopped; the same command resumes it ({request.store.root})")
        return CommandExit.INTERRUPTED
    left = ends.queued or ends.cancelled or ends.left_out
    return ends.exit_code or (CommandExit.INCOMPLETE if left else None)


def submit(request: Request, options: SubmitOptions) -> int:
    """`submit --profile local`: the plan, or its tasks in worker processes here. Returns the exit code."""
    if options.dry_run:
        seen = look.take_here(request)
        look.say_of_silent_clusters(seen)
        planned = _plan(request, options.here(), seen)
        code = planned_code(request, planned, Profile("local"))
        check_step(request, options.here().device)
        say_notes(request)
        print("\n".join([str(planned), *(code.lines() if code else [])]))
        return CommandExit.DONE
    ends = train(request, options)
    if ends.interrupted:
        return ends.exit_code or CommandExit.INTERRUPTED
    states = (status.state for status in request.store.statuses(request.sweep.grid, request.sweep))
    left = ends.cancelled or ends.left_out or (options.wait and not is_done(states))
    return ends.exit_code or (CommandExit.INCOMPLETE if left else CommandExit.DONE)


def train(request: Request, options: SubmitOptions) -> local_workers.Ends:
    """Train what is missing in worker processes here. Returns how they ended, once they have."""
    with _begun(request, SUBMIT_HERE, options.here()) as (sweep, held, since):
        return run_here(request, sweep, options.here(), held, since)


@contextlib.contextmanager
def _begun(request: Request, command: str, options: RunOptions) -> Iterator[tuple[Sweep, Held, int]]:
    """(the sweep as it is on record, its lock, the newest submission or cancellation when the command began), once all
    that could refuse to train it here has been asked.
    """
    check_writable(request.store.root)
    # Before the lock, by which `cancel` sees that this command is at work: what comes after it concerns this one.
    since = intents.newest(request.store)
    check_code(request, Profile("local"))
    check_resources(request.sweep, Profile("local"))
    check_step(request, options.device)
    with lock(request.store, command, options.take_over) as held:
        sweep = request.record(held, options.allow_code_change)
        say_notes(request)
        yield sweep, held, since


def run_here(request: Request, sweep: Sweep, options: RunOptions, held: Held, since: int) -> local_workers.Ends:
    """Plan and run what is still to do. held: the sweep's lock. since: see Look."""
    store, seen = request.store, look.set_damaged_aside(request, _look(request, options, held, since))
    planned = _plan(request, options, seen)
    say(str(planned))
    if not planned.tasks:
        if planned.queued:
            _say_who_has_them(store, seen)
        return local_workers.Ends(queued=planned.queued, left_out=planned.cancelled)
    digest, code = request.freeze(held, options.allow_code_change)
    digests = {protocol.CONFIG_DIGEST: sweep.config_digest, protocol.SWEEP_DIGEST: shared_digest(store, sweep)}
    intent = intents.begin(store, [planned.tasks], kind=intents.LOCAL, profile="local", name=sweep.name, code=digest)
    held.check()  # before others' tasks are void
    replace_unconfirmed(store, intent, planned.tasks, seen.queues)
    parallel = options.parallel_jobs or cores()
    if sweep.trainer.pack_mode == "concurrent":
        parallel = max(1, parallel // max(map(len, planned.tasks)))
    with progress(store, [cell for task in planned.tasks for cell in task], sweep) as show:
        ends = local_workers.run_tasks(
            store,
            intent,
            code,
            parallel=parallel,
            device=options.device,
            digests=digests,
            on_poll=show,
            before_start=held.check,
            cancelled=_Unwanted(planned, cancels.Watch(store, since)),
        )
    for problem in ends.problems:
        say(problem)
    if ends.cancelled:
        say(f"tasks cancelled: {len(ends.cancelled)}; what they had saved is kept, and the same command resumes them")
    return replace(ends, left_out=planned.cancelled)


def _look(request: Request, options: RunOptions, held: Held, since: int) -> Look:
    """What there is to train here: nothing that Slurm has, or may have where a cluster does not answer."""
    return look.without_silent_clusters(request, look.take_here(request, since), held, options.take_over)


def _say_who_has_them(store: Store, seen: Look) -> None:
    if seen.queues.live:
        say(f"Slurm has them: holdfast status {shlex.quote(str(store.root))} --watch")


@dataclass(frozen=True)
class _Unwanted:
    """Which tasks of a plan have a cell that was cancelled meanwhile."""

    planned: Plan
    cancelled: cancels.Watch

    def __call__(self) -> set[int]:
        names = self.cancelled()
        tasks = enumerate(self.planned.tasks) if names else ()
        return {index for index, cells in tasks if any(cell.name in names for cell in cells)}


def _plan(request: Request, options: RunOptions, seen: Look) -> Plan:
    if options.cell:
        seen = seen.at(one_cell.find_cell(request.sweep, request.store, options.cell))
    pack = chosen_pack(options, request, Profile("local"), seen)
    pack = pack or _local_pack(request.sweep, seen.unfinished, options.parallel_jobs or cores())
    return make_plan(
        seen.statuses,
        queued=seen.queued,
        stopping=seen.stopping,
        cancelled=seen.cancelled,
        pack_size=pack,
        include_failed=options.include_failed,
    )


def _local_pack(sweep: Sweep, cells: int, parallel: int) -> int:
    """Fused trainers gain from packs that keep every worker busy and stay in cache; others share a process's start.

    Four packs per worker keep all of them busy to the end. Cells that want a process each get it as tasks.
    """
    if sweep.trainer.pack_mode == "concurrent":
        return 1
    share = -(-cells // parallel)
    return max(1, min(_CACHE_PACK, share if sweep.trainer.pack_mode == "fused" else share // 4))


def _debug(request: Request, sweep: Sweep, name: str, options: RunOptions, held: Held, since: int) -> int:
    """One cell in this very process, its output on the terminal. since: see Look."""
    from hpc.node.pack import PackTask
    from hpc.node.stop import StopFlag, load_in_spawned
    from hpc.node.trial import Surroundings

    store, seen = request.store, _look(request, options, held, since)
    cell = one_cell.find_cell(sweep, store, name)
    if name in seen.queued:
        say(f"{name} is queued; it is not trained here, too")
        _say_who_has_them(store, seen)
        return CommandExit.INCOMPLETE
    if name in seen.cancelled:
        say(f"{name} has been cancelled since this command began; it is not trained")
        return CommandExit.INCOMPLETE
    watch = cancels.Watch(store, since)
    digest, _ = request.freeze(held, options.allow_code_change)
    intent = intents.begin(store, [[[cell]]], kind=intents.LOCAL, profile="debug", name=sweep.name, code=digest)
    stop = StopFlag()
    stop.install()
    load_in_spawned()
    asked = lambda: stop() or cell.name in watch()  # noqa: E731
    around = Surroundings(intent.number, asked, options.device, own_log=False, code_digest=digest)
    ended = PackTask(store, sweep, [cell], around).run()
    print(one_cell.text(store, cell.name))
    if ended == TaskExit.DONE:
        return CommandExit.DONE
    return CommandExit.INCOMPLETE if ended == TaskExit.FAILED else CommandExit.INTERRUPTED
