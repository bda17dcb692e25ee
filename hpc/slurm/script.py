"""A profile and a command -> a script for sbatch, rendered by submitit from parameters that are already checked."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit

from hpc.slurm.profile import Profile

# A signal that comes before task.sh has its handlers would end the script, and nobody would requeue the task.
_EARLY_SIGNAL = "first=; trap 'first=USR2' USR2"


@dataclass(frozen=True)
class Job:
    """What a script says besides its profile.

    name: job name, our unique token. directory: where it runs. output: log file; ``%`` has sbatch's meaning.
    scratch: a directory for submitit's own files. size: tasks of an array; None for a job that is no array.
    after: job id that must have ended before. timeout_min: a limit in place of the profile's, minutes.
    """

    name: str
    directory: Path
    output: str
    scratch: Path
    size: int | None = None
    after: str | None = None
    timeout_min: int | None = None


def executor(profile: Profile, job: Job) -> Any:
    """submitit's executor with everything set; ``_submit_command(command)`` queues."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice on parameters that the profile has already checked
        made = _Executor(folder=str(job.scratch))
        made.update_parameters(**made._convert_parameters(_parameters(profile, job)))
    if job.size is not None:
        made.parameters["map_count"] = job.size
    return made


def text(profile: Profile, job: Job, command: str) -> str:
    """The whole script. command: its last line, which should begin with ``exec`` so that it gets Slurm's signals."""
    return str(executor(profile, job)._make_submission_file_text(command, job.name))


def _parameters(profile: Profile, job: Job) -> dict[str, Any]:
    additional = {key.replace("_", "-"): value for key, value in profile.additional.items()}
    additional |= {
        "output": job.output,
        "requeue": True,
        "signal": f"B:USR2@{profile.signal_delay_s}",
        "chdir": str(job.directory),
    }
    parameters = dict(profile.parameters)
    if job.after is not None:
        parameters["dependency"] = f"afterany:{job.after}"
    if job.timeout_min is not None:
        parameters["timeout_min"] = job.timeout_min
    return parameters | {
        "job_name": job.name,
        "setup": [_EARLY_SIGNAL, *profile.setup],
        "use_srun": False,
        "stderr_to_stdout": True,
        "array_parallelism": profile.array_parallelism or job.size or 1,
        "additional_parameters": additional,
    }


class _Executor(submitit.SlurmExecutor):
    """submitit's executor where only sbatch is called: srun need not be on this machine."""

    @classmethod
    def affinity(cls) -> int:
        return 2
