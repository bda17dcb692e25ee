"""holdfast data: Make or check SimpleShapes data sets with XOR targets."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from hpc.cli import options
from hpc.cli.command import Group
from hpc.errors import ConfigError
from hpc.launch.remarks import say
from hpc.terminal import console, watched

command = Group("data", help="Make or check SimpleShapes data sets with XOR targets.")
_place = options.argument("directory", type=options.DIRECTORY, metavar="DIR", text="the data set's directory")


@command.command(
    "generate",
    examples=("data generate data/simple_shapes_xor_targets", "data generate demo/data --train 16000 --seed 1"),
)
@_place
@options.option("--train", type=options.COUNT, default=500_000, metavar="N", help="Training rows (default: 500000).")
@options.option("--val", type=options.COUNT, default=1_000, metavar="N", help="Validation rows (default: 1000).")
@options.option("--test", type=options.COUNT, default=1_000, metavar="N", help="Test rows (default: 1000).")
@options.option("--seed", type=options.WHOLE, default=0, metavar="S", help="Seed of the random numbers (default: 0).")
@options.option(
    "--from", "upstream", type=options.DIRECTORY, metavar="DIR", help="Convert an upstream SimpleShapes data set."
)
@options.option(
    "--latents",
    type=options.Word("vae", "mixed"),
    default="vae",
    metavar="KIND",
    help="vae (default), or mixed: quick, without images.",
)
@options.flag("--keep-images", help="Also write the images.")
def generate(
    directory: Path,
    train: int,
    val: int,
    test: int,
    seed: int,
    upstream: Path | None,
    latents: Literal["vae", "mixed"],
    keep_images: bool,
) -> int:
    """Make a data set, or convert one from upstream. Written atomically: all of it is there, or nothing."""
    from training.shapes import generate as shapes

    if upstream is not None and not upstream.is_dir():
        raise ConfigError([f"command line: --from is {str(upstream)!r}; there is no such directory"])
    with _progress() as show:
        if upstream is None:
            sizes = {"train": train, "val": val, "test": test}
            shapes.generate(directory, **sizes, seed=seed, progress=show, latents=latents, keep_images=keep_images)
        else:
            shapes.convert(upstream, directory, seed=seed, progress=show, keep_images=keep_images)
    return 0


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Shows one line of progress per call; on a terminal a moving bar below them, with the time so far."""
    if not watched(sys.stderr):
        yield say
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console(sys.stderr), transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def show(line: str) -> None:
            bar.console.print(line)
            bar.update(task, description=line)

        yield show


@command.command("check", examples=("data check data/simple_shapes_xor_targets",))
@_place
def check(directory: Path) -> int:
    """Check a data set and prove its synergy property: no single attribute predicts the target, both do."""
    from training.shapes import dataset

    if not directory.is_dir():
        raise ConfigError([f"{directory}: no such directory; `holdfast data generate DIR` makes a data set"])
    print(dataset.check(directory))
    return 0
