"""plan, run and submit."""

from __future__ import annotations

import argparse
import json
from dataclasses import fields
from typing import Any

from hpc.cli.aggregate import aggregate_and_tell
from hpc.config.command_line import CommandLine
from hpc.errors import ConfigError
from hpc.launch import local, look, seeds, slurm
from hpc.launch.options import PackOptions, RunOptions, SeedTarget, SubmitOptions
from hpc.launch.preparation import chosen_pack, cost_of, say_notes
from hpc.launch.request import SweepOptions, resolve
from hpc.planning.plan import make_plan
from hpc.protocol import CommandExit
from hpc.slurm.profile import Profile
from hpc.slurm.profile_file import load_profile


def plan(arguments: argparse.Namespace) -> int:
    """plan: print what would run and what it costs. Writes nothing."""
    options = _options(PackOptions, arguments)
    request = resolve(_sweep(arguments))
    say_notes(request)
    profile = load_profile(arguments.profile, arguments.set) if arguments.profile else Profile("local")
    if arguments.target_halfwidth is not None or arguments.target_effect is not None:
        target = SeedTarget(arguments.target_halfwidth, arguments.target_effect, arguments.power, arguments.metric)
        print(seeds.advice(request.store, request.sweep, target))
        return CommandExit.DONE
    seen = look.take_here(request)
    pack = chosen_pack(options, request, profile, seen) or profile.workers
    planned = make_plan(seen.statuses, queued=seen.queued, pack_size=pack, include_failed=options.include_failed)
    cost = cost_of(request, planned, profile, seen)
    if arguments.json:
        print(json.dumps(planned.to_json() | {"cost": cost.to_json()}, indent=1))
    else:
        print(f"{planned}\n{cost}" if planned.tasks else planned)
    return CommandExit.DONE


def run(arguments: argparse.Namespace) -> int:
    """run: train what is missing in worker processes here, then aggregate."""
    options = _options(RunOptions, arguments)
    request = resolve(_sweep(arguments), needs_data=not options.analyze_only)
    say_notes(request)
    if options.analyze_only:
        return aggregate_and_tell(request.store, partial=False)
    code = local.run(request, options)
    if code is not None:
        return code
    return aggregate_and_tell(request.store, partial=False)


def submit(arguments: argparse.Namespace) -> int:
    """submit: queue what is missing; wait for it if asked to. Raises SlurmError."""
    options = _options(SubmitOptions, arguments)
    request = resolve(_sweep(arguments))
    profile = load_profile(arguments.profile, arguments.set)
    say_notes(request)
    return local.submit(request, options) if profile.is_local else slurm.submit(request, options, profile)


def _sweep(arguments: argparse.Namespace) -> SweepOptions:
    line = CommandLine(
        config=arguments.config,
        dims=arguments.dims,
        scales=arguments.synergy_scales,
        runs_per_condition=arguments.runs_per_condition,
        axes=tuple(arguments.axis),
        experiment=arguments.experiment,
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        output_dir=arguments.output_dir,
        no_wandb=arguments.no_wandb,
        allow_huge=arguments.yes,
    )
    return SweepOptions.of(arguments.words, line)


def _options(kind: Any, arguments: argparse.Namespace) -> Any:
    given = {field.name: getattr(arguments, field.name) for field in fields(kind)}
    return kind(**given | {"pack": _pack(given["pack"])})


def _pack(given: str | None) -> Any:
    if given is None or given == "auto":
        return given
    if not given.isdecimal() or int(given) < 1:
        raise ConfigError([f"command line: --pack is {given!r}; give a whole number of cells, 1 or more, or auto"])
    return int(given)
