"""Other users of this machine. They need no entry in /etc/passwd: the kernel knows users by their numbers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.command_line import ROOT
from helpers.here import lacking
from helpers.waiting import PATIENCE

ALICE, BOB, GROUP = 61001, 61002, 61100


def need_other_users() -> None:
    """Skip where no process can be started as somebody else, or no file given away."""
    if "HOLDFAST_NFS" in os.environ:
        pytest.skip("what lets other users reach the tests' directories here, a server of NFS does not know")
    if os.geteuid() != 0:
        lacking("not root: no file can be given to another user")
    if shutil.which("setpriv") is None:
        lacking("no setpriv: no command can be run as another user")


def give(path: Path, user: int, group: int = GROUP) -> None:
    """Give a directory and all that lies in it to another user."""
    os.chown(path, user, group)
    for folder, folders, names in os.walk(path):
        for name in (*folders, *names):
            os.chown(Path(folder, name), user, group, follow_symlinks=False)


def share(path: Path, user: int) -> None:
    """Give a directory to a user, who made it for the group: setgid, writable by it, and so is what is made in it."""
    give(path, user)
    path.chmod(0o2770)
    for folder, folders, _ in os.walk(path):
        for name in folders:
            Path(folder, name).chmod(0o2770)


def becoming(user: int) -> list[str]:
    """What stands before a command that another user of the group is to run, with umask 007.

    The checkout and its Python may lie where only root can read, so reading is allowed everywhere; writing is not.
    """
    prefix = ["setpriv", f"--reuid={user}", f"--regid={GROUP}", "--clear-groups"]
    prefix += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return [*prefix, "sh", "-c", 'umask 007; exec "$@"', "sh"]


def run_as(user: int, home: Path, *words: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """A command of Holdfast as another user of the group."""
    home.mkdir(exist_ok=True)
    os.chown(home, user, GROUP)
    kept = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(home)}
    done = subprocess.run(
        [*becoming(user), sys.executable, "-P", "-m", "hpc", *words],
        cwd=home,
        env=kept,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == expect, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done
