"""Whose processes a sandbox's are: those that have its directory, not those that have one of the same name."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.waiting import PATIENCE, wait_until

from hpc.sandbox.members import members


@contextlib.contextmanager
def job_of(directory: Path, *before: str) -> Iterator[int]:
    """The process of a job, as Slurm starts it for this sandbox; killed at the end."""
    variables = {"SLURM_CONF": str(directory / "slurm.conf"), "SLURM_JOB_ID": "1"}
    with subprocess.Popen([*before, "sleep", str(PATIENCE)], env=os.environ | variables) as process:
        try:
            wait_until(lambda: _name(process.pid) == "sleep", "the job's command")
            yield process.pid
        finally:
            process.kill()


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def test_a_job_that_knows_the_sandbox_by_its_directory_is_one_of_it(tmp_path: Path) -> None:
    with job_of(tmp_path) as pid:
        assert members(tmp_path) == {pid}
        assert members(tmp_path / "another") == set()


def test_it_is_also_found_when_the_directory_is_gone(tmp_path: Path) -> None:
    with job_of(tmp_path / "removed") as pid:
        assert members(tmp_path / "removed") == {pid}


def test_a_job_of_another_container_whose_sandbox_has_the_same_path_is_none_of_ours(tmp_path: Path) -> None:
    """Seen where two test runs met: one ended the jobs of the other, in a chroot with a /tmp of its own."""
    if not shutil.which("unshare") or subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("needs a mount namespace of its own: unshare, as root")
    ours, theirs = tmp_path / "sandbox", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    covered = ("unshare", "--mount", "sh", "-c", f'mount --bind "{theirs}" "{ours}" && exec "$@"', "sh")
    with job_of(ours, *covered):
        assert members(ours) == set()
