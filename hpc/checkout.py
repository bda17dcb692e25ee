"""Where Holdfast's own code lies, and which top-level names are ours."""

from __future__ import annotations

from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parent.parent


# Top-level names that mean Holdfast's own code wherever a trainer is loaded.
OUR_PACKAGES = ("hpc", "training", "aggregate", "slurm_templates")

# The trainer that comes with Holdfast, as configurations name it.
BUILT_IN_TRAINER = "training.workspace:train"
