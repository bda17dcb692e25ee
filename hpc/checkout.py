"""Where Holdfast's own code lies, and which top-level names are ours."""

from __future__ import annotations

import sys
from functools import cache
from importlib import util
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

PROJECT_ROOT = Path(__file__).resolve().parent.parent


# Top-level names that mean Holdfast's own code wherever a trainer is loaded.
OUR_PACKAGES = ("hpc", "training", "aggregate", "slurm_templates")

# The trainer that comes with Holdfast, as configurations name it.
BUILT_IN_TRAINER = "training.workspace:train"
# What starts a script as it is, named by nobody: the configuration has the script's command.
SCRIPT_TRAINER = "training.script:train"
# What starts a program that reports as the contract says; the configuration has its command, factors and metrics.
COMMAND_TRAINER = "training.command:train"


class _Ours:
    """Finds aggregate and training here, before Python looks for them along its search path."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [str(PROJECT_ROOT)]) if name in ("aggregate", "training") else None


def pin_packages() -> None:
    """Let our packages mean ours in this process, whatever else on the search path has their names."""
    if _Ours not in sys.meta_path:
        sys.meta_path.insert(0, _Ours)


@cache
def by_file(name: str) -> ModuleType:
    """A module of ours that imports nothing of ours, such as ``training.placeholders``, by its file.

    A notebook's process may have a user's own package `training`, which is not to be pushed aside there.
    """
    path = PROJECT_ROOT.joinpath(*name.split(".")).with_suffix(".py")
    spec = util.spec_from_file_location(f"holdfast.{name}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not there; install Holdfast again")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
