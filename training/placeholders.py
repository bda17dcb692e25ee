"""Placeholders in a command line: `{lr}` is a value, `${lr}` the shell's own, `{{lr}}` stands for `{lr}`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

_ESCAPED = re.compile(r"\{\{(.*?)\}\}")
_PLACEHOLDER = re.compile(r"(?<!\$)\{([A-Za-z_]\w*)\}")


def names_in(text: str) -> list[str]:
    """Names of the placeholders, in order."""
    return [str(name) for name in _PLACEHOLDER.findall(_ESCAPED.sub("", text))]


def filled(text: str, values: Mapping[str, str]) -> str:
    """A command with its placeholders replaced; values are quoted for the shell, but for `resume`, which is words."""
    parts, place = [], 0
    for escaped in _ESCAPED.finditer(text):
        parts += [_filled(text[place : escaped.start()], values), f"{{{escaped[1]}}}"]
        place = escaped.end()
    return "".join([*parts, _filled(text[place:], values)])


def _filled(text: str, values: Mapping[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        name = found[1]
        return values[name] if name == "resume" else shlex.quote(values[name]) if name in values else found[0]

    return _PLACEHOLDER.sub(value, text)
