"""Slurm's programs on this machine: which are installed, and a daemon started so that it outlives this command."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from hpc.slurm.commands import SlurmError, environment

# Debian and most sites keep the daemons out of a user's PATH.
_DAEMON_PATH = "/usr/local/sbin:/usr/sbin:/sbin"
_NEEDED_HERE = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scontrol", "scancel", "sinfo")


def installed() -> str | None:
    """None if a cluster can be started on this machine, else one line naming what is missing."""
    missing = [name for name in _NEEDED_HERE if find_program(name) is None]
    if not missing:
        return None
    return f"{', '.join(missing)} not found: `make slurm-install` installs Slurm (Debian package slurm-wlm)"


def find_program(name: str) -> str | None:
    """Path of a command or daemon, also outside PATH where daemons live; None if it is not there."""
    return shutil.which(name) or shutil.which(name, path=_DAEMON_PATH)


def slurm_version() -> tuple[int, int]:
    """Year and month of the Slurm release on this machine. Raises SlurmError if slurmctld does not say."""
    said = subprocess.run(
        [find_program("slurmctld") or "slurmctld", "-V"], capture_output=True, text=True, check=False
    ).stdout
    found = re.search(r"(\d+)\.(\d+)", said)
    if found is None:
        raise SlurmError(f"slurmctld -V shows no version, but {said.strip()!r}")
    return int(found[1]), int(found[2])


def addresses_missing() -> str | None:
    """None if Slurm's daemons can look up an address here, else one line that says what they lack.

    Slurm asks with AI_ADDRCONFIG, for which a machine whose only IPv4 address is 127.0.0.1 has no IPv4 at all.
    """
    try:
        socket.getaddrinfo("127.0.0.1", None, family=socket.AF_INET, flags=socket.AI_ADDRCONFIG)
    except socket.gaierror:
        return (
            "this machine has no IPv4 address besides 127.0.0.1, and Slurm's daemons do not start without one: "
            "connect it to a network, or as root `ip address add 127.0.0.2/8 dev lo`"
        )
    return None


def start_daemon(
    name: str, arguments: Sequence[str], directory: Path, conf: Path, log: Path, *, die_with_owner: bool = False
) -> int:
    """Starts a daemon in its own session, with `directory` as working directory, and returns its pid.

    log: file its standard output and error are appended to. die_with_owner: it gets TERM when the calling thread ends.
    Raises SlurmError if there is no such program.
    """
    program = find_program(name)
    if program is None:
        raise SlurmError(f"{name} not found: `make slurm-install` installs Slurm")
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    # env and setpriv replace themselves by the next program, so that the pid is the daemon's.
    launcher = ["env", f"--chdir={directory}", *(["setpriv", "--pdeathsig=TERM"] if die_with_owner else [])]
    # Not subprocess: its Popen object complains when it is dropped while the process lives on, as a daemon does.
    return os.posix_spawnp(
        "env", [*launcher, program, *arguments], environment(conf), file_actions=actions, setsid=True
    )
