"""holdfast submit: Queue a sweep as Slurm arrays. Only what is missing is queued."""

from __future__ import annotations

import click

from hpc.cli import options
from hpc.cli.command import Command
from hpc.cli.notify import notified, notify
from hpc.errors import ConfigError
from hpc.launch import local, slurm
from hpc.launch.escalation import check_escalation
from hpc.launch.options import SubmitOptions
from hpc.launch.request import SweepOptions, resolve
from hpc.launch.trust import confirm
from hpc.slurm.profile_file import load_profile

EXAMPLES = (
    "submit --config sweep.yaml --profile lab --pack auto",
    "submit out --profile lab --include-failed --set mem_gb=32",
    "submit out --profile lab --wait --escalate mem_gb=64 --escalate timeout_min=24:00:00",
)


@click.command("submit", cls=Command, examples=EXAMPLES)
@options.sweep
@options.handed_over("wanted", SubmitOptions)
@options.packing
@options.option("--profile", type=options.PROFILE, required=True, metavar="P", help=options.PROFILE_HELP)
@options.settings
@options.option(
    "--escalate",
    multiple=True,
    metavar="KEY=LIMIT",
    help="Run cells that ran out of mem_gb or timeout_min again with twice as much, up to LIMIT.",
)
@options.flag("--all-nodes", help="Also use nodes on which tasks failed at the start.")
@options.flag("--dry-run", help="Print the plan, the job script and Slurm's verdict on it; write nothing.")
@options.flag("--prepare", help="Write everything and print the sbatch line.")
@options.flag("--wait", help="Wait, and queue again what came back unfinished.")
@notify
@options.flag("--then-aggregate", help="Queue a job that aggregates afterwards.")
@options.take_over
@options.trust
def command(
    asked: SweepOptions,
    wanted: SubmitOptions,
    profile: str,
    settings: tuple[str, ...],
    notify: tuple[str, ...] | None,
    trust: bool,
) -> int:
    """Queue a sweep as Slurm arrays. Only what is missing is queued, so the same command resumes a sweep."""
    cluster = load_profile(profile, settings)
    if notify and not (wanted.wait or cluster.is_local):
        raise ConfigError(["command line: --notify tells how the waiting ended, and nothing waits here; add --wait"])
    check_escalation(wanted, cluster)
    request = resolve(asked)
    if not wanted.dry_run:
        request = confirm(request, trust)

    def act() -> int:
        return local.submit(request, wanted) if cluster.is_local else slurm.submit(request, wanted, cluster)

    return act() if wanted.dry_run else notified(notify, request.store, act)
