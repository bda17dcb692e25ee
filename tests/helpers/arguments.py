"""The command lines of all processes, which every user of a machine can read."""

from __future__ import annotations

import os
from pathlib import Path


def command_lines() -> set[bytes]:
    found = set()
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                found.add(Path(f"/proc/{entry}/cmdline").read_bytes())
            except OSError:  # it has just ended
                continue
    return found
