"""Options and kinds of values that several commands share, with what a shell may complete for each."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from hpc.cli.command import Argument, Option
from hpc.cli.faults import meant

if TYPE_CHECKING:
    Kind = click.ParamType[Any]
else:
    Kind = click.ParamType  # no generic type before click 8.5
Function = TypeVar("Function", bound=Callable[..., Any])


class Number(Kind):
    """A number that may have a fraction."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return float(value)
        except ValueError:
            self.fail(f"{value!r}; give a number", param, ctx)


class Whole(Kind):
    """A whole number. least: 1 for a count."""

    name = "whole number"

    def __init__(self, least: int | None = None) -> None:
        self._least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number = int(value)
        except ValueError:
            number = None
        if number is None or (self._least is not None and number < self._least):
            range_ = "" if self._least is None else f", {self._least} or more"
            self.fail(f"{value!r}; give a whole number{range_}", param, ctx)
        return number


class Pack(Kind):
    """Cells per task: a whole number, or ``auto``."""

    name = "pack"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if value == "auto":
            return "auto"
        if not value.isdecimal() or int(value) < 1:
            self.fail(f"{value!r}; give a whole number of cells, 1 or more, or auto", param, ctx)
        return int(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return _starting(incomplete, ["auto"])


class Word(Kind):
    """One of a few words, in upper or lower case."""

    name = "word"

    def __init__(self, *words: str) -> None:
        self.words = words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        known = {word.lower(): word for word in self.words}
        if value.lower() not in known:
            near = meant(value, self.words) or meant(value.upper(), self.words)
            self.fail(f"{value!r}; {near}valid: {', '.join(self.words)}", param, ctx)
        return known[value.lower()]

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(word) for word in self.words if word.lower().startswith(incomplete.lower())]


class Setting(Kind):
    """A name with a value: without one, a filter would let everything through."""

    name = "setting"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not all(value.partition("=")):
            self.fail(f"{value!r}; write NAME=VALUE", param, ctx)
        return str(value)


class Place(Kind):
    """A path. Whether something is there is for the command to say."""

    name = "path"

    def __init__(self, kind: str) -> None:
        self._kind = kind  # what the shell completes: file or dir

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        return Path(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type=self._kind)]


class ProfileName(Kind):
    """A cluster profile: a name, or the path of a file."""

    name = "profile"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from hpc.slurm.profile_file import known_profiles

        return _starting(incomplete, known_profiles()) or [CompletionItem(incomplete, type="file")]


class CellName(Kind):
    """A cell of the sweep in the directory that the command line names."""

    name = "cell"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from hpc.errors import SweepError
        from hpc.storage.store import Store

        directory = ctx.params.get("directory") or next(iter(ctx.params.get("words") or ()), "out")
        try:
            return _starting(incomplete, [cell.name for cell in Store(Path(directory).absolute()).sweep().grid])
        except (SweepError, OSError):
            return []


class SweepWord(Kind):
    """The directory of a sweep, or a dotted setting."""

    name = "word"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type="dir")]


def _starting(incomplete: str, words: Sequence[str]) -> list[CompletionItem]:
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


COUNT = Whole(least=1)
FILE, DIRECTORY = Place("file"), Place("dir")


def option(*names: str, **settings: Any) -> Callable[[Function], Function]:
    """click's option with a section of --help, Options by default."""
    return click.option(*names, cls=Option, **settings)


def flag(*names: str, **settings: Any) -> Callable[[Function], Function]:
    return option(*names, is_flag=True, **settings)


def argument(name: str, **settings: Any) -> Callable[[Function], Function]:
    return click.argument(name, cls=Argument, **settings)


def together(*options: Callable[[Function], Function]) -> Callable[[Function], Function]:
    """Several options as one decorator, in this order."""

    def decorate(function: Function) -> Function:
        for add in reversed(options):
            function = add(function)
        return function

    return decorate


def handed_over(name: str, kind: Callable[..., Any]) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Hand the options that are named as the fields of a dataclass over as one value of it."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]

    def decorate(function: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(function)
        def called(**given: Any) -> int:
            value = kind(**{field: given.pop(field) for field in names})
            return function(**given, **{name: value})

        return called

    return decorate


directory = argument("directory", type=DIRECTORY, metavar="DIR", text="the sweep's directory")
as_json = flag("--json", "as_json", help="Print machine-readable output; the reference lists its fields.")
settings = option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Set a field of the profile for this call alone."
)
partial = flag("--partial", help="Exit with 0 although cells are missing or failed.")
take_over = flag("--take-over", help="Take the lock of a command that is gone for good.")
PROFILE_HELP = "sandbox, local, a name in slurm_templates/profiles, or a path."


packing = together(
    option("--pack", type=Pack(), metavar="N", help="Cells a task trains together, or auto after a pilot."),
    flag("--allow-code-change", help="Continue although the trainer's code has changed; the change is recorded."),
    flag("--include-failed", help="Also run cells that failed before."),
)


def _grid(*names: str, **settings: Any) -> Callable[[Function], Function]:
    return option(*names, section="Grid options", **settings)


_GRID = together(
    argument(
        "words",
        nargs=-1,
        type=SweepWord(),
        metavar="[DIR | key=value]...",
        text="an existing sweep to continue, or dotted settings",
    ),
    _grid("--config", type=FILE, metavar="FILE", help="YAML or JSON configuration."),
    _grid("--dims", metavar="8,12", help="Workspace dimensions."),
    _grid("--synergy-scales", metavar="0.1,1.0", help="Scales of the synergy loss."),
    _grid("--runs-per-condition", type=Whole(), metavar="N", help="Seeds 42 to 41+N; a larger N grows a sweep."),
    _grid("--axis", multiple=True, metavar="NAME=V1,V2", help="Values of any factor."),
    _grid("--experiment", metavar="NAME", help="Loss configuration, such as fusion_only."),
    _grid("--epochs", type=Whole(), metavar="N", help="Epochs per cell."),
    _grid("--batch-size", type=Whole(), metavar="N", help="Samples per step."),
    _grid("--output-dir", metavar="DIR", type=SweepWord(), help="The sweep's directory (default: out)."),
    _grid("--no-wandb", is_flag=True, help="Do not log to Weights & Biases."),
    flag("-y", "--yes", help="Confirm a very large grid."),
)


def sweep(function: Callable[..., int]) -> Callable[..., int]:
    """The options that describe a sweep, under the predecessor's names; the command gets them as ``asked``."""

    @functools.wraps(function)
    def called(
        words: tuple[str, ...], synergy_scales: str | None, axis: tuple[str, ...], yes: bool, **given: Any
    ) -> int:
        from hpc.config.command_line import CommandLine
        from hpc.launch.request import SweepOptions

        same = ("config", "dims", "runs_per_condition", "experiment", "epochs", "batch_size", "output_dir", "no_wandb")
        line = CommandLine(scales=synergy_scales, axes=axis, allow_huge=yes, **{name: given.pop(name) for name in same})
        return function(asked=SweepOptions.of(words, line), **given)

    return _GRID(called)
