"""The errors that users see, and how their lines are worded: values, unknown keys, the nearest word.

Imports nothing of ours.
"""

from __future__ import annotations

import difflib
import math
import reprlib
from collections.abc import Iterable, Sequence


class ConfigError(Exception):
    """What is wrong with a configuration: one line per fault."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = [one_line(fault) for fault in faults]
        super().__init__("\n".join(self.faults))


def unknown_key(name: str, key: str, valid: Iterable[str], instead: str = "") -> str:
    """The fault for an unknown key, with the nearest valid one. instead: what to write for it, where that is known."""
    names = list(valid)
    if instead:
        return f"unknown key {name!r}; {instead}"
    if (before := key.partition(":")[0]) in names:
        return f"unknown key {name!r}. Write '{before}: ', with a plain space after the colon."
    near = nearest(key, names, likeness=0.5)
    hint = f" Did you mean '{near}'?" if near else ""
    return f"unknown key {name!r}.{hint} Valid: {', '.join(names)}."


def nearest(word: str, valid: Iterable[str], likeness: float = 0.6) -> str:
    """The valid word that is most like this one; empty if none is. likeness: minimum similarity, 0 to 1 (difflib)."""
    return next(iter(difflib.get_close_matches(word, list(valid), n=1, cutoff=likeness)), "")


def meant(word: str, valid: Iterable[str]) -> str:
    """The question that a typing error deserves, such as `did you mean width? `; empty if nothing valid is near."""
    near = nearest(word, valid)
    return f"did you mean {near}? " if near else ""


def one_line(text: str) -> str:
    """The text with line breaks and other control characters written out, so that a fault stays one line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)


def of_system(error: OSError) -> str:
    """An error of the operating system on one line: the file, where it is known, and the reason."""
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)


def shown(value: object) -> str:
    """A value as a fault shows it, cut to 60 characters and never written out in full before that."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    try:
        text = _SHORT.repr(value)
    except ValueError:  # a whole number of more digits than Python prints
        text = f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


# Long enough to recognise a value, short enough that a fault stays on one or two lines of a terminal.
_SHOWN = 60
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxlong, _SHORT.maxother = 3, _SHOWN, _SHOWN, _SHOWN
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxset = _SHORT.maxdict = 20


class SweepError(Exception):
    """A directory is not the sweep that was expected; the message is one line: path, what is wrong, fix."""


class BusyError(SweepError):
    """Another command, or a task, is at work in the sweep directory."""


class OutdatedError(SweepError):
    """A task was queued for other code or another configuration than it now finds; submitting again is the way out."""
