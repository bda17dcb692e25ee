"""The command as a user has it: in a directory that holds nothing of the checkout."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
Holdfast = Callable[..., subprocess.CompletedProcess[str]]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "HOLDFAST_SANDBOX": "/nonexistent/sandbox"}
