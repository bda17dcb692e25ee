"""A sweep's tasks in worker processes of this machine."""

from __future__ import annotations

import argparse
from pathlib import Path

from hpc.launch.preparation import chosen_pack, live, say, set_damaged_aside, statuses_of
from hpc.launch.request import Request
from hpc.planning.plan import Plan, make_plan
from hpc.processes import cores
from hpc.protocol import CommandExit, TaskExit
from hpc.slurm.profile import Profile
from hpc.status import cell as one_cell
from hpc.storage.store import Store
from hpc.submission import intents, local_workers
from hpc.sweep.definition import Sweep
from hpc.sweep.states import FINAL
from hpc.trainers.snapshot import snapshot

# A fused pack of this many cells still fits a core's cache at the default model size (docs/performance.md).
_CACHE_PACK = 5


def run_here(
    request: Request, sweep: Sweep, arguments: argparse.Namespace, pack: int | str | None
) -> local_workers.Ends:
    """Plan and run what is still to do. pack: cells a task, ``auto``, or None for what suits this machine."""
    set_damaged_aside(request)
    statuses = statuses_of(request)
    if arguments.cell:
        wanted = one_cell.find_cell(sweep, request.store, arguments.cell)
        statuses = [entry for entry in statuses if entry.cell == wanted]
    elsewhere = live(request.store, strict=False)
    parallel = arguments.parallel_jobs or cores()
    to_do = sum(1 for entry in statuses if entry.state not in FINAL)
    size = chosen_pack(pack, request, Profile("local"), statuses, None) or _local_pack(sweep, to_do, parallel)
    planned = make_plan(statuses, queued=elsewhere, pack_size=size, include_failed=arguments.include_failed)
    say(str(planned))
    if not planned.tasks:
        if planned.queued:
            say(f"Slurm has them: holdfast status {request.store.root} --watch")
        return local_workers.Ends(queued=planned.queued)
    digest, code = snapshot(request.store, sweep.trainer)
    intent = intents.begin(
        request.store, [planned.tasks], kind=intents.LOCAL, profile="local", name=sweep.name, code=digest
    )
    at_once = max(1, parallel // size) if sweep.trainer.pack_mode == "concurrent" else parallel
    return _run_tasks(request.store, sweep, planned, intent, code, at_once, arguments.device)


def _run_tasks(
    store: Store,
    sweep: Sweep,
    planned: Plan,
    intent: intents.Intent,
    code: Path,
    parallel: int,
    device: str,
) -> local_workers.Ends:
    from hpc.status.progress import Progress

    progress = Progress(store, [cell for task in planned.tasks for cell in task], sweep.config_digest)
    ends = local_workers.run_tasks(store, intent, code, parallel=parallel, device=device, on_poll=progress)
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


def debug(store: Store, sweep: Sweep, arguments: argparse.Namespace) -> int:
    """One cell in this very process, its output on the terminal."""
    from hpc.node.pack import PackTask
    from hpc.node.stop import StopFlag

    cell = one_cell.find_cell(sweep, store, arguments.cell)
    digest, _ = snapshot(store, sweep.trainer)
    intent = intents.begin(store, [[[cell]]], kind=intents.LOCAL, profile="debug", name=sweep.name, code=digest)
    stop = StopFlag()
    stop.install()
    task = PackTask(store, sweep, [cell], intent.number, stop, arguments.device, own_log=False)
    ended = task.run()
    print(one_cell.text(store, cell.name))
    if ended == TaskExit.DONE:
        return CommandExit.DONE
    return CommandExit.INCOMPLETE if ended == TaskExit.FAILED else CommandExit.INTERRUPTED
