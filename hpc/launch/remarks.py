"""What a command says while it works: to stderr, since stdout is for answers."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """Progress and remarks go to stderr; answers go to stdout."""
    print(text, file=sys.stderr, flush=True)
