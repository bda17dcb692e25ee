"""holdfast status: Show cells by state, progress, attempts and an estimate."""

from __future__ import annotations

import json
from pathlib import Path

import click

from hpc.cli import options
from hpc.cli.command import Command
from hpc.errors import ConfigError
from hpc.launch.watching import show, watch
from hpc.protocol import CommandExit
from hpc.status import failed as failures
from hpc.status.sweep import take
from hpc.storage.store import Store
from hpc.submission.lock import busy


@click.command("status", cls=Command, examples=("status out", "status out --watch", "status out --failed"))
@options.directory
@options.as_json
@options.flag("--failed", help="Print causes, tracebacks and logs of all failed cells, each line with its cell.")
@options.flag("--watch", "watched", help="Look again until nothing more will happen.")
def command(directory: Path, as_json: bool, failed: bool, watched: bool) -> int:
    """Show cells by state, progress, attempts and an estimate of the time left.

    The estimate is of Slurm's tasks; `run` shows its own where it was started, and its cells are STARTED here.
    Exit code 4 if cells failed or are in conflict, if nothing is at work on cells that are missing, or if all diverged.
    """
    store = Store(directory.absolute())
    if failed:
        if as_json or watched:
            raise ConfigError(["command line: --failed prints lines, once; drop --json and --watch"])
        for line in failures.lines(store):
            print(line)
        seen = take(store)
    elif watched:
        seen = watch(store)
    elif as_json:
        seen = take(store)
        print(json.dumps(seen.to_json(), indent=1))
    else:
        seen = show(store)
    at_rest = seen.finished and not seen.trouble and not busy(store)
    return CommandExit.INCOMPLETE if seen.problems or (at_rest and not seen.done) else CommandExit.DONE
