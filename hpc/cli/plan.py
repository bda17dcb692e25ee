"""holdfast plan: Show what would run and what it would cost. Writes nothing."""

from __future__ import annotations

import json

import click

from hpc.cli import options
from hpc.cli.command import Command
from hpc.config.declared_tests import described
from hpc.launch import look, seeds
from hpc.launch.options import PackOptions, SeedTarget
from hpc.launch.preparation import (
    asked_beside,
    check_resources,
    chosen_pack,
    cost_of,
    planned_code,
    say_notes,
    say_of_step,
)
from hpc.launch.request import SweepOptions, resolve
from hpc.planning.plan import make_plan
from hpc.slurm.profile import Profile
from hpc.slurm.profile_file import load_profile

EXAMPLES = ("plan --config sweep.yaml", "plan --dims 8,32 --synergy-scales 0.1,1.0 --runs-per-condition 3")
_SEEDS = "Seeds needed, for a sweep that already has two or more per condition"


@click.command("plan", cls=Command, examples=EXAMPLES)
@options.sweep
@options.handed_over("packing", PackOptions)
@options.handed_over("target", SeedTarget)
@options.packing
@options.settings
@options.option("--profile", type=options.PROFILE, metavar="P", help="Profile whose pilot and limits to use.")
@options.option(
    "--target-halfwidth", "halfwidth", type=options.NUMBER, metavar="H", section=_SEEDS, help="Know the mean to +- H."
)
@options.option(
    "--target-effect",
    "effect",
    type=options.NUMBER,
    metavar="D",
    section=_SEEDS,
    help="Detect a paired difference of D, in the metric's units.",
)
@options.option(
    "--power",
    type=options.NUMBER,
    default=0.8,
    metavar="P",
    section=_SEEDS,
    help="Power, with --target-effect (default: 0.8).",
)
@options.option("--metric", metavar="NAME", section=_SEEDS, help="Metric (default: the first primary one).")
@options.as_json
def command(
    asked: SweepOptions,
    packing: PackOptions,
    target: SeedTarget,
    profile: str | None,
    settings: tuple[str, ...],
    as_json: bool,
) -> int:
    """Show what would run: cells done and to run, packs, arrays, cost and files. Writes nothing."""
    request = resolve(asked)
    cluster = load_profile(profile, settings) if profile else Profile("local")
    if target.wanted:
        print(seeds.advice(request.store, request.sweep, target))
        return 0
    seen = look.take_here(request)
    look.say_of_silent_clusters(seen)
    check_resources(request.sweep, cluster)
    planned = make_plan(
        seen.statuses,
        queued=seen.queued,
        stopping=seen.stopping,
        pack_size=chosen_pack(packing, request, cluster, seen) or cluster.workers,
        include_failed=packing.include_failed,
        resources=asked_beside(request.sweep, cluster),
    )
    code = planned_code(request, planned, cluster)
    cost = cost_of(request, planned, cluster, seen, code)
    say_notes(request)
    say_of_step(request)
    if as_json:
        taken = {"code": code.to_json()} if code else {}
        print(json.dumps(planned.to_json() | {"cost": cost.to_json()} | taken, indent=1))
    else:
        tests = described(request.sweep.analysis) if len(request.sweep.grid.seeds) > 1 else ""
        lines = [str(cost), *(code.lines() if code else [])] if planned.tasks else []
        print("\n".join(filter(None, [str(planned), *lines, tests])))
    return 0
