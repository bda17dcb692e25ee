"""A sandbox's directory: where it may be, who may change it, and what is recorded there.

Running daemons are recorded in `sandbox.json` as process ids with start times, so that a later process with the same
id is never taken for one of them.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hpc import processes, protocol
from hpc.processes import Process, boot_id
from hpc.sandbox.conf import SandboxError
from hpc.user_state import user_state

_STATE_FILE = "sandbox.json"
_LOCK_FILE = "lock"
_POLL_S = 0.05
# Longer than any start or stop takes: whoever holds the lock is stuck.
_LOCK_TIMEOUT_S = 60.0
# slurmstepd binds a socket <directory>/spool/<node>/<node>_<job>.<step>; a socket's path has at most 107 bytes.
LONGEST_DIRECTORY = 107 - len("/spool/n99/n99_1234567.4294967291")
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_./+@:-]+")  # slurm.conf cannot quote other characters everywhere


def default_directory() -> Path:
    """$HOLDFAST_SANDBOX, else the one of this user."""
    chosen = os.environ.get(protocol.SANDBOX)
    return Path(chosen).absolute() if chosen else user_state() / "sandbox"


def resolved(directory: Path | None) -> Path:
    """The directory meant, by its real path: /proc names a process's working directory without symbolic links."""
    return (directory or default_directory()).resolve()


def prepared(directory: Path) -> Path:
    """Makes the directory, for its owner only: whoever can read it can run jobs as its owner."""
    remedy = "choose another one with HOLDFAST_SANDBOX"
    if not _PLAIN_PATH.fullmatch(str(directory)):
        raise SandboxError(f"{directory}: slurm.conf cannot hold such a path; {remedy}")
    if len(os.fsencode(directory)) > LONGEST_DIRECTORY:
        raise SandboxError(
            f"{directory}: longer than {LONGEST_DIRECTORY} bytes, which is too long for Slurm's sockets; {remedy}"
        )
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if directory.stat().st_uid != os.geteuid():
            raise SandboxError(f"{directory}: belongs to another user; {remedy}")
        if _is_foreign(directory):
            raise SandboxError(f"{directory}: neither empty nor a sandbox; {remedy}")
        directory.chmod(0o700)
    except OSError as error:
        raise SandboxError(f"{directory}: {error.strerror}; {remedy}") from error
    return directory


def _is_foreign(directory: Path) -> bool:
    entries = {entry.name for entry in directory.iterdir()}
    return bool(entries - {_LOCK_FILE}) and _STATE_FILE not in entries


@contextmanager
def lock(directory: Path) -> Iterator[None]:
    """Only one process at a time starts or stops daemons: two at once would lose track of some."""
    with (directory / _LOCK_FILE).open("w") as file:
        if not wait_until(lambda: _locked(file.fileno()), _LOCK_TIMEOUT_S):
            raise SandboxError(f"{directory}: another process has been starting or stopping this sandbox for a minute")
        yield


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_sandbox(directory: Path) -> bool:
    """Whether a sandbox has ever been started here."""
    return (directory / _STATE_FILE).exists()


def read_state(directory: Path) -> dict[str, Any]:
    """Boot, settings, ports and daemons of the sandbox here. Raises SandboxError if they cannot be read."""
    path = directory / _STATE_FILE
    try:
        state: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SandboxError(f"{path}: {error}; end its daemons by hand, then remove {directory}") from error
    if state["boot"] != boot_id():
        state["daemons"] = {}  # process ids from before a reboot mean nothing now
    return state


def write_state(directory: Path, state: Mapping[str, Any]) -> None:
    """Replaces what read_state returns, atomically."""
    path = directory / _STATE_FILE
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(state, indent=2) + "\n")
    temporary.replace(path)


def daemons(directory: Path) -> dict[str, Process]:
    """The daemons started last, by name, alive or not."""
    return {name: Process(**entry) for name, entry in read_state(directory)["daemons"].items()}


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Polls until the condition holds; False if it still does not after timeout_s seconds."""
    return processes.wait_until(condition, timeout_s, _POLL_S)
