"""Where Holdfast keeps what belongs to a user rather than to a sweep: the sandbox, and what pilots measured."""

from __future__ import annotations

import os
from pathlib import Path


def user_state() -> Path:
    """holdfast/ in $XDG_STATE_HOME, else in ~/.local/state. It may not exist yet."""
    named = Path(os.environ.get("XDG_STATE_HOME", ""))
    # The XDG specification wants a relative path ignored: it would be another place in every working directory.
    return (named if named.is_absolute() else Path.home() / ".local" / "state") / "holdfast"
