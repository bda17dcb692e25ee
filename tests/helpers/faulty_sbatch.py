"""A program in sbatch's place that does something first, then what sbatch does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hpc.sandbox.programs import find_program


def sbatch_that(directory: Path, patch: pytest.MonkeyPatch, does: str) -> None:
    """Let every sbatch of this process and its children first run some lines of shell. $PPID is who called it.

    One that only asks what Slurm would say (`--test-only`) is left alone.
    """
    program = directory / "bin" / "sbatch"
    program.parent.mkdir(exist_ok=True)
    real = find_program("sbatch")
    asking = f'case " $* " in *" --test-only "*) exec {real} "$@";; esac'
    program.write_text(f'#!/bin/sh\n{asking}\n{does}\nexec {real} "$@"\n')
    program.chmod(0o755)
    patch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
