"""The command `holdfast`: it finds its own packages, whatever else on Python's search path has their names."""

from __future__ import annotations

import sys
from importlib import util
from pathlib import Path


def _find_hpc() -> None:
    package = Path(__file__).resolve().parent / "hpc"
    spec = util.spec_from_file_location("hpc", package / "__init__.py", submodule_search_locations=[str(package)])
    if spec is None or spec.loader is None:
        raise ImportError(f"{package} is not there; install Holdfast again")
    sys.modules["hpc"] = util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["hpc"])


def main() -> int:
    """Run one command. Returns its exit code."""
    _find_hpc()
    from hpc.cli.app import main as run

    return run()


if __name__ == "__mp_main__":  # a process that a trainer spawned in a debug run: see hpc.node.stop.load_in_spawned
    _find_hpc()
    from hpc.checkout import pin_packages
    from hpc.node.stop import follow_task

    pin_packages()
    follow_task()
