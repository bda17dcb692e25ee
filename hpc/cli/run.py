"""holdfast run: Train a sweep on this machine, then aggregate it. Resumes where it stopped."""

from __future__ import annotations

from pathlib import Path

import click

from hpc.cli import options
from hpc.cli.aggregate import aggregate_and_print
from hpc.cli.command import Command
from hpc.cli.notify import notified, notify
from hpc.launch import local
from hpc.launch.options import RunOptions
from hpc.launch.request import Request, SweepOptions, resolve
from hpc.launch.trust import confirm
from hpc.paths import expanded
from hpc.storage.store import Store

EXAMPLES = ("run --config sweep.yaml --output-dir out", "run out --runs-per-condition 10")


@click.command("run", cls=Command, examples=EXAMPLES)
@options.sweep
@options.handed_over("wanted", RunOptions)
@options.packing
@options.option("--parallel-jobs", type=options.COUNT, metavar="N", help="Worker processes (default: one per core).")
@options.option(
    "--device", type=options.Word("cpu", "cuda"), default="cpu", metavar="D", help="cpu or cuda (default: cpu)."
)
@options.flag("--analyze-only", help="Only aggregate what is there: DIR, --output-dir or out.")
@options.option("--cell", type=options.CELL, metavar="NAME", help="Train this cell alone.")
@options.flag("--debug", help="With --cell: train it in the foreground.")
@notify
@options.take_over
@options.trust
def command(asked: SweepOptions, wanted: RunOptions, notify: tuple[str, ...] | None, trust: bool) -> int:
    """Train a sweep in worker processes on this machine, then aggregate it. Resumes where it stopped."""
    if wanted.analyze_only:
        store = _finished(asked)
        return notified(notify, store, lambda: aggregate_and_print(store, partial=False, trust=trust))
    request = confirm(resolve(asked), trust)
    return notified(notify, request.store, lambda: _train(request, wanted, trust))


def _train(request: Request, wanted: RunOptions, trust: bool) -> int:
    ended = local.run(request, wanted)
    return aggregate_and_print(request.store, partial=False, trust=trust) if ended is None else ended


def _finished(asked: SweepOptions) -> Store:
    """The directory to analyse: a name is enough, whatever the sweep was run with."""
    if asked.directory is not None:
        return Store(asked.directory.absolute())
    if asked.line.output_dir is not None:
        return Store(expanded(asked.line.output_dir).absolute())
    if asked.line.config is None:
        return Store(Path("out").absolute())
    return resolve(asked, needs_data=False).store
