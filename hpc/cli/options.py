"""Options and kinds of values that several commands share, with what a shell may complete for each."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from hpc.cli.command import Argument, Option
from hpc.cli.wrong_words import meant
from hpc.paths import expanded

if TYPE_CHECKING:
    Kind = click.ParamType[Any]
else:
    Kind = click.ParamType  # no generic type before click 8.5
Function = TypeVar("Function", bound=Callable[..., Any])


Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


class ReadValue(Kind):
    """What ``read`` makes of a text; it raises ValueError for one that needs the hint."""

    name = "value"

    def __init__(self, read: Callable[[str], Any], hint: str = "", complete: Complete | None = None) -> None:
        self._read, self._hint, self._complete = read, hint, complete

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self._read(value)
        except ValueError as error:
            self.fail(f"{str(value)!r}; {self._hint or error}", param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return self._complete(ctx, param, incomplete) if self._complete else []


class Word(ReadValue):
    """One of a few words, in upper or lower case."""

    def __init__(self, *words: str) -> None:
        super().__init__(str, complete=_of(*words))
        self.words = words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        known = {word.lower(): word for word in self.words}
        if value.lower() not in known:
            near = meant(value, self.words) or meant(value.upper(), self.words)
            self.fail(f"{value!r}; {near}valid: {', '.join(self.words)}", param, ctx)
        return known[value.lower()]


def _of(*words: str) -> Complete:
    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(word) for word in words if word.lower().startswith(incomplete.lower())]

    return complete


def _paths(kind: str) -> Complete:
    """Leave it to the shell. kind: file or dir."""
    return lambda ctx, param, incomplete: [CompletionItem(incomplete, type=kind)]


def _profiles(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from hpc.slurm.profile_file import known_profiles

    return _of(*known_profiles())(ctx, param, incomplete) or _paths("file")(ctx, param, incomplete)


def _cells(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Cells of the sweep in the directory that the command line names."""
    from hpc.errors import SweepError
    from hpc.storage.store import Store

    directory = ctx.params.get("directory") or next(iter(ctx.params.get("words") or ()), "out")
    try:
        names = [cell.name for cell in Store(Path(directory).absolute()).sweep().grid]
    except (SweepError, OSError):
        return []
    return _of(*names)(ctx, param, incomplete)


def _count(text: str | int) -> int:
    if not str(text).isdecimal() or int(text) < 1:
        raise ValueError
    return int(text)


def _pack(text: str) -> int | str:
    return text if text == "auto" else _count(text)


def _setting(text: str) -> str:
    """A name with a value: without one, a filter would let everything through."""
    if not all(text.partition("=")):
        raise ValueError
    return text


NUMBER = ReadValue(float, "give a number")
WHOLE = ReadValue(int, "give a whole number")
COUNT = ReadValue(_count, "give a whole number, 1 or more")
PACK = ReadValue(_pack, "give a whole number of cells, 1 or more, or auto", _of("auto"))
SETTING = ReadValue(_setting, "write NAME=VALUE")
PROFILE = ReadValue(str, complete=_profiles)
CELL = ReadValue(str, complete=_cells)
SWEEP = ReadValue(str, complete=_paths("dir"))  # a directory, or a dotted setting
# Whether something is there is for the command to say.
FILE, DIRECTORY = ReadValue(expanded, complete=_paths("file")), ReadValue(expanded, complete=_paths("dir"))


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
partial = flag("--partial", help="Exit with 0 even if cells are missing or failed.")
trust = flag("--trust", help="Allow running code that another user's sweep directory names.")
take_over = flag(
    "--take-over", help="Take over from a command or, if none is at work, a cluster that is gone for good."
)
PROFILE_HELP = "sandbox, local, a name in slurm_templates/profiles, or a path."


packing = together(
    option("--pack", type=PACK, metavar="N", help="Cells a task trains together, or auto after a pilot."),
    flag("--allow-code-change", help="Continue even if the trainer's code has changed; the change is recorded."),
    flag("--include-failed", help="Also run cells that failed before."),
)


def _grid(*names: str, **settings: Any) -> Callable[[Function], Function]:
    return option(*names, section="Grid options", **settings)


_GRID = together(
    argument(
        "words",
        nargs=-1,
        type=SWEEP,
        metavar="[DIR | key=value]...",
        text="an existing sweep to continue, or dotted settings",
    ),
    _grid("--config", type=FILE, metavar="FILE", help="YAML or JSON configuration."),
    _grid("--dims", metavar="8,12", help="Workspace dimensions."),
    _grid("--synergy-scales", metavar="0.1,1.0", help="Scales of the synergy loss."),
    _grid("--runs-per-condition", type=WHOLE, metavar="N", help="Seeds 42 to 41+N; a larger N grows a sweep."),
    _grid("--axis", multiple=True, metavar="NAME=V1,V2", help="Values of any factor; with DIR, values to add."),
    _grid(
        "--experiment-type",
        "--experiment",
        "experiment",
        metavar="NAME",
        help="Loss configuration, such as fusion_only.",
    ),
    _grid("--epochs", type=WHOLE, metavar="N", help="Epochs per cell."),
    _grid("--batch-size", type=WHOLE, metavar="N", help="Samples per step."),
    _grid("--output-dir", metavar="DIR", type=SWEEP, help="The sweep's directory (default: out)."),
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
