"""plan, run and submit."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hpc import bad_nodes, local, status, submission
from hpc.cell import Cell
from hpc.code import snapshot
from hpc.commands import DONE, INCOMPLETE, INTERRUPTED, aggregate_and_tell, cluster_of, say, seeds
from hpc.commands.questions import watch
from hpc.errors import ConfigError
from hpc.plan import Plan, make_plan
from hpc.profile import Profile, load_profile
from hpc.requests import Request, resolve
from hpc.slurm import Slurm, SlurmError
from hpc.states import FAILED, FINAL, CellStatus
from hpc.store import Store, check_writable
from hpc.sweep import Sweep

if TYPE_CHECKING:
    from hpc.cost import Cost

# A fused pack of this many cells still fits a core's cache at the default model size (docs/performance.md).
_CACHE_PACK = 5
# Slurm's reason for a task whose start failed under it.
# Finished cells that a cost estimate looks at.
_COST_SAMPLE = 200
# --wait gives up after as many submissions in a row that brought no cell an epoch further.
_MOST_IDLE_ROUNDS = 2


def plan(arguments: argparse.Namespace) -> int:
    wanted = _pack(arguments.pack)
    request = resolve(arguments)
    _notes(request)
    profile = load_profile(arguments.profile, arguments.set) if arguments.profile else Profile("local")
    queued: dict[str, submission.LiveTask] = {}
    if request.store.exists():
        queued = _live(request.store, strict=False)
    statuses = _statuses(request)
    if arguments.target_halfwidth is not None or arguments.target_effect is not None:
        print(seeds.advice(request.store, request.sweep, arguments))
        return DONE
    pack = _chosen_pack(wanted, request, profile, statuses, None) or profile.workers
    planned = make_plan(statuses, queued=queued, pack=pack, include_failed=arguments.include_failed)
    price = _price(request, planned, profile, statuses)
    if arguments.json:
        print(json.dumps(planned.to_json() | {"cost": price.to_json()}, indent=1))
    else:
        print(f"{planned}\n{price}" if planned.tasks else planned)
    return DONE


def _price(request: Request, planned: Plan, profile: Profile, statuses: list[CellStatus]) -> Cost:
    """The plan's cost, from a sample of this sweep's finished cells or from a pilot."""
    from aggregate.planner import detectable_effect
    from hpc import cost, pilot

    finished = [entry.cell for entry in statuses if entry.state in FINAL][:_COST_SAMPLE]
    provenances = [(request.store.result(cell) or {}).get("provenance") or {} for cell in finished]
    known = pilot.load(profile, request.sweep.config_digest)
    count = len(request.sweep.grid.seeds)
    effect = detectable_effect(count, float(request.sweep.analysis["alpha"])) if count > 1 else None
    return cost.estimate(planned, effect, provenances, known, profile)


def _chosen_pack(
    wanted: int | str | None, request: Request, profile: Profile, statuses: list[CellStatus], conf: Path | None
) -> int | None:
    """The pack size; for ``--pack auto`` the one that a pilot says is best. Raises ConfigError without a pilot."""
    if not isinstance(wanted, str):
        return wanted
    from hpc import pilot

    known = pilot.load(profile, request.sweep.config_digest)
    if known is None:
        raise ConfigError(
            [
                "command line: --pack auto needs a pilot of this configuration; "
                f"`holdfast check cluster --profile {profile.name} --pilot --config FILE` makes one"
            ]
        )
    left = sum(entry.state not in FINAL for entry in statuses)
    at_once = local.cores() if profile.is_local else pilot.tasks_at_once(profile, Slurm(conf).nodes())
    try:
        choice = pilot.choose_pack(known, profile, max(1, left), at_once)
    except ValueError as error:
        raise ConfigError([f"command line: --pack auto: {error}"]) from None
    say(f"pack {choice.pack}: {choice.reason}")
    return choice.pack


def _statuses(request: Request) -> list[CellStatus]:
    return list(request.store.statuses(request.sweep.grid, request.sweep.config_digest))


def _notes(request: Request) -> None:
    for note in request.notes:
        say(f"note: {note}")


def _pack(given: str | None) -> int | str | None:
    """Cells a task: a number, ``auto``, or None if not asked for."""
    if given is None or given == "auto":
        return given
    if not given.isdecimal() or int(given) < 1:
        raise ConfigError([f"command line: --pack is {given!r}; give a whole number of cells, 1 or more, or auto"])
    return int(given)


def run(arguments: argparse.Namespace) -> int:
    pack = _pack(arguments.pack)
    request = resolve(arguments)
    _notes(request)
    if arguments.analyze_only:
        return aggregate_and_tell(request.store, partial=False)
    if arguments.debug and not arguments.cell:
        raise ConfigError(["command line: --debug runs one cell in the foreground; add --cell NAME"])
    check_writable(request.store.root)
    with submission.lock(request.store, "holdfast run", arguments.take_over):
        sweep = request.record(arguments.allow_code_change)
        if arguments.cell and arguments.debug:
            return _debug(request.store, sweep, arguments)
        ends = _run_here(request, sweep, arguments, pack)
    if ends.interrupted:
        say(f"stopped; the same command goes on ({request.store.root})")
        return INTERRUPTED
    if ends.exit_code or ends.queued:
        return ends.exit_code or INCOMPLETE
    return aggregate_and_tell(request.store, partial=False)


def _run_here(request: Request, sweep: Sweep, arguments: argparse.Namespace, pack: int | str | None) -> local.Ends:
    statuses = _statuses(request)
    if arguments.cell:
        wanted = status.find_cell(sweep, request.store, arguments.cell)
        statuses = [entry for entry in statuses if entry.cell == wanted]
    elsewhere = _live(request.store, strict=False)
    parallel = arguments.parallel_jobs or local.cores()
    to_do = sum(1 for entry in statuses if entry.state not in FINAL)
    size = _chosen_pack(pack, request, Profile("local"), statuses, None) or _local_pack(sweep, to_do, parallel)
    planned = make_plan(statuses, queued=elsewhere, pack=size, include_failed=arguments.include_failed)
    say(str(planned))
    if not planned.tasks:
        if planned.queued:
            say(f"Slurm has them: holdfast status {request.store.root} --watch")
        return local.Ends(queued=planned.queued)
    digest, code = snapshot(request.store, sweep.trainer)
    intent = submission.begin(
        request.store, [planned.tasks], kind=submission.LOCAL, profile="local", name=sweep.name, code=digest
    )
    at_once = max(1, parallel // size) if sweep.trainer.pack_mode == "concurrent" else parallel
    return _run_tasks(request.store, sweep, planned, intent, code, at_once, arguments.device)


def _run_tasks(
    store: Store,
    sweep: Sweep,
    planned: Plan,
    intent: submission.Intent,
    code: Path,
    parallel: int,
    device: str,
) -> local.Ends:
    from hpc.progress import Progress

    progress = Progress(store, [cell for task in planned.tasks for cell in task], sweep.config_digest)
    ends = local.run_tasks(store, intent, code, parallel=parallel, device=device, on_poll=progress)
    progress.end()
    for problem in ends.problems:
        say(problem)
    return ends


def _local_pack(sweep: Sweep, cells: int, parallel: int) -> int:
    """Fused trainers gain from packs that keep every worker busy and stay in cache; others share a process's start.

    Four packs a worker keep all of them busy to the end. Cells that want a process each get it as tasks.
    """
    if sweep.trainer.pack_mode == "concurrent":
        return 1
    share = -(-cells // parallel)
    return max(1, min(_CACHE_PACK, share if sweep.trainer.pack_mode == "fused" else share // 4))


def _debug(store: Store, sweep: Sweep, arguments: argparse.Namespace) -> int:
    """One cell in this very process, its output on the terminal."""
    from hpc.pack_task import PackTask
    from hpc.stop import StopFlag

    cell = status.find_cell(sweep, store, arguments.cell)
    digest, _ = snapshot(store, sweep.trainer)
    intent = submission.begin(store, [[[cell]]], kind=submission.LOCAL, profile="debug", name=sweep.name, code=digest)
    stop = StopFlag()
    stop.install()
    task = PackTask(store, sweep, [cell], intent.number, stop, arguments.device, own_log=False)
    ended = task.run()
    print(status.show(store, cell.name)[1])
    return {0: DONE, 1: INCOMPLETE}.get(ended, INTERRUPTED)


def submit(arguments: argparse.Namespace) -> int:
    pack = _pack(arguments.pack)
    request = resolve(arguments)
    profile = load_profile(arguments.profile, arguments.set)
    _notes(request)
    conf = cluster_of(profile)
    if profile.is_local and arguments.dry_run:
        statuses = _statuses(request)
        size = _chosen_pack(pack, request, profile, statuses, None) or profile.workers
        print(make_plan(statuses, pack=size, include_failed=arguments.include_failed))
        return DONE
    if profile.is_local:
        arguments.parallel_jobs, arguments.device, arguments.cell = None, "cpu", None
        with submission.lock(request.store, "holdfast submit", arguments.take_over):
            ends = _run_here(request, request.record(arguments.allow_code_change), arguments, pack)
        return ends.exit_code if ends.exit_code else INTERRUPTED if ends.interrupted else DONE
    if arguments.dry_run:
        return _dry_run(request, arguments, profile, conf)
    check_writable(request.store.root)
    with submission.lock(request.store, "holdfast submit", arguments.take_over):
        request.record(arguments.allow_code_change)
        code = _submit_once(request, arguments, profile, conf)
    if code == DONE and arguments.wait:
        return _wait(request, arguments, profile, conf)
    return code


def _dry_run(request: Request, arguments: argparse.Namespace, profile: Profile, conf: Path | None) -> int:
    """The plan, its cost, the script, and Slurm's word on it. Writes nothing in the sweep directory."""
    from hpc.submit import rehearse

    planned = _plan_for_slurm(request, arguments, profile, conf, set())
    print(planned)
    if planned.tasks:
        print(_price(request, planned, profile, _statuses(request)))
        script, word = rehearse(request.store, request.sweep, planned, profile, conf)
        print(f"\n{script.rstrip()}\n\nSlurm says: {word}")
    return DONE


