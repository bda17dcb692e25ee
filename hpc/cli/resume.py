"""check resume."""

from __future__ import annotations

import argparse

from hpc.config.load import CommandLine, load
from hpc.launch.preparation import cluster_of
from hpc.launch.remarks import say
from hpc.protocol import CommandExit
from hpc.slurm.profile_file import load_profile
from hpc.storage.permissions import check_writable
from hpc.storage.store import Store


def check_resume(arguments: argparse.Namespace) -> int:
    """check resume: train cells straight and disturbed, print the verdict, write the certificate."""
    from hpc.resume_check.check import ResumeRequest, check

    profile = load_profile(arguments.profile)
    loaded = load(CommandLine(config=arguments.config, epochs=arguments.epochs, output_dir=arguments.output_dir))
    check_writable(loaded.output_dir)
    request = ResumeRequest(
        sweep=loaded.sweep,
        profile=profile,
        target=Store(loaded.output_dir),
        conf=cluster_of(profile),
        cells=arguments.cells,
        seconds=60.0 * arguments.minutes,
        seed=arguments.seed,
    )
    verdict = check(request, say)
    print(verdict)
    say(f"certificate: {verdict.certificate}")
    return CommandExit.DONE if verdict.good else CommandExit.INCOMPLETE
