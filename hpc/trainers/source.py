"""A trainer's source: found by its name, parsed, never executed."""

from __future__ import annotations

import ast
import contextlib
import warnings
from pathlib import Path

from hpc.checkout import OUR_PACKAGES, PROJECT_ROOT
from hpc.files import limits, reading
from hpc.paths import expanded


class TrainerError(ValueError):
    """A trainer cannot be found, or its declaration is wrong; the message is one line and names the fix."""


def refuse_shadowed(source: str, tree: ast.Module, path: Path) -> None:
    """Raise TrainerError if a trainer is, or imports, a user's module that Holdfast's package of the same name hides.

    It would fail on the node, or worse, find another module than the user means.
    """
    if not source.endswith(".py") and _is_hidden(source):
        raise TrainerError(f"{path} is hidden by {_way_out(source)}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            # `from training import models` names a module; `from training.contract import Checkpoint` a class.
            inside = [] if "." in node.module else [f"{node.module}.{alias.name}" for alias in node.names]
            names = [node.module, *inside]
        else:
            continue
        for name in filter(_is_hidden, names):
            raise TrainerError(f"{path.name}:{node.lineno} imports {name}, which is hidden by {_way_out(name)}")


def _way_out(name: str) -> str:
    package = name.partition(".")[0]
    return (
        f"Holdfast's own package {package!r}; rename your package, "
        "or run it as a shell command: trainer: {command: ..., factors: ..., metrics: ...}"
    )


def _is_hidden(name: str) -> bool:
    """Whether a module has the name of one of Holdfast's packages and does not belong to it."""
    path = PROJECT_ROOT.joinpath(*name.split("."))
    return name.partition(".")[0] in OUR_PACKAGES and not path.is_dir() and not path.with_suffix(".py").is_file()


def find(source: str, search: list[Path]) -> Path:
    """The file of a trainer, named by its path or as a module, in the first place that has it. Raises TrainerError."""
    if source.endswith(".py"):
        try:
            candidates = [base / expanded(source) for base in search]
        except ValueError as error:
            raise TrainerError(f"trainer is {source!r}; {error}") from None
    else:
        parts = source.split(".")
        candidates = [base.joinpath(*parts[:-1], f"{parts[-1]}.py") for base in search]
        candidates += [base.joinpath(*parts, "__init__.py") for base in search]
    with contextlib.suppress(OSError):  # too long for a path
        for path in candidates:
            if path.is_file():
                return path.resolve()
    places = ", ".join(str(base) for base in search)
    if source.endswith(":"):
        raise TrainerError(f"trainer {source!r} has a colon too many; write {source.rstrip(':')}:FUNCTION")
    raise TrainerError(f"trainer {source!r} was not found in {places}; give a path to a .py file or a module there")


def parse(path: Path) -> ast.Module:
    """A Python file as a tree. Raises TrainerError naming the line, OSError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the user's code; Python repeats them where it runs
            return ast.parse(reading.read(path.resolve(), limits.SOURCE), filename=str(path))
    except SyntaxError as error:
        raise TrainerError(f"{path.name}:{error.lineno} is not valid Python: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise TrainerError(f"{path.name} is not valid Python: {error}") from None
