"""What a command inherits from whoever starts it, and must survive: a notebook's settings, a directory that is gone."""

from __future__ import annotations

import io
import os
import sys
import warnings

from hpc.protocol import for_tasks


def prepare() -> None:
    """Set what this command and the tasks that it starts need, whatever the environment says."""
    _open_streams()
    os.umask(os.umask(0o022) | 0o022)  # nothing we or a library writes is writable by others
    kept = for_tasks(os.environ)
    for name in os.environ.keys() - kept.keys():
        del os.environ[name]
    os.environ.update(kept)
    if os.environ.get("PYTHONWARNINGS"):
        # For the user's own code; a library of ours that warns, as any may after an upgrade, would end the command.
        warnings.resetwarnings()
        warnings.simplefilter("ignore")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a path may hold what the terminal's encoding lacks


def _open_streams() -> None:
    """What a caller has closed leads nowhere; otherwise the next file that is opened would take its place."""
    while (fd := os.open(os.devnull, os.O_RDWR)) < 3:
        os.set_inheritable(fd, True)
    os.close(fd)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - as long as the process
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115 - as long as the process


def gone() -> str:
    """The fault of a working directory that is not there any more; empty if it is."""
    try:
        os.getcwd()
    except OSError as error:
        return f"the working directory cannot be used any more ({error.strerror}): it was removed; cd to another one"
    return ""
