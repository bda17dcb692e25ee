"""argparse with faults of one line: what is wrong, what was probably meant, where the rest stands."""

from __future__ import annotations

import argparse
import difflib
import itertools
import re
import sys
from collections.abc import Iterable
from typing import Any, NoReturn

from hpc.cli.help_examples import EXAMPLES

_CONFIGURATION = 2
# Below this difflib calls cpu and gpu alike.
_LIKENESS = 0.7


class Parser(argparse.ArgumentParser):
    """A parser that says of a fault what it is, on one line, and the nearest valid word. Its subparsers do too."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        told = "debug logging, and tracebacks of errors"
        self.add_argument("-v", "--verbose", action="store_true", default=argparse.SUPPRESS, help=told)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As argparse's, but unknown options are faults here, and words may stand behind options."""
        words = sys.argv[1:] if args is None else list(args)
        for word in self._own(words):  # before argparse misses what stands after it
            if not any(option.startswith(word) for option in self._option_string_actions):
                self.error(self._unknown_option(word))
        found, left = super().parse_known_args(words, namespace)
        unknown = [word for word in left if word.startswith("-") and word != "--"]
        if unknown:
            self.error(self._unknown_option(unknown[0].partition("=")[0]))
        if left and hasattr(found, "words"):
            found.words += left  # words after options belong to the words before them
            left = []
        if left:
            self.error(f"too many arguments: {' '.join(left)} (`{self.prog} --help` says what it takes)")
        return found, left

    def _own(self, words: list[str]) -> list[str]:
        """The long options among the words that are for this parser: those before a subcommand, if it has any."""
        until = itertools.takewhile(lambda word: word != "--", words)
        if self._subparsers is not None:
            until = itertools.takewhile(lambda word: word.startswith("-"), until)
        return [word.partition("=")[0] for word in until if word.startswith("--")]

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            name = action.option_strings[-1] if action.option_strings else str(action.metavar or action.dest).lower()
            choices = [str(choice) for choice in action.choices]
            raise argparse.ArgumentError(
                None, f"{name} is {value!r}; {_meant(str(value), choices)}valid: {', '.join(choices)}"
            )

    def _unknown_option(self, word: str) -> str:
        options = [option for action in self._actions for option in action.option_strings]
        return f"unknown option {word}; {_meant(word, options)}`{self.prog} --help` lists the options"

    def error(self, message: str) -> NoReturn:
        """Leave with one line and exit code 2."""
        self.exit(_CONFIGURATION, f"{self.prog}: {self._reworded(message)}\n")

    def _reworded(self, message: str) -> str:
        """What argparse says, as the rest of Holdfast would say it."""
        missing = message.partition("the following arguments are required: ")[2]
        if missing and self._subparsers is not None:
            return f"name one of {', '.join(_below(self))}; `{self.prog} --help` says what they do"
        if missing:
            example = next(iter(EXAMPLES.get(self.prog.partition(" ")[2], ())), "--help")
            return f"{missing} {'are' if ', ' in missing else 'is'} missing; for example: holdfast {example}"
        message = re.sub(r"^argument (\S+): invalid int value: (.*)$", r"\1 is \2; give a whole number", message)
        message = re.sub(r"^argument (\S+): invalid float value: (.*)$", r"\1 is \2; give a number", message)
        message = re.sub(r"^argument (\S+): expected one argument$", r"\1 needs a value after it", message)
        return re.sub(r"^argument (\S+): ", r"\1 is ", message)


def _below(parser: argparse.ArgumentParser) -> list[str]:
    """Names of its subcommands."""
    found = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return [name for action in found for name in action.choices]


def _meant(word: str, valid: Iterable[str]) -> str:
    """The question that a typing error deserves; empty if nothing valid is near."""
    known = list(valid)
    near = difflib.get_close_matches(word, known, n=1, cutoff=_LIKENESS)
    if not near and word.startswith("--"):  # half of a long option, such as --out or --scales
        near = sorted((option for option in known if word.strip("-") in option), key=len)[:1]
    return f"did you mean {near[0]}? " if near else ""
