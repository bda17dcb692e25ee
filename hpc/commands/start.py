"""init and completion."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from hpc import completion, init
from hpc.commands import DONE, say
from hpc.errors import ConfigError

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
    given = {field.name: getattr(arguments, field.name) for field in fields(init.Answers)}
    answers = replace(init.Answers(), **{name: value for name, value in given.items() if value is not None})
    if all(value is None for value in given.values()) and sys.stdin.isatty():
        answers = _ask(answers, input)
    written = init.write(arguments.directory, answers)
    for path in written:
        print(path)
    say(f"edit them, then: holdfast plan --config {written[0]}")
    return DONE


def _ask(answers: init.Answers, ask: Callable[[str], str]) -> init.Answers:
    """The answers, each asked for; an empty line keeps the default. Raises ConfigError for what is no number."""
    for name, question in _QUESTIONS.items():
        default: Any = getattr(answers, name)
        said = ask(f"{question} [{default}]: ").strip()
        if said:
            answers = replace(answers, **{name: _read(question, said, type(default))})
    return answers


def _read(question: str, said: str, kind: type) -> Any:
    try:
        return kind(said)
    except ValueError:
        raise ConfigError([f"{question}: {said!r} is no number; nothing was written"]) from None


def complete(arguments: argparse.Namespace) -> int:
    from hpc.cli import parser

    print(completion.script(parser(), arguments.shell), end="")
    return DONE
