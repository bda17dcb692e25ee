"""One small real job with a profile's resources: queued, waited for within bounds, and never left behind."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hpc import protocol
from hpc.files import atomic
from hpc.processes import wait_until
from hpc.slurm import script
from hpc.slurm.answers import QueuedTask
from hpc.slurm.commands import Slurm
from hpc.slurm.profile import Profile, command_line
from hpc.trainers.snapshot import python_path

# How long a cancelled job may keep writing: Slurm's default KillWait of 30 s, with a margin.
_CANCEL_SECONDS = 40.0
# The directory is looked at much more often than the controller is asked: that costs the cluster nothing.
_LOOK_SECONDS = 0.02


@dataclass(frozen=True)
class End:
    """How a job ended.

    started: it ran at all. state: Slurm's, "" if it has forgotten the job. reason: Slurm's, for a job that has not
    started. waited_s: seconds in the queue.
    """

    started: bool
    state: str
    reason: str
    node: str
    waited_s: float


def poll_seconds(quick: bool) -> float:
    """Seconds between two questions to the controller, which serves a whole cluster; a sandbox serves only this user.

    quick: it is a sandbox's.
    """
    return 0.1 if quick else 2.0


def write(profile: Profile, directory: Path, code: Path, modules: list[str], name: str, minutes: int) -> Path:
    """Write a script that runs modules of Holdfast one after another, each with the directory as its argument.

    minutes: time limit, unless the profile's is shorter. Raises OSError.
    """
    limit = min(minutes, int(profile.parameters.get("timeout_min", minutes)))
    job = script.Job(name, directory, str(directory / "log.txt").replace("%", "%%"), timeout_min=limit)
    # A container must see the directory; task.sh does the same for a task.
    binds = [f"APPTAINER_BINDPATH={directory}", f"SINGULARITY_BINDPATH={directory}"]
    device = f"{protocol.DEVICE}={profile.device}"
    words = ("env", f"PYTHONPATH={python_path(code)}", device, *binds, *profile.launcher, "-P", "-m")
    calls = [command_line((*words, module, str(directory))) for module in modules]
    path = directory / "check.sbatch"
    atomic.publish(path, script.text(profile, job, " &&\n".join(calls)).encode())
    return path


def run(
    slurm: Slurm,
    path: Path,
    name: str,
    *,
    start_s: float,
    end_s: float,
    poll: Callable[[], object],
    quick: bool = False,
) -> End:
    """Queue a script and wait until it has ended. poll: called while it runs; a true
    answer ends the pause before the next question to the controller. quick: the controller is a sandbox's.

    start_s: seconds it may wait in the queue. end_s: seconds it may run. A job that takes longer is cancelled, and so
    is one whose caller is interrupted. Raises SlurmError.
    """
    began = time.monotonic()
    pause = poll_seconds(quick)
    started: float | None = None
    seen: QueuedTask | None = None
    try:
        slurm.sbatch(path)
        while True:
            found = slurm.queue([name], finished=True)
            if not found or found[0].ended:
                seen = found[0] if found else seen
                waited = (started or time.monotonic()) - began
                return End(True, seen.state if found and seen else "", "", seen.node if seen else "", waited)
            seen = found[0]
            now = time.monotonic()
            if seen.waiting:
                if now - began > start_s:
                    return End(False, seen.state, seen.reason, "", now - began)
            else:
                started = started or now
                if now - started > end_s:
                    return End(True, seen.state, f"still running after {end_s:g} s", seen.node, started - began)
            wait_until(lambda: bool(poll()), pause, _LOOK_SECONDS)
    finally:
        _end(slurm, name, pause)


def _end(slurm: Slurm, name: str, pause: float) -> None:
    """Cancel what is left of a job and wait until it no longer writes, within bounds. Raises SlurmError."""
    until = time.monotonic() + _CANCEL_SECONDS
    while left := slurm.queue([name]):
        slurm.cancel(left)
        if time.monotonic() > until:
            return
        time.sleep(pause)


def printed(directory: Path) -> str:
    """What the job's shell and Python printed; empty if the log is not there."""
    log = directory / "log.txt"
    return log.read_text(errors="replace") if log.is_file() else ""
