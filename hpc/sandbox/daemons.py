"""A sandbox's daemons: each is started, waited for and ended; what they leave behind is ended too."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from pathlib import Path

from hpc.processes import Process, kill, start_time
from hpc.sandbox.conf import CONTROLLER, MUNGE, SandboxError
from hpc.sandbox.directory import daemons, read_state, wait_until, write_state
from hpc.sandbox.members import members
from hpc.sandbox.programs import start_daemon
from hpc.slurm.commands import Slurm, SlurmError

# A cluster is up in seconds; a machine busy with other work needs much longer.
_BOOT_TIMEOUT_S = 120.0
# slurmctld saves its state on TERM. After KILL a process may still be slow to go, in the middle of a read or write.
_TERM_TIMEOUT_S = 5.0
_KILL_TIMEOUT_S = 60.0


def start(directory: Path, name: str) -> None:
    """Starts one daemon and records it as this sandbox's."""
    conf = directory / "slurm.conf"
    log = directory / "log" / f"{name}.out"
    state = read_state(directory)
    pid = start_daemon(
        _program(name),
        _arguments(directory, name),
        directory,
        conf,
        log,
        die_with_owner=state["settings"]["die_with_owner"],
    )
    state["daemons"][name] = {"pid": pid, "start": start_time(pid) or 0}
    write_state(directory, state)
    socket_file = directory / "munge" / "socket"
    if name == MUNGE and not wait_until(socket_file.exists, _BOOT_TIMEOUT_S):
        raise SandboxError(f"{directory}: {_complaint(directory, name)}")


def _program(name: str) -> str:
    return name if name in (MUNGE, CONTROLLER) else "slurmd"


def _arguments(directory: Path, name: str) -> list[str]:
    conf = str(directory / "slurm.conf")
    if name == CONTROLLER:
        return ["-D", "-i", "-f", conf]
    if name != MUNGE:
        return ["-D", "-N", name, "-f", conf]
    files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    paths = [f"--{option}={directory}/munge/{file}" for option, file in files.items()]
    # --force: munged expects a socket that all users can reach; this one is out of reach on purpose.
    return ["--foreground", "--force", "--origin=127.0.0.1", *paths]


def wait_for(directory: Path, names: Sequence[str]) -> None:
    """Waits until these daemons take part in the cluster. Raises SandboxError if one has died or it takes too long."""
    slurm = Slurm(directory / "slurm.conf")

    def dead() -> list[str]:
        started = daemons(directory)
        return [name for name in names if not started[name].alive()]

    def ready() -> bool:
        try:
            return slurm.answers() and set(names) <= {CONTROLLER, MUNGE, *_nodes_in_service(slurm)}
        except SlurmError:  # on a busy machine it answers the one question in time and not the other
            return False

    if not wait_until(lambda: bool(dead()) or ready(), _BOOT_TIMEOUT_S) or dead():
        name = (dead() or [CONTROLLER])[0]
        raise SandboxError(f"{directory}: {_complaint(directory, name)}")


def _nodes_in_service(slurm: Slurm) -> set[str]:
    # sinfo marks a node that has not answered with a star.
    out = ("down", "unknown", "future")
    return {node.name for node in slurm.nodes() if not node.state.endswith("*") and node.state not in out}


def _complaint(directory: Path, name: str) -> str:
    """The last errors in a daemon's log: the last line is often general, and the one before it names the cause."""
    logs = (_log_lines(directory / "log" / f"{name}.{suffix}") for suffix in ("out", "log"))
    lines = next((lines for lines in logs if lines), ["no output"])
    troubles = [line for line in lines if re.search(r"fatal:|error:", line, re.IGNORECASE)]
    return f"{name} did not start: {'; '.join((troubles or lines)[-2:])} (logs in {directory / 'log'})"


def _log_lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines() if path.exists() else []


def end(name: str, daemon: Process, number: int) -> None:
    """Ends one daemon by a signal and waits until it is gone. Raises SandboxError if it does not end."""
    daemon.signal(number)
    if not wait_until(lambda: not daemon.alive(), _KILL_TIMEOUT_S):
        raise SandboxError(f"{name} (process {daemon.pid}) does not end")


def stop(directory: Path) -> None:
    """Ends all daemons, by TERM, then by KILL, and what is left of their jobs."""
    started = list(daemons(directory).values())
    for number, patience_s in ((signal.SIGTERM, _TERM_TIMEOUT_S), (signal.SIGKILL, _KILL_TIMEOUT_S)):
        for daemon in started:
            daemon.signal(number)
            daemon.signal(signal.SIGCONT)  # one that is paused would never see the TERM
        if wait_until(lambda: not any(daemon.alive() for daemon in started), patience_s):
            break
    _kill_members(directory)
    write_state(directory, {**read_state(directory), "daemons": {}})


def _kill_members(directory: Path) -> None:
    """Ends what the daemons have left behind: job steps, the jobs' processes and daemons that were not recorded."""

    def none_left() -> bool:
        for pid in members(directory):
            kill(pid, signal.SIGKILL)
        return not members(directory)

    if not wait_until(none_left, _KILL_TIMEOUT_S):
        raise SandboxError(f"{directory}: processes {sorted(members(directory))} do not end")
