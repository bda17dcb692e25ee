"""Placeholders in a command line: `{lr}` is a value, `${lr}` the shell's own, `{{lr}}` stands for `{lr}`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

# An escaped one, one to be filled in, and what begins or ends quotes.
_TOKEN = re.compile(r"""\{\{(.*?)\}\}|(?<!\$)\{([A-Za-z_]\w*)\}|\\["'\\]|["']""")


def names_in(text: str) -> list[str]:
    """Names of the placeholders, in order."""
    return [found[2] for found in _TOKEN.finditer(text) if found[2]]


def filled(text: str, values: Mapping[str, str]) -> str:
    """A command with its placeholders replaced; values are quoted for the shell, but for `resume`, which is words."""
    around = ""

    def part(found: re.Match[str]) -> str:
        nonlocal around
        token, escaped, name = found[0], found[1], found[2]
        if escaped is not None:
            return f"{{{escaped}}}"
        if name:
            value = values.get(name, token)
            return value if name == "resume" or name not in values else _quoted(value, around)
        mark = token[-1] if len(token) == 1 or around == "'" else ""  # a backslash does nothing in single quotes
        if mark in ("'", '"') and around in ("", mark):
            around = "" if around else mark
        return token

    return _TOKEN.sub(part, text)


def _quoted(value: str, around: str) -> str:
    """A value as the shell reads it back, outside of quotes or between those around it."""
    if around == "'":
        return value.replace("'", "'\\''")
    return re.sub(r'([\\"$`])', r"\\\1", value) if around else shlex.quote(value)
