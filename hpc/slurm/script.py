"""A profile and a command -> a script for sbatch, from parameters that are already checked.

The names of a profile's parameters are submitit's, and submitit refuses those it does not know. The script is ours:
what submitit renders and queues is always a pickled function.
"""

from __future__ import annotations

import re
import shlex
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit

from hpc.errors import ConfigError, shown
from hpc.faults import Faults
from hpc.slurm.profile import Profile
from hpc.slurm.profile_keys import ProfileKeys

# A signal that comes before task.sh has its handlers would end the script, and nobody would requeue the task.
_EARLY_SIGNAL = "first=; trap 'first=USR2' USR2"
_UNBROKEN = re.compile(r"[^\x00-\x1f\x7f]*")
# submitit's names of what sbatch calls otherwise.
_SBATCH_NAMES = {"timeout_min": "time", "mem_gb": "mem"}


@dataclass(frozen=True)
class Job:
    """What a script says besides its profile.

    name: job name, our unique token. directory: where it runs. output: log file; ``%`` has sbatch's meaning.
    size: tasks of an array; None for a job that is no array. timeout_min: a limit in place of the profile's, minutes.
    alone: wait until no other job of this name is queued or running, so that a script can be submitted twice.
    """

    name: str
    directory: Path
    output: str
    size: int | None = None
    timeout_min: int | None = None
    alone: bool = False


def text(profile: Profile, job: Job, command: str, setup_apart: bool = False) -> str:
    """The whole script. command: its last line, which should begin with ``exec`` so that it gets Slurm's signals.

    setup_apart: leave the profile's setup to the command, in the variable ``holdfast_setup``, instead of running it.
    """
    options = sorted(_options(profile, job).items())
    lines = ["#!/bin/bash", "", "# Parameters", *(_directive(name, value) for name, value in options)]
    # A word, not a here-document: bash writes that to a file, and where /tmp is full the setup would be empty.
    setup = [f"holdfast_setup={shlex.quote(chr(10).join(profile.setup))}"] if setup_apart else profile.setup
    lines += ["", "# setup", _EARLY_SIGNAL, *setup, "", "# command", command]
    return "\n".join(lines) + "\n"


def check_values(profile: Profile) -> None:
    """Raise ConfigError for a parameter that the profile's allow-list refuses.

    The file's have been checked; since then others may have come, such as nodes to leave out, whose names are found in
    a sweep directory.
    """
    given = {**profile.parameters, "additional_parameters": dict(profile.additional)}
    Faults(f"profile {profile.name}").validate(given, ProfileKeys)


def _options(profile: Profile, job: Job) -> dict[str, Any]:
    """sbatch's options by name; ours win over the profile's, which have been checked not to name them."""
    check_values(profile)
    given = {_SBATCH_NAMES.get(name, name): value for name, value in profile.parameters.items()}
    if "mem" in given:
        given["mem"] = _memory(given["mem"])
    if job.timeout_min is not None:
        given["time"] = job.timeout_min
    _check(given)
    # Without a limit of its own a task has the partition's; submitit would give it 5 minutes.
    options = {"nodes": 1} | given | dict(profile.additional)
    ours = _our_options(profile, job)
    for name, value in ours.items():
        if not _UNBROKEN.fullmatch(str(value)):
            raise ConfigError([f"#SBATCH --{name} would be {shown(value)}; a script cannot hold control characters"])
    return {name.replace("_", "-"): value for name, value in options.items()} | ours


def _our_options(profile: Profile, job: Job) -> dict[str, Any]:
    options: dict[str, Any] = {
        "job-name": job.name,
        "chdir": str(job.directory),
        "output": job.output,  # and what goes to stderr, since --error is not given
        "open-mode": "append",  # a requeued task would otherwise empty the log of its earlier attempts
        # JobRequeue=0 is the default of some sites: an evicted job would then be gone.
        "requeue": True,
        # B: to the script alone, which passes the signal on. Without it, the script's children get the signal and the
        # script does not, so nobody requeues.
        "signal": f"B:USR2@{profile.signal_delay_s}",
    }
    if job.size is not None:
        # A limit of all tasks changes nothing; %N throttles this array alone.
        options["array"] = f"0-{job.size - 1}%{min(job.size, profile.array_parallelism or job.size)}"
    if job.alone:
        options["dependency"] = "singleton"  # tasks of one array do not wait for each other (seen with Slurm 22.05)
    return options


def _check(parameters: Mapping[str, Any]) -> None:
    """Raise ValueError for a parameter that submitit does not have."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice on parameters that the profile has already checked
        _Executor(folder=".").update_parameters(**parameters)


class _Executor(submitit.SlurmExecutor):
    """submitit's executor where nothing is started through it: srun need not be on this machine."""

    @classmethod
    def affinity(cls) -> int:
        return 2


def _memory(gigabytes: float) -> str:
    """sbatch takes whole numbers only."""
    whole = gigabytes == int(gigabytes)
    return f"{int(gigabytes)}GB" if whole else f"{int(gigabytes * 1024)}MB"


def _directive(name: str, value: Any) -> str:
    return f"#SBATCH --{name}" if value is True else f"#SBATCH --{name}={shlex.quote(str(value))}"
