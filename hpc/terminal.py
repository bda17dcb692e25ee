"""Terminals that somebody watches, and rich's console for them. Elsewhere plain lines are printed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console


def watched(stream: TextIO) -> bool:
    """Whether a stream is a terminal that can draw a line again; TERM=dumb cannot."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def console(stream: TextIO) -> Console:
    """What draws there. It uses no colour if NO_COLOR is set, and takes text as it is."""
    from rich.console import Console

    return Console(file=stream, highlight=False, markup=False, emoji=False)
