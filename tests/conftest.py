"""What tests of several folders need: the command, and Slurm on this machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.command_line import Holdfast, environment
from helpers.here import lacking

from hpc.sandbox.programs import installed


@pytest.fixture(autouse=True)
def _search_path_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a trainer of a user's puts its folder first; a test's `training.py` there would hide ours from the next."""
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def holdfast(tmp_path: Path) -> Holdfast:
    """The command in an empty directory."""

    def call(*words: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hpc", *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=200)
        assert done.returncode == expect, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return call


@pytest.fixture(scope="session")
def slurm_here() -> None:
    """Slurm's daemons on this machine. A test that needs them is skipped without; under CI that is a failure."""
    if missing := installed():
        lacking(missing)
