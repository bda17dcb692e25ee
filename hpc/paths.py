"""Paths as people write them, and directories that records name: is it this one, or one that this is a copy of?

~ and $NAME mean what they mean to a shell, also where no shell has read them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")

_PLACEHOLDER = re.compile(r"\{[A-Za-z_]\w*\}")
# What sbatch replaces in the names of files: %j by the job's id, and so on.
_PATTERN = re.compile(r"%[0-9]*[AabJjNnstuWx](?![A-Za-z0-9])")


def expanded(text: str | Path) -> Path:
    """A path with ~ and variables of the environment replaced.

    Raises ValueError, with what is wrong and the fix, where that cannot be done: a directory called `$SCRATCH` is
    nothing that anybody means. One that is there by that name is taken as it is.
    """
    text = str(text)
    try:
        replaced = _VARIABLE.sub(_value, text)
        if any(mark in replaced for mark in ("$(", "${", "`")):
            raise ValueError("only $NAME and ~ are replaced in a path; write it out")
        if found := _PLACEHOLDER.search(replaced):
            raise ValueError(f"{found[0]} is filled in only in trainer.command; write the path out")
        if found := _PATTERN.search(replaced):
            raise ValueError(f"{found[0]} means something in Slurm's own options alone; write the path out")
        return Path(replaced).expanduser()
    except RuntimeError:
        raise ValueError("this cannot be a path: nobody knows the home that its ~ stands for; write it out") from None
    except ValueError:
        if os.path.lexists(text):
            return Path(text)
        raise


def _value(found: re.Match[str]) -> str:
    value = os.environ.get(found[1] or found[2])
    if not value:
        raise ValueError(f"{found[0]} is {'not set' if value is None else 'empty'} here; set it, or write the path out")
    return value


def origin(root: Path) -> dict[str, Any]:
    """What a record says of the sweep directory that it is written in. Raises OSError."""
    known = os.stat(root)
    return {"root": str(root), "device": known.st_dev, "inode": known.st_ino}


def is_of(root: Path, record: Mapping[str, Any]) -> bool:
    """Whether a record was written in this very directory, by whatever path, or in it before it was moved.

    Records of earlier versions do not say; they count as written here. So do all where that cannot be told.
    """
    recorded, ours = record.get("root"), os.stat(root)
    # Whatever the recorded path leads to here: the machine that wrote it may call this directory so, and this machine
    # another one. Not by the device, too: a network file system has another number on every machine. In the rare case
    # that a copy has the original's inode number, its cells wait for the original's tasks, which stay uncancelled.
    if not recorded or ours.st_ino == record.get("inode"):
        return True
    try:
        if os.path.samefile(recorded, root):  # of one that was put back from an archive, only the path is the same
            return True
    except (OSError, ValueError):
        pass  # nothing is there, or nothing that can be seen from here
    # A mount over SFTP makes its inode numbers up, so the directory may be the very one, seen from another machine.
    return _is_fuse(ours.st_dev)


def _is_fuse(device: int) -> bool:
    """Whether a file system is one of a user's process (sshfs, bindfs), as far as this machine says."""
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return False
    return any(line.split()[2] == number and line.partition(" - ")[2].startswith("fuse") for line in mounts)
