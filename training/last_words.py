"""What a program said last before it failed, for the cause that people read first."""

from __future__ import annotations

import os
import stat

# Of what it said; the end of it is enough. And the longest line that is quoted.
_BYTES, _CHARACTERS = 65536, 200
_OURS = "note: "  # what training/script.py itself says meanwhile
_TRACEBACK = "Traceback (most recent call last):"


class LastWords:
    """Listens to what is written to this process's standard error, where that is a file, from now on."""

    def __init__(self) -> None:
        self._begun = _size()

    def __str__(self) -> str:
        """`: ` and the line that names the error, which need not be the last one; empty if there is none."""
        lines = [line for line in _tail(self._begun).splitlines() if line.strip() and not line.startswith(_OURS)]
        return f": {_short(_error(lines))}" if lines else ""


def _error(lines: list[str]) -> str:
    """The error of the last Python traceback, after which an output that was held back may come; else the last line."""
    begins = [number for number, line in enumerate(lines) if line.strip() == _TRACEBACK]
    after = lines[begins[-1] + 1 :] if begins else []
    return next((line for line in after if not line.startswith(" ")), lines[-1])


def _short(line: str) -> str:
    plain = " ".join("".join(letter if letter.isprintable() else " " for letter in line).split())
    return plain if len(plain) <= _CHARACTERS else f"{plain[:_CHARACTERS]}..."


def _size() -> int:
    found = os.fstat(2)
    return found.st_size if stat.S_ISREG(found.st_mode) else -1


def _tail(begun: int) -> str:
    if begun < 0 or _size() <= begun:
        return ""
    try:
        with open("/proc/self/fd/2", "rb") as file:  # the file itself, whatever it is called by now
            file.seek(max(begun, _size() - _BYTES))
            return file.read(_BYTES).decode(errors="replace")
    except OSError:
        return ""
