"""holdfast run: Train a sweep on this machine, then aggregate it. Resumes where it stopped."""

from __future__ import annotations

import click

from hpc.cli import options
from hpc.cli.aggregate import aggregate_and_print
from hpc.cli.command import Command
from hpc.launch import local
from hpc.launch.options import RunOptions
from hpc.launch.request import SweepOptions, resolve
from hpc.launch.trust import confirm

EXAMPLES = ("run --config sweep.yaml --output-dir out", "run out --runs-per-condition 10")


@click.command("run", cls=Command, examples=EXAMPLES)
@options.sweep
@options.handed_over("wanted", RunOptions)
@options.packing
@options.option("--parallel-jobs", type=options.COUNT, metavar="N", help="Worker processes (default: one per core).")
@options.option(
    "--device", type=options.Word("cpu", "cuda"), default="cpu", metavar="D", help="cpu or cuda (default: cpu)."
)
@options.flag("--analyze-only", help="Only aggregate what is there.")
@options.option("--cell", type=options.CELL, metavar="NAME", help="Train this cell alone.")
@options.flag("--debug", help="With --cell: train it in the foreground.")
@options.take_over
@options.trust
def command(asked: SweepOptions, wanted: RunOptions, trust: bool) -> int:
    """Train a sweep in worker processes on this machine, then aggregate it. Resumes where it stopped."""
    request = resolve(asked, needs_data=not wanted.analyze_only)
    if not wanted.analyze_only:
        request = confirm(request, trust)
    ended = None if wanted.analyze_only else local.run(request, wanted)
    return aggregate_and_print(request.store, partial=False, trust=trust) if ended is None else ended
