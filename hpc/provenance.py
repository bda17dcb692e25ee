"""Where a number came from: versions, code, host and job, recorded beside results and never part of them."""

from __future__ import annotations

import importlib.metadata
import os
import platform

from hpc.processes import host

_PACKAGES = ("holdfast", "torch", "numpy", "scipy", "submitit")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter, as installed; nothing is imported."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def job() -> dict[str, str]:
    """Slurm's labels of this job, for people: Slurm may reuse ids, so nothing depends on them."""
    names = {
        "SLURM_ARRAY_JOB_ID": "array_job_id",
        "SLURM_ARRAY_TASK_ID": "array_task_id",
        "SLURM_JOB_ID": "job_id",
        "SLURM_RESTART_COUNT": "restarts",
        "SLURMD_NODENAME": "node",
        "SLURM_JOB_PARTITION": "partition",
    }
    return {label: os.environ[name] for name, label in names.items() if name in os.environ}


def node() -> str:
    """The node's name as Slurm has it, else the host's."""
    return os.environ.get("SLURMD_NODENAME") or host()
