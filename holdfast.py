"""The command `holdfast`: it finds its own packages, whatever else on Python's search path has their names."""

from __future__ import annotations

import sys
from importlib import util
from pathlib import Path


def main() -> int:
    """Run one command. Returns its exit code."""
    package = Path(__file__).resolve().parent / "hpc"
    spec = util.spec_from_file_location("hpc", package / "__init__.py", submodule_search_locations=[str(package)])
    if spec is None or spec.loader is None:
        raise ImportError(f"{package} is not there; install Holdfast again")
    sys.modules["hpc"] = util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["hpc"])
    from hpc.cli.app import main as run

    return run()
