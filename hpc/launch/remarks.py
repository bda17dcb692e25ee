"""What a command reports while it works, and what it asks the person at the terminal."""

from __future__ import annotations

import contextlib
import sys

from hpc.terminal import visible


def say(text: str) -> None:
    """Progress and remarks go to stderr; answers go to stdout."""
    print(visible(text), file=sys.stderr, flush=True)


def agreed(question: str) -> bool:
    """Whether the answer is yes. Ctrl-D is no answer."""
    with contextlib.suppress(EOFError):
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    return False
