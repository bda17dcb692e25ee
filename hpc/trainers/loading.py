"""The function that trains, loaded where it runs: on a node, or in a debug run."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from hpc.sweep.definition import Trainer
from hpc.trainers.source import TrainerError


def load_function(trainer: Trainer) -> Callable[..., None]:
    """Import the trainer's code and return its function. Raises whatever the module raises."""
    source, _, function = trainer.target.rpartition(":")
    if source.endswith(".py"):
        module = _load_file(Path(trainer.path))
    else:
        # At the end of the search path: on a node the snapshot comes first; in a debug run this is where planning found
        # the module.
        sys.path.append(str(_base_of_module(source, Path(trainer.path))))
        module = importlib.import_module(source)
    return getattr(module, function)  # type: ignore[no-any-return]


def _base_of_module(source: str, path: Path) -> Path:
    """The directory that ``import source`` must search."""
    depth = source.count(".") + (path.name == "__init__.py")
    return path.parents[depth]


def _load_file(path: Path) -> ModuleType:
    # Under a name of its own, so that a user's file may share the name of a module of Holdfast. Its neighbours can be
    # imported, as when Python runs a script.
    sys.path.insert(0, str(path.parent))
    name = f"_holdfast_trainer_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TrainerError(f"{path} cannot be loaded as a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
