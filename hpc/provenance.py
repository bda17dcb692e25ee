"""Where a number came from: versions, code, host and job, recorded beside results and never part of them."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re

from hpc.processes import host

_VERSION = re.compile(r"^Version: *(\S+)", re.MULTILINE)
_PACKAGES = ("holdfast", "torch", "numpy", "scipy", "submitit")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter, as installed; nothing is imported."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = _version(importlib.metadata.distribution(name))
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _version(package: importlib.metadata.Distribution) -> str:
    """As `importlib.metadata.version` has it, which parses the whole description of a package for one line."""
    match = _VERSION.search(package.read_text("METADATA") or "")
    return match[1] if match else package.version


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
