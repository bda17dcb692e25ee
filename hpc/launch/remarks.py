"""What a command reports while it works."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """Progress and remarks go to stderr; answers go to stdout."""
    print(text, file=sys.stderr, flush=True)
