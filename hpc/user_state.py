"""Where Holdfast keeps what belongs to a user rather than to a sweep: the sandbox, what pilots
measured, each slurm.conf that was submitted with, the code of sweeps that a group shares."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def user_state() -> Path:
    """holdfast/ in $XDG_STATE_HOME, else in ~/.local/state. It may not exist yet. Raises OSError without a home."""
    named = Path(os.environ.get("XDG_STATE_HOME", ""))
    # The XDG specification wants a relative path ignored: it would be another place in every working directory.
    if named.is_absolute():
        return named / "holdfast"
    try:
        return Path.home() / ".local" / "state" / "holdfast"
    except RuntimeError:  # a user id that only a container knows
        raise FileNotFoundError(errno.ENOENT, "no home directory is known for this user; export HOME", "~") from None
