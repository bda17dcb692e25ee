"""Holdfast from Python, for notebooks and scripts: `from holdfast import load, submit, status, wait`.

They stand above everything: `load` reads results and knows nothing of Slurm, the others do what commands do.

This is also the command `holdfast`, which finds its own packages, whatever else has their names on Python's path.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module, util
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aggregate.frames import Frames, load
    from hpc.api.calls import status, submit, wait
    from hpc.api.results import Submission, SweepStatus
    from hpc.errors import ConfigError, SweepError
    from hpc.slurm.commands import SlurmError

__all__ = [
    "ConfigError",
    "Frames",
    "SlurmError",
    "Submission",
    "SweepError",
    "SweepStatus",
    "load",
    "status",
    "submit",
    "wait",
]
# Where they are. None is loaded for a command, which starts faster without.
_PLACES = {
    **dict.fromkeys(("load", "Frames"), "aggregate.frames"),
    **dict.fromkeys(("submit", "status", "wait"), "hpc.api.calls"),
    **dict.fromkeys(("Submission", "SweepStatus"), "hpc.api.results"),
    **dict.fromkeys(("ConfigError", "SweepError"), "hpc.errors"),
    "SlurmError": "hpc.slurm.commands",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if "hpc" not in sys.modules:
        _find_hpc()
    _refuse_another("aggregate")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _refuse_another(package: str) -> None:
    """Raise ImportError where another module has the name of a package of ours: one process can have but one."""
    found = util.find_spec(package)
    ours = Path(__file__).resolve().parent / package / "__init__.py"
    if found is None or found.origin is None or Path(found.origin).resolve() != ours:
        place = found.origin or package if found else package
        raise ImportError(
            f"{place} has the name of a package of Holdfast; rename it, or start Python in another directory"
        )


def _find_hpc() -> None:
    package = Path(__file__).resolve().parent / "hpc"
    spec = util.spec_from_file_location("hpc", package / "__init__.py", submodule_search_locations=[str(package)])
    if spec is None or spec.loader is None:
        raise ImportError(f"{package} is not there; install Holdfast again")
    sys.modules["hpc"] = util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["hpc"])


def _packages_before_pythonpath() -> None:
    """A user's own click.py or yaml.py, on PYTHONPATH for other programs, is none of the packages that we mean."""
    with suppress(FileNotFoundError):  # the working directory is gone, as is said below
        given = {os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry}
        sys.path.sort(key=lambda entry: os.path.abspath(entry) in given)


def main() -> int:
    """Run one command. Returns its exit code."""
    _packages_before_pythonpath()
    _find_hpc()
    from hpc.cli.app import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())

if __name__ == "__mp_main__":  # a process that a trainer spawned in a debug run: see hpc.node.stop.load_in_spawned
    _find_hpc()
    from hpc.checkout import pin_packages
    from hpc.node.stop import follow_task

    pin_packages()
    follow_task()
