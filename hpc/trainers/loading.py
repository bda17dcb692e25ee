"""The function that trains, loaded where it runs: on a node, or in a debug run."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType

from hpc import protocol
from hpc.checkout import OUR_PACKAGES, PROJECT_ROOT, SCRIPT_TRAINER
from hpc.sweep.definition import DeclaredTrainer
from hpc.trainers.imports import import_roots, own_name
from hpc.trainers.project import is_ours, module_base
from hpc.trainers.source import TrainerError

# Executes the file that protocol.TRAINER_FILE names, under its own name.
_STAND_IN = Path(__file__).parent / "stand_in" / "holdfast_trainer.py"


def load_function(trainer: DeclaredTrainer) -> Callable[..., None]:
    """Import the trainer's code and return its function. Raises whatever the module raises."""
    source, _, name = trainer.target.rpartition(":")
    path = Path(trainer.path)
    if trainer.target == SCRIPT_TRAINER:  # it is not imported, but started for each cell
        from training import script

        if is_ours(trainer):  # a command that starts no Python file
            return script.train
        return partial(script.train, script=path, search=import_roots(path.parent))
    if source.endswith(".py"):
        module = _load_file(path)
    else:
        # At the end of the search path: on a node the snapshot comes first; in a debug run this is where planning found
        # the module.
        base = module_base(trainer)
        sys.path.append(str(base))
        _extend_search(import_roots(base))
        module = importlib.import_module(source)
    if "torch" in sys.modules:  # whoever trains with it, on several threads
        from training.loop.device import find_vector_functions

        find_vector_functions()
    function: Callable[..., None] = getattr(module, name)
    return function


def _load_file(path: Path) -> ModuleType:
    """Import a file by its own name, so that processes which the trainer starts find its functions, too.

    Its neighbours can be imported, as when Python runs a script; and other code of its project.
    """
    if PROJECT_ROOT not in path.parents:  # in a snapshot ours come first: with them starts what the trainer spawns
        sys.path.insert(0, str(path.parent))
    _extend_search(import_roots(path.parent))
    name = own_name(path)
    if "." in name:  # it imports relatively, so it is part of a package
        return importlib.import_module(name)
    if name in OUR_PACKAGES or name in sys.modules:
        # It shares the name of a module of Holdfast or of a library. Processes that it starts find the one that stands
        # in for it: a file of ours, since what is made for a task alone stays behind when the task is killed.
        name = _STAND_IN.stem
        os.environ[protocol.TRAINER_FILE] = str(path)
        _extend_search([_STAND_IN.parent])
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TrainerError(f"{path} cannot be loaded as a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _extend_search(roots: Sequence[Path]) -> None:
    """Let a project's modules win over installed ones, not over Python's own, here and in what the trainer starts."""
    added = [str(root) for root in roots if str(root) not in sys.path]
    packages = (i for i, entry in enumerate(sys.path) if Path(entry).name in ("site-packages", "dist-packages"))
    place = next(packages, len(sys.path))
    sys.path[place:place] = added
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join([*filter(None, known), *map(str, roots)])
