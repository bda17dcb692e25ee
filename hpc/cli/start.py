"""init and completion."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from hpc.cli import completion_script
from hpc.config import starter
from hpc.launch.remarks import say
from hpc.protocol import CommandExit

_QUESTIONS = {
    "name": "name of the sweep",
    "trainer": "trainer, module:function or file.py:function (Enter: the built-in experiment)",
    "runs": "seeds a condition",
    "partition": "partition; `sinfo` lists them (Enter: the cluster's default)",
    "timeout_min": "minutes a task may take",
    "gpus": "GPUs a task",
    "cpus": "CPUs a task",
    "mem_gb": "gigabytes of memory a task",
}


def start(arguments: argparse.Namespace) -> int:
    """init: write a configuration and a profile from options, or from answers on a terminal."""
    if arguments.all_keys:
        print(starter.ALL_KEYS.read_text(), end="")
        return CommandExit.DONE
    given = {field.name: getattr(arguments, field.name) for field in fields(starter.Answers)}
    answers = replace(starter.Answers(), **{name: value for name, value in given.items() if value is not None})
    if all(value is None for value in given.values()) and sys.stdin.isatty():
        starter.refuse_to_overwrite(arguments.directory)  # before a person has answered eight questions
        answers = _ask(arguments.directory, answers, input)
    written = starter.write(arguments.directory, answers)
    for path in written:
        print(path)
    say(f"edit them, then: holdfast plan --config {written[0]}")
    return CommandExit.DONE


def _ask(directory: Path, answers: starter.Answers, ask: Callable[[str], str]) -> starter.Answers:
    """The answers, each asked for until it can be one; an empty line keeps the default."""
    for name, question in _QUESTIONS.items():
        default: Any = getattr(answers, name)
        while said := _heard(ask, f"{question} [{default}]: "):
            try:
                given = replace(answers, **{name: type(default)(said)})
                fault = starter.fault(directory, given)
            except ValueError:
                fault = f"{said!r} is no {'whole ' if isinstance(default, int) else ''}number"
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


def complete(arguments: argparse.Namespace) -> int:
    from hpc.cli.options import parser

    print(completion_script.script(parser(), arguments.shell), end="")
    return CommandExit.DONE
