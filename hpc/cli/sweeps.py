"""plan, run and submit."""

from __future__ import annotations

import argparse
import json

from hpc.cli.aggregate import aggregate_and_tell
from hpc.errors import ConfigError
from hpc.launch import seeds
from hpc.launch.local import debug, run_here
from hpc.launch.preparation import chosen_pack, cluster_of, live, pack_asked_for, price, say, statuses_of, tell_notes
from hpc.launch.request import resolve
from hpc.launch.slurm import dry_run, submit_once, wait
from hpc.planning.plan import make_plan
from hpc.protocol import CommandExit
from hpc.slurm.profile import Profile
from hpc.slurm.profile_file import load_profile
from hpc.status import cell
from hpc.storage.permissions import check_writable
from hpc.submission.live import LiveTask
from hpc.submission.lock import lock


def plan(arguments: argparse.Namespace) -> int:
    """plan: print what would run and what it costs. Writes nothing."""
    wanted = pack_asked_for(arguments.pack)
    request = resolve(arguments)
    tell_notes(request)
    profile = load_profile(arguments.profile, arguments.set) if arguments.profile else Profile("local")
    queued: dict[str, LiveTask] = {}
    if request.store.exists():
        queued = live(request.store, strict=False)
    statuses = statuses_of(request)
    if arguments.target_halfwidth is not None or arguments.target_effect is not None:
        print(seeds.advice(request.store, request.sweep, arguments))
        return CommandExit.DONE
    pack = chosen_pack(wanted, request, profile, statuses, None) or profile.workers
    planned = make_plan(statuses, queued=queued, pack_size=pack, include_failed=arguments.include_failed)
    cost = price(request, planned, profile, statuses)
    if arguments.json:
        print(json.dumps(planned.to_json() | {"cost": cost.to_json()}, indent=1))
    else:
        print(f"{planned}\n{cost}" if planned.tasks else planned)
    return CommandExit.DONE


def run(arguments: argparse.Namespace) -> int:
    """run: train what is missing in worker processes here, then aggregate."""
    pack = pack_asked_for(arguments.pack)
    request = resolve(arguments)
    tell_notes(request)
    if arguments.analyze_only:
        return aggregate_and_tell(request.store, partial=False)
    if arguments.debug and not arguments.cell:
        raise ConfigError(["command line: --debug runs one cell in the foreground; add --cell NAME"])
    if arguments.cell:
        cell.find_cell(request.sweep, request.store, arguments.cell)
    check_writable(request.store.root)
    with lock(request.store, "holdfast run", arguments.take_over):
        sweep = request.record(arguments.allow_code_change)
        if arguments.cell and arguments.debug:
            return debug(request.store, sweep, arguments)
        ends = run_here(request, sweep, arguments, pack)
    if ends.interrupted:
        say(f"stopped; the same command goes on ({request.store.root})")
        return CommandExit.INTERRUPTED
    if ends.exit_code or ends.queued:
        return ends.exit_code or CommandExit.INCOMPLETE
    return aggregate_and_tell(request.store, partial=False)


def submit(arguments: argparse.Namespace) -> int:
    """submit: queue what is missing; wait for it if asked to. Raises SlurmError."""
    pack = pack_asked_for(arguments.pack)
    request = resolve(arguments)
    profile = load_profile(arguments.profile, arguments.set)
    tell_notes(request)
    conf = cluster_of(profile)
    if profile.is_local and arguments.dry_run:
        statuses = statuses_of(request)
        size = chosen_pack(pack, request, profile, statuses, None) or profile.workers
        print(make_plan(statuses, pack_size=size, include_failed=arguments.include_failed))
        return CommandExit.DONE
    if profile.is_local:
        check_writable(request.store.root)
        arguments.parallel_jobs, arguments.device, arguments.cell = None, "cpu", None
        with lock(request.store, "holdfast submit", arguments.take_over):
            ends = run_here(request, request.record(arguments.allow_code_change), arguments, pack)
        return ends.exit_code if ends.exit_code else CommandExit.INTERRUPTED if ends.interrupted else CommandExit.DONE
    if arguments.dry_run:
        return dry_run(request, arguments, profile, conf)
    check_writable(request.store.root)
    with lock(request.store, "holdfast submit", arguments.take_over):
        request.record(arguments.allow_code_change)
        code = submit_once(request, arguments, profile, conf)
    if code == CommandExit.DONE and arguments.wait:
        return wait(request, arguments, profile, conf)
    return code
