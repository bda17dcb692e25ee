"""Triton's kernels on a CPU, by its interpreter: each operation of a kernel is one of numpy's."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from helpers.here import lacking

if importlib.util.find_spec("triton") is None:
    lacking("Triton is not installed")
if torch.cuda.is_available():
    pytest.skip("Triton compiles its kernels for the device here: see test_gpu.py", allow_module_level=True)
with pytest.MonkeyPatch.context() as patch:
    # Looked at when a kernel is defined.
    patch.setenv("TRITON_INTERPRET", "1")
    from training.steps import triton_adam

__all__ = ["triton_adam"]
