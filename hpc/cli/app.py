"""The command line: find the command, run it, print faults, return an exit code."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path

import click
from click.shell_completion import CompletionItem, shell_complete

from hpc import protocol
from hpc.checkout import pin_packages
from hpc.cli.command import Group, Option
from hpc.cli.endings import told
from hpc.cli.surroundings import prepare
from hpc.cli.wrong_words import one_line
from hpc.processes import ENDING, interrupted_by
from hpc.protocol import CommandExit
from hpc.terminal import escaped_output

# As --help lists them; a command that is not named here comes after these.
_ORDER = (
    *("plan", "run", "submit", "status", "show", "cancel", "redo", "aggregate", "compare"),
    *("data", "check", "wandb", "sandbox", "init", "completion"),
)
_log = logging.getLogger("hpc.cli")
COMPLETE = "_HOLDFAST_COMPLETE"  # set by the shell that asks for completions


class Commands(Group):
    """The commands, each in its own module of this folder: one is loaded when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_summaries())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _summaries():
            return None
        found: click.Command = import_module(f"hpc.cli.{cmd_name}").command
        return found

    def summary_of(self, ctx: click.Context, name: str) -> str:
        return _summaries()[name]

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names with summaries, without loading what they name."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [CompletionItem(name, help=text) for name, text in _summaries().items() if name.startswith(incomplete)]


@cache
def _summaries() -> dict[str, str]:
    """Name -> summary of each command, from the first lines of their modules: `holdfast NAME: summary`."""
    found: dict[str, str] = {}
    for path in Path(__file__).parent.glob("*.py"):
        with path.open(encoding="utf-8") as file:
            head = re.match(r'"""holdfast (\w+): (.*?)(""")?$', file.readline())
        if head and head[1] == path.stem:
            found[head[1]] = head[2]
    order = {name: place for place, name in enumerate(_ORDER)}
    return dict(sorted(found.items(), key=lambda entry: (order.get(entry[0], len(order)), entry[0])))


def _print_version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from importlib import metadata

    try:
        print(f"holdfast {metadata.version('holdfast')}")
    except metadata.PackageNotFoundError:
        print("holdfast (not installed)")
    ctx.exit()


holdfast = Commands(
    "holdfast",
    help="Multi-seed sweeps on Slurm: preempted, requeued, resumed bit for bit, and never lost.",
    params=[
        Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_print_version,
            help="Show the version and exit.",
        )
    ],
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit code; see the end of --help.

    A signal that asks it to end is what Ctrl-C is, until it has ended: a second one must not change its status.
    """
    pin_packages()
    prepare()
    with interrupted_by(*ENDING, then_ends=True), escaped_output():
        return _main(argv)


def _main(argv: Sequence[str] | None) -> int:
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("hpc").setLevel(logging.WARNING)
    os.environ.pop(protocol.LOG_LEVEL, None)
    if instruction := os.environ.get(COMPLETE):
        return shell_complete(holdfast, {}, "holdfast", COMPLETE, instruction)
    try:
        code = _run(sys.argv[1:] if argv is None else list(argv))
        sys.stdout.flush()
    except click.UsageError as error:
        print(one_line(error), file=sys.stderr)
        return CommandExit.CONFIGURATION
    except KeyboardInterrupt:
        return CommandExit.INTERRUPTED
    except BrokenPipeError:  # whoever read has read enough; Python would complain about what is left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CommandExit.DONE
    except Exception as error:
        if _log.isEnabledFor(logging.DEBUG):
            _log.exception("the command failed")
        reported = told(error)
        if reported is None:
            raise
        text, code = reported
        print(text, file=sys.stderr)
    return code


def _run(words: list[str]) -> int:
    try:
        with holdfast.make_context("holdfast", words) as context:
            return int(holdfast.invoke(context) or 0)
    except click.exceptions.Exit as left:  # after --help or --version
        return left.exit_code


if __name__ == "__main__":
    sys.exit(main())
