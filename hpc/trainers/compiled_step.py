"""What a sweep requires of the built-in trainer's compiled step, read without loading anything of training."""

from __future__ import annotations

from hpc.checkout import BUILT_IN_TRAINER
from hpc.sweep.definition import Sweep


def required_precision(sweep: Sweep) -> str:
    """The precision in which the compiled step alone may train a sweep; empty if the step in torch may, too."""
    if sweep.trainer.target != BUILT_IN_TRAINER:
        return ""
    precision = str(sweep.options.get("precision", "fp32"))
    return precision if precision == "bf16" or sweep.options.get("kernel") == "native" else ""
