"""Compiling the training step for another instruction set than this machine's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.here import lacking
from training.steps import build
from training.steps.build import NoKernelError, load_kernel

# AVX2 without AVX-512, and AVX-512.
OTHER_SETS = ("x86-64-v3", "x86-64-v4")
_NEEDED = {"x86-64-v3": (" avx2 ", " fma "), "x86-64-v4": (" avx512f ", " avx512vl ")}


def use(march: str, monkeypatch: pytest.MonkeyPatch, precision: str = "fp32") -> None:
    """Compile for an instruction set, which this machine must have; "native" is its own."""
    if march != "native":
        flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
        if not all(flag in flags for flag in _NEEDED[march]):
            lacking(f"this processor cannot run what is compiled for {march}")
    monkeypatch.setenv(build.VARIABLE, march)
    try:
        load_kernel(precision)
    except NoKernelError as error:
        if precision == "fp32":
            raise
        pytest.skip(str(error))  # also under CI, whose processors differ: refusing is what is promised there
