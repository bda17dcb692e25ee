from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from from_outside import Holdfast, environment


@pytest.fixture
def holdfast(tmp_path: Path) -> Holdfast:
    def call(*words: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hpc", *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=200)
        assert done.returncode == expect, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return call
