"""check resume."""

from __future__ import annotations

import argparse
from pathlib import Path

from hpc.commands import DONE, INCOMPLETE, say
from hpc.config import CommandLine, load
from hpc.profile import Profile, load_profile
from hpc.slurm import SlurmError
from hpc.store import Store, check_writable


def check_resume(arguments: argparse.Namespace) -> int:
    from hpc.resume_check import Trial, check

    profile = load_profile(arguments.profile)
    loaded = load(CommandLine(config=arguments.config, epochs=arguments.epochs, output_dir=arguments.output_dir))
    check_writable(loaded.output_dir)
    trial = Trial(
        sweep=loaded.sweep,
        profile=profile,
        target=Store(loaded.output_dir),
        conf=_conf(profile),
        cells=arguments.cells,
        seconds=60.0 * arguments.minutes,
        seed=arguments.seed,
    )
    verdict = check(trial, say)
    print(verdict)
    say(f"certificate: {verdict.certificate}")
    return DONE if verdict.good else INCOMPLETE


def _conf(profile: Profile) -> Path | None:
    """slurm.conf of the profile's cluster; None for the machine's own. Raises SlurmError if the sandbox is down."""
    if profile.name != "sandbox":
        return None
    from hpc import sandbox

    found = sandbox.find()
    if found is None:
        raise SlurmError("the sandbox is not up; start it with `holdfast sandbox up`")
    return found.conf
