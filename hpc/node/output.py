"""A pack attempt's log: all that its process says from a certain moment on."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
from pathlib import Path

from hpc.files import atomic, logs


def drop_empty(log: Path) -> None:
    """Remove the log of a trainer that said nothing: quotas count files."""
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(OSError):
        if log.stat().st_size == 0:
            atomic.remove(log)


def redirect_output(path: Path) -> None:
    """From here on, all output of this process, native libraries' too, goes to the pack's log."""
    sys.stdout.flush()
    sys.stderr.flush()
    fd = logs.open_log(path)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)
    faulthandler.enable()
