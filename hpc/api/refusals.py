"""Faults in the words of Python: a command's option is a keyword there, and a call leaves nothing behind it."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from hpc.errors import ConfigError, SweepError, one_line
from hpc.files import opening
from hpc.slurm.commands import SlurmError

P = ParamSpec("P")
T = TypeVar("T")

_FLAGS = ("allow-code-change", "include-failed", "all-nodes", "take-over", "then-aggregate", "trust", "no-wandb")
_KEYWORDS = {
    **{f"--{flag}": f"{flag.replace('-', '_')}=True" for flag in _FLAGS},
    "-y": "yes=True",
    "--set": "profile_settings",
    "--axis": "axes",
    "--wait": "wait()",
    **{
        f"--{name}": name.replace("-", "_")
        for name in ("config", "output-dir", "runs-per-condition", "pack", "profile", "escalate")
    },
}
# What is quoted is a command to type, or a value; of a path, the option's name is a part.
_OPTIONS = "|".join(sorted(_KEYWORDS, key=len, reverse=True))
_WORDS = re.compile(rf"`[^`]*`|'[^']*'|(?<![\w/-])(?:{_OPTIONS})(?![\w-])")


def one_call(function: Callable[P, T]) -> Callable[P, T]:
    """A function for notebooks: what it refuses is said in its own words, in a traceback that ends where it was called.

    What it was told to guard is forgotten when it returns: see hpc.files.opening.
    """

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            with opening.for_one_call():
                return function(*args, **kwargs)
        except ConfigError as error:
            raise ConfigError([_said(fault, function.__name__) for fault in error.faults]) from None
        except (SweepError, SlurmError) as error:
            raise type(error)(_said(one_line(str(error)), function.__name__)) from None

    return called


def _said(text: str, name: str) -> str:
    text = re.sub(r"^command line:", f"{name}():", text)
    return _WORDS.sub(lambda found: _KEYWORDS.get(found[0], found[0]), text)
