"""A plan -> Slurm arrays through submitit, each queued once whatever happens to this process.

submitit checks the parameters, renders the script and calls sbatch; what the tasks run is our own command, so there is
no pickle per task and nothing of submitit on the nodes.
"""

from __future__ import annotations

import os
import re
import shlex
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit

from hpc import files
from hpc.code import snapshot
from hpc.plan import Plan
from hpc.profile import Profile, command_line
from hpc.slurm import Slurm, SlurmError, submission_environment
from hpc.store import Store
from hpc.submission import SLURM, Intent, begin, write_receipt
from hpc.sweep import Sweep

_LOOK_UPS = 3
_LOOK_UP_SECONDS = 2.0


@dataclass(frozen=True)
class Queued:
    """What a submission queued: job ids of its arrays in order, or scripts that were only written.

    refused: why Slurm took no more arrays than these, if it did not take all.
    """

    intent: Intent
    job_ids: tuple[str, ...] = ()
    scripts: tuple[Path, ...] = ()
    refused: str = ""


def submit(
    store: Store,
    sweep: Sweep,
    plan: Plan,
    profile: Profile,
    *,
    conf: Path | None = None,
    prepare_only: bool = False,
    on_array: Callable[[str], None] = lambda text: None,
) -> Queued:
    """Queue a plan's tasks. The caller holds the sweep's lock and has asked Slurm which cells are live.

    conf: slurm.conf of the cluster, None for the machine's own. prepare_only: write everything, queue nothing.
    Raises SlurmError if an array was not queued, or if it cannot be found out whether it was; the next submission
    looks it up by its name.
    """
    digest, code = snapshot(store, sweep.trainer)
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", sweep.name)
    intent = begin(store, plan.arrays(), kind=SLURM, profile=profile.name, name=name, code=digest, conf=conf)
    arrays = [_Array(store, intent, i, code, profile) for i in range(len(intent.tokens))]
    if prepare_only:
        return Queued(intent, scripts=tuple(array.write_script() for array in arrays))
    job_ids: list[str] = []
    for array in arrays:
        # One %N throttles one array only, so the arrays of a throttled submission run one after another.
        after = job_ids[-1] if job_ids and profile.array_parallelism else None
        try:
            job_ids.append(array.queue(conf, after))
        except SlurmError as error:
            if job_ids and _is_limit(error):
                return Queued(intent, tuple(job_ids), refused=str(error))
            raise
        write_receipt(store, intent, job_ids)
        on_array(f"array {array.token}: job {job_ids[-1]}, {array.size} tasks")
    return Queued(intent, tuple(job_ids))


# What sbatch says where a user, account or QOS has as many jobs as it may have.
_LIMITS = ("QOSMax", "AssocMax", "AssocGrp", "QOSGrp", "accounting/QOS policy", "temporarily unable to accept job")


def _is_limit(error: SlurmError) -> bool:
    return any(limit in str(error) for limit in _LIMITS)


@dataclass(frozen=True)
class _Array:
    """One array of a submission."""

    store: Store
    intent: Intent
    number: int
    code: Path
    profile: Profile

    @property
    def token(self) -> str:
        return self.intent.tokens[self.number]

    @property
    def size(self) -> int:
        return self.intent.sizes[self.number]

    @property
    def command(self) -> str:
        """The body of the script. Slurm signals the batch shell, so task.sh is read by that very shell."""
        task = self.code / "slurm_templates" / "task.sh"
        words = (".", str(task), str(self.code), str(self.store.root), str(self.intent.number))
        arguments = (str(self.number), self.profile.device, self.intent.code)
        return command_line((*words, *arguments, *self.profile.launcher))

    def queue(self, conf: Path | None, after: str | None) -> str:
        """Queue the array and return its job id. Raises SlurmError."""
        with submission_environment(conf):
            executor = self._executor(after)
            try:
                return str(executor._submit_command(self.command).job_id)
            except Exception as error:  # submitit wraps what sbatch said in errors of several kinds
                return self._look_up(conf, error)

    def write_script(self) -> Path:
        """Write the script for a person to submit with sbatch alone."""
        with submission_environment(None):
            text = self._executor(None)._make_submission_file_text(self.command, self.token)
        path = self.store.submission_directory(self.intent.number) / f"array-{self.number}.sbatch"
        files.publish(path, text.encode())
        return path

    def _look_up(self, conf: Path | None, error: Exception) -> str:
        """sbatch failed, but the array may have been queued: only its name tells. Raises SlurmError if it was not."""
        for _ in range(_LOOK_UPS):
            found = Slurm(conf).queue([self.token])
            if found:
                return found[0].job_id
            time.sleep(_LOOK_UP_SECONDS)
        said = [line for line in str(error).splitlines() if "sbatch: error" in line] or str(error).splitlines()[:1]
        reason = said[0].removeprefix("sbatch: error: ").strip() if said else type(error).__name__
        raise SlurmError(f"sbatch did not queue array {self.number} of submission {self.intent.number}: {reason}")

    def _executor(self, after: str | None) -> Any:
        folder = self.store.submission_directory(self.intent.number) / "submitit"
        files.make_directory(folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice on parameters that the profile has already checked
            executor = _Executor(folder=str(folder))
            executor.update_parameters(**executor._convert_parameters(self._parameters(after)))
        executor.parameters["map_count"] = self.size
        return executor

    def _parameters(self, after: str | None) -> dict[str, Any]:
        profile = self.profile
        output = str(self.store.logs_directory(self.intent.number) / f"{self.number}_%a.log").replace("%", "%%")
        additional = {key.replace("_", "-"): value for key, value in profile.additional.items()}
        additional |= {
            "output": output.replace("%%a.log", "%a.log"),
            "requeue": True,
            "signal": f"B:USR2@{profile.signal_delay_s}",
            "chdir": str(self.store.root),
        }
        parameters = dict(profile.parameters)
        if after is not None:
            parameters["dependency"] = f"afterany:{after}"
        return parameters | {
            "job_name": self.token,
            "setup": list(profile.setup),
            "use_srun": False,
            "stderr_to_stdout": True,
            "array_parallelism": profile.array_parallelism or self.size,
            "additional_parameters": additional,
        }


class _Executor(submitit.SlurmExecutor):
    """submitit's executor where only sbatch is called: srun need not be on this machine."""

    @classmethod
    def affinity(cls) -> int:
        return 2


def sbatch_line(scripts: Sequence[Path]) -> str:
    """What a person types to queue prepared scripts."""
    return " && ".join(f"sbatch {shlex.quote(os.fspath(path))}" for path in scripts)


def submit_aggregation(store: Store, queued: Queued, profile: Profile, conf: Path | None) -> str:
    """Queue a job that aggregates once all arrays have ended, however they ended. Returns its id. Raises SlurmError."""
    code = store.code_directory(queued.intent.code)
    log = store.logs_directory(queued.intent.number) / "aggregate.log"
    options = [f"--dependency=afterany:{':'.join(queued.job_ids)}", f"--output={log}", f"--chdir={store.root}"]
    for name in ("partition", "account", "qos"):
        if name in profile.parameters:
            options.append(f"--{name}={profile.parameters[name]}")
    script = code / "slurm_templates" / "aggregate.sbatch"
    return Slurm(conf).sbatch(script, options, [str(code), str(store.root), *profile.launcher])
