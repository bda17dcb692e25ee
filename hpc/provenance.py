"""Where a number came from: versions, code, host and job, recorded beside results and never part of them."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from hpc.processes import host

_PACKAGES = ("holdfast", "torch", "numpy", "scipy", "submitit")
# git may have to read a whole checkout from a cold network file system; provenance is not worth a longer wait.
_GIT_SECONDS = 5
# Every revision of a sweep carries the patch; beyond this it is generated files rather than code.
_MOST_PATCH = 200_000


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter, as installed; nothing is imported."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_state(directory: Path) -> dict[str, Any] | None:
    """Commit of the checkout a directory lies in and what differs from it; None outside a checkout.

    The difference is kept as a patch up to 200 KB, and as its size beyond.
    """
    commit = _git(directory, "rev-parse", "HEAD")
    if commit is None:
        return None
    patch = _git(directory, "diff", "HEAD", "--", ".") or ""
    if not patch:
        return {"commit": commit, "modified": False}
    return {"commit": commit, "modified": True, "diff": patch if len(patch) <= _MOST_PATCH else f"{len(patch)} bytes"}


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


def _git(directory: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(directory), *arguments],
            capture_output=True,
            encoding="utf-8",
            errors="replace",  # a patch holds the bytes of users' files
            timeout=_GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