def _plan_for_slurm(
    request: Request, arguments: argparse.Namespace, profile: Profile, conf: Path | None, retry: set[Cell]
) -> Plan:
    """The plan, with what Slurm has now taken into account. Raises SlurmError if it cannot be asked.

    retry: failed cells to take along all the same.
    """
    slurm = Slurm(conf)
    queued = submission.live_cells(submission.live_tasks(request.store))
    statuses = _statuses(request)
    # A whole node of GPUs is busy with a cell for each.
    pack = _chosen_pack(_pack(arguments.pack), request, profile, statuses, conf) or profile.workers
    most = -(-len(request.sweep.grid) // pack)
    return make_plan(
        statuses,
        queued=queued,
        pack=pack,
        include_failed=arguments.include_failed,
        retry=retry,
        largest_array=slurm.max_array_size(),
        room=slurm.room(most),
    )


def _cancel_held(store: Store) -> None:
    """Cancel tasks that Slurm holds for ever because a daemon died while it started them; their cells are free again.

    Releasing them may take an operator, cancelling does not. Raises SlurmError.
    """
    held = [task for task in submission.live_tasks(store) if task.queued.held]
    for conf, tasks in submission.by_cluster(store, held).items():
        Slurm(conf).cancel([task.queued for task in tasks])
    if held:
        say(f"{len(held)} tasks that Slurm holds since a launch failed are cancelled; their cells are queued again")


def _without_bad_nodes(request: Request, profile: Profile, all_nodes: bool) -> tuple[Profile, set[Cell]]:
    """The profile with nodes left out on which tasks keep failing at their start, and the cells they cost so far."""
    if all_nodes or not request.store.exists():
        return profile, set()
    bad, cells = bad_nodes.find(request.store, _statuses(request))
    for node, count in bad.items():
        say(f"node {node} is left out: {count} tasks failed there at the start; --all-nodes takes it again")
    if not bad:
        return profile, set()
    given = profile.parameters.get("exclude")
    excluded = ",".join([*([given] if given else []), *sorted(bad)])
    return replace(profile, parameters={**profile.parameters, "exclude": excluded}), cells


def _submit_once(request: Request, arguments: argparse.Namespace, profile: Profile, conf: Path | None) -> int:
    from hpc.submit import sbatch_line
    from hpc.submit import submit as queue

    _cancel_held(request.store)
    profile, retry = _without_bad_nodes(request, profile, arguments.all_nodes)
    planned = _plan_for_slurm(request, arguments, profile, conf, retry)
    say(str(planned))
    if not planned.tasks:
        return DONE
    queued = queue(
        request.store, request.sweep, planned, profile, conf=conf, prepare_only=arguments.prepare, on_array=say
    )
    if queued.scripts:
        say("everything is written; this queues it:")
        print(sbatch_line(queued.scripts))
        return DONE
    if queued.refused:
        say(f"{queued.refused}; what is not queued yet is taken by the next submission, or by --wait")
    if arguments.then_aggregate:
        from hpc.submit import submit_aggregation

        say(f"aggregation after them: job {submit_aggregation(request.store, queued, profile, conf)}")
    say(f"holdfast status {request.store.root} --watch")
    return DONE


def _wait(request: Request, arguments: argparse.Namespace, profile: Profile, conf: Path | None) -> int:
    """Wait for the tasks; queue again what came back unfinished, until all is done or nothing moves any more."""
    idle_rounds = 0
    before = _progress_mark(request)
    while idle_rounds < _MOST_IDLE_ROUNDS:
        seen = watch(request.store, profile.name, quiet=True)
        after = _progress_mark(request)
        idle_rounds = idle_rounds + 1 if after == before else 0
        before = after
        if not seen.held and not _plan_for_slurm(request, arguments, profile, conf, set()).tasks:
            break
        with submission.lock(request.store, "holdfast submit", arguments.take_over):
            _submit_once(request, arguments, profile, conf)
    taken = status.take(request.store)
    print(status.text(taken))
    return DONE if all(entry.state in FINAL for entry in taken.statuses) else INCOMPLETE


def _progress_mark(request: Request) -> tuple[int, int]:
    """Grows whenever a cell ends or gets an epoch further."""
    statuses = _statuses(request)
    ended = sum(entry.state in (*FINAL, FAILED) for entry in statuses)
    return ended, sum(entry.epoch for entry in statuses)


def _live(store: Store, strict: bool) -> dict[str, submission.LiveTask]:
    """Cells that Slurm has. strict: raise SlurmError if it cannot be asked; otherwise say so and go on."""
    try:
        return submission.live_cells(submission.live_tasks(store))
    except SlurmError as error:
        if strict:
            raise
        say(f"note: Slurm cannot be asked which cells are queued ({error})")
        return {}
