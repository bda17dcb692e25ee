"""holdfast init: Write a commented configuration and profile; without options it asks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from hpc.cli import options
from hpc.cli.command import Command
from hpc.launch.remarks import say
from hpc.starter import files as starter

EXAMPLES = (
    "init",
    "init --all-keys",
    "init lab --trainer mine.py:train --partition gpu --gpus 1 --mem-gb 16",
    "init --from 'python train.py --lr 0.1 --seed 0'",
)
_QUESTIONS = {
    "name": "name of the sweep",
    "trainer": "trainer, module:function or file.py:function (Enter: the built-in experiment)",
    "runs": "seeds per condition",
    "partition": "partition; `sinfo` lists them (Enter: the cluster's default)",
    "timeout_min": "time limit of a task in minutes",
    "gpus": "GPUs per task",
    "cpus": "CPUs per task",
    "mem_gb": "gigabytes of memory per task",
}


@click.command("init", cls=Command, examples=EXAMPLES)
@options.argument(
    "directory", type=options.DIRECTORY, required=False, default=Path(), metavar="[DIR]", text="where (default: here)"
)
@options.option("--name", metavar="NAME", help="Name of the sweep.")
@options.option("--trainer", metavar="T", help="module:function or file.py:function (default: built in).")
@options.option(
    "--from",
    "command_line",
    metavar="COMMAND",
    help="A command line that trains once, such as 'python train.py --lr 0.1'.",
)
@options.option("--runs", type=options.COUNT, metavar="N", help="Seeds per condition (default: 5).")
@options.option("--partition", metavar="P", help="Partition, as sinfo lists it (default: the cluster's own).")
@options.option("--timeout-min", type=options.COUNT, metavar="M", help="Time limit of a task (default: 240).")
@options.option("--gpus", type=options.WHOLE, metavar="N", help="GPUs per task (default: 0).")
@options.option("--cpus", type=options.COUNT, metavar="N", help="CPUs per task (default: 1).")
@options.option("--mem-gb", type=options.NUMBER, metavar="G", help="Gigabytes of memory per task (default: 4).")
@options.flag("--all-keys", help="Only print every key a configuration may have, with its default.")
def command(directory: Path, all_keys: bool, command_line: str | None, **answered: Any) -> int:
    """Write a commented configuration and profile. Without options it asks, if there is somebody to ask."""
    if all_keys:
        print(starter.ALL_KEYS.read_text(encoding="utf-8"), end="")
        return 0
    answered["command"] = command_line
    given = {name: value for name, value in answered.items() if value is not None}
    answers = replace(starter.Answers(), **given)
    if not given and sys.stdin.isatty():
        starter.refuse_to_overwrite(directory)  # before a person has answered eight questions
        answers = _ask(directory, answers, input)
    written = starter.write(directory, answers)
    for path in written:
        print(path)
    say(f"edit them, then: holdfast plan --config {written[0]}")
    return 0


def _ask(directory: Path, answers: starter.Answers, ask: Callable[[str], str]) -> starter.Answers:
    """The answers, each asked for until it can be one; an empty line keeps the default."""
    for name, question in _QUESTIONS.items():
        default: Any = getattr(answers, name)
        while said := _heard(ask, f"{question} [{default}]: "):
            try:
                given = replace(answers, **{name: type(default)(said)})
                fault = starter.fault(directory, given)
            except ValueError:
                fault = f"{said!r} is not a {'whole ' if isinstance(default, int) else ''}number"
            if not fault:
                answers = given
                break
            say(f"  {fault}")
    return answers


def _heard(ask: Callable[[str], str], question: str) -> str:
    """What is said, without spaces around it. The end of the input is as good as Ctrl-C: nothing is written."""
    try:
        return ask(question).strip()
    except EOFError:
        print()
        raise KeyboardInterrupt from None
