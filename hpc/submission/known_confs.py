"""Which slurm.conf Slurm's commands may be pointed to: they load the plugins that it names, as whoever runs them.

A sweep directory names the one that it was submitted with, and a directory may come from anybody. So that name is used
only if it is one of the user's own: the one in the environment, the sandbox's, one that this user has submitted with
before, or one where a system keeps its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from hpc.files import atomic, directories, reading
from hpc.sandbox.directory import resolved
from hpc.slurm.commands import conf_in_use
from hpc.storage.permissions import owner_of
from hpc.user_state import user_state

_SYSTEM = tuple(
    Path(f"{folder}/slurm.conf") for folder in ("/etc/slurm", "/etc/slurm-llnl", "/usr/local/etc", "/opt/slurm/etc")
)


def is_known(conf: Path) -> bool:
    """Whether a slurm.conf is one of the user's own; see the module's text."""
    if conf in (conf_in_use(None), resolved(None) / "slurm.conf", *_SYSTEM):
        return True
    try:
        return (_file(conf).exists() or str(conf) in _former()) and not owner_of(conf)
    except OSError:
        return False


def remember(conf: Path) -> None:
    """Remember that this user submits with a slurm.conf; where that cannot be written, the environment must name it.

    Each has a file of its own: of two commands that add to one file at once, one would lose its entry.
    """
    with contextlib.suppress(OSError):
        if not (file := _file(conf)).exists():
            directories.make_directory(file.parent)
            atomic.publish(file, os.fsencode(conf) + b"\n")


def _former() -> list[str]:
    """Those that versions before remembered, all in one file."""
    try:
        found = reading.read_json(user_state() / "slurm_confs.json")
    except (OSError, ValueError):
        return []
    return found if isinstance(found, list) else []


def _file(conf: Path) -> Path:
    return user_state() / "slurm_confs" / hashlib.sha256(os.fsencode(conf)).hexdigest()
