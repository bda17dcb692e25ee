"""Other users of this machine. They need no entry in /etc/passwd: the kernel knows users by their numbers."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from helpers.command_line import ROOT
from helpers.here import lacking
from helpers.waiting import PATIENCE

ALICE, BOB, GROUP = 61001, 61002, 61100


def need_other_users() -> None:
    """Skip where no process can be started as somebody else, or no file given away."""
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


def run_as(user: int, home: Path, *words: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """A command as another user of the group, with umask 007.

    The checkout and its Python may lie where only root can read, so reading is allowed everywhere; writing is not.
    """
    home.mkdir(exist_ok=True)
    os.chown(home, user, GROUP)
    prefix = ["setpriv", f"--reuid={user}", f"--regid={GROUP}", "--clear-groups"]
    prefix += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    line = f"umask 007; exec {shlex.join([sys.executable, '-P', '-m', 'hpc', *words])}"
    kept = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(home)}
    done = subprocess.run(
        [*prefix, "sh", "-c", line],
        cwd=home,
        env=kept,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == expect, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done
