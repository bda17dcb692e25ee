"""click's commands with what Holdfast adds: examples, sections of options, shortened options, `-v` everywhere."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from hpc import protocol
from hpc.cli.wrong_words import meant

EXIT_CODES = (
    "Exit codes: 0 done; 2 wrong configuration or arguments; 3 input, output or scheduler trouble; "
    "4 finished, but cells are missing, failed or in conflict, or all diverged; 130 interrupted."
)
WIDTH = 100


class Option(click.Option):
    """An option, and the section of --help that it belongs to."""

    def __init__(self, *given: Any, section: str = "Options", **settings: Any) -> None:
        super().__init__(*given, **settings)
        self.section = section


class Argument(click.Argument):
    """A word that is no option, and its line of --help."""

    def __init__(self, *given: Any, text: str = "", **settings: Any) -> None:
        super().__init__(*given, **settings)
        self.text = text


class _Helped(click.Command):
    """What a command and a group of commands have in common: `-v`, and a --help with sections, examples, exit codes."""

    def __init__(self, *given: Any, examples: Sequence[str] = (), **settings: Any) -> None:
        context = {"help_option_names": ["-h", "--help"], "max_content_width": WIDTH}
        super().__init__(*given, **settings | {"context_settings": context})
        self.examples = tuple(examples)
        self.params.append(_verbose())

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, list(_spelled_out(ctx, args)))
        except click.UsageError as error:
            error.ctx = error.ctx or ctx  # click does not always say where
            raise

    def summary(self) -> str:
        """The first sentence of its help."""
        return " ".join((self.help or "").split()).partition(". ")[0].rstrip(".") + "."

    def format_arguments(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write nothing: a section of format_options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if isinstance(parameter, Argument):
                sections.setdefault("Arguments", []).append((parameter.make_metavar(ctx), parameter.text))
            elif record := parameter.get_help_record(ctx):
                sections.setdefault(getattr(parameter, "section", "Options"), []).append(record)
        for title in sorted(sections, key=lambda title: (title != "Arguments", title == "Options")):
            with formatter.section(title):
                formatter.write_dl(sections[title])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.examples:
            formatter.write("\nExamples:\n" + "".join(f"  holdfast {example}\n" for example in self.examples))
        formatter.write("\n")
        formatter.write_text(EXIT_CODES)


class Command(_Helped):
    """A command that does something. Its options may be shortened, and words may stand between them."""

    allow_extra_args = True  # they are refused below, with a line that helps

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        left = super().parse_args(ctx, args)
        if left and not ctx.resilient_parsing:
            if any("--cell" in parameter.opts for parameter in self.params):
                ctx.fail(f"too many arguments: {' '.join(left)}; name a cell with --cell {left[0]}")
            ctx.fail(f"too many arguments: {' '.join(left)} (`{ctx.command_path} --help` shows what it takes)")
        return left


class Group(_Helped, click.Group):
    """A name with commands below it, such as `data`."""

    command_class = Command

    def __init__(self, *given: Any, **settings: Any) -> None:
        settings |= {"invoke_without_command": True, "callback": _name_one, "subcommand_metavar": "COMMAND ..."}
        super().__init__(*given, **settings)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the code, not of the alphabet."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        command = self.get_command(ctx, args[0])
        if command is None and not ctx.resilient_parsing:
            names = self.list_commands(ctx)
            ctx.fail(f"command is {args[0]!r}; {meant(args[0], names)}valid: {', '.join(names)}")
        return args[0], command, args[1:]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.summary_of(ctx, name)) for name in self.list_commands(ctx)])
        super().format_options(ctx, formatter)

    def summary_of(self, ctx: click.Context, name: str) -> str:
        command = self.get_command(ctx, name)
        return command.summary() if isinstance(command, _Helped) else ""


@click.pass_context
def _name_one(ctx: click.Context, /) -> None:
    if ctx.invoked_subcommand is None and isinstance(ctx.command, Group):
        names = ", ".join(ctx.command.list_commands(ctx))
        ctx.fail(f"name one of {names}; `{ctx.command_path} --help` shows what they do")


def _verbose() -> Option:
    return Option(
        ["-v", "--verbose"],
        is_flag=True,
        expose_value=False,
        callback=_log_everything,
        help="Log what Holdfast does, and what trainers log at any level; show the traceback of an error.",
    )


def _log_everything(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        logging.getLogger("hpc").setLevel(logging.DEBUG)  # ours alone: libraries log every font they look at
        os.environ[protocol.LOG_LEVEL] = "DEBUG"  # of the tasks that this command starts or queues


def _spelled_out(ctx: click.Context, words: Sequence[str]) -> Iterator[str]:
    """The words with shortened long options written out. Raises UsageError for an option that lacks its value."""
    options = {
        name: option
        for option in ctx.command.get_params(ctx)
        if isinstance(option, click.Option)
        for name in option.opts
    }
    left = iter(words)
    for word in left:
        name, equals, value = word.partition("=")
        name = _whole(name, options)
        yield name + equals + value
        if word == "--" or not (word.startswith("-") or ctx.allow_interspersed_args):
            break
        option = options.get(name)
        if option is not None and not option.is_flag and not equals:
            following = next(left, None)
            if following is None:
                break
            if (following in options or following.startswith("--")) and not ctx.resilient_parsing:
                raise click.BadOptionUsage(name, "", ctx)
            yield following
    yield from left


def _whole(name: str, options: Mapping[str, click.Option]) -> str:
    near = [option for option in options if option.startswith(name)]
    one = len({id(options[found]) for found in near}) == 1  # under two names, perhaps
    return near[0] if name.startswith("--") and name not in options and one and name != "--" else name
