"""Trainers: find one, read what it declares without importing it, load it on the node, digest its data.

The declaration is read from literals at the top level of the trainer's module (see training/contract.py), so that
planning, submission and status load neither torch nor the user's code.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from hpc.cell import check_factor_name
from hpc.sweep import Trainer

PROJECT_ROOT = Path(__file__).resolve().parent.parent
_LITERALS = ("FACTORS", "METRICS", "PACK_MODE", "DATA_FILES")
_FACTOR_KEYS = {"kind", "minimum", "ordered", "field", "label", "slug", "log", "overrides"}
_METRIC_KEYS = {"kind", "better", "chance", "label"}
PACK_MODES = ("fused", "sequential")


class TrainerError(ValueError):
    """A trainer cannot be found or its declaration is wrong; the message is one line and names the fix."""


def read_declaration(target: str, search: Iterable[Path]) -> Trainer:
    """Find a trainer and read its literals. Nothing of it is executed.

    target: ``module:function`` or ``path/to/file.py:function``.
    search: directories for modules and relative files, in order.
    Raises TrainerError.
    """
    source, _, function = target.rpartition(":")
    if not source or not function.isidentifier():
        raise TrainerError(f"{target!r} does not name a trainer; write module:function or path/to/file.py:function")
    path = _find(source, list(search))
    tree = _parse(path)
    if not any(isinstance(node, ast.FunctionDef) and node.name == function for node in tree.body):
        raise TrainerError(f"{path.name} has no function {function!r}; give the trainer's name after the colon")
    literals = _literals(tree, path)
    for required in ("FACTORS", "METRICS"):
        if not isinstance(literals.get(required), dict):
            raise TrainerError(f"{path.name} does not declare {required}; add a literal dictionary at its top level")
    _check_factors(literals["FACTORS"], path.name)
    _check_entries(literals["METRICS"], _METRIC_KEYS, ("bounded", "positive", "real"), f"{path.name}: METRICS")
    mode = literals.get("PACK_MODE", "sequential")
    if mode not in PACK_MODES:
        raise TrainerError(f"{path.name}: PACK_MODE is {mode!r}; valid: {', '.join(PACK_MODES)}")
    name = f"{path.name}:{function}" if source.endswith(".py") else target
    data_files = tuple(literals.get("DATA_FILES", ["*"]))
    return Trainer(name, str(path), literals["FACTORS"], literals["METRICS"], mode, data_files)


def load_function(trainer: Trainer) -> Callable[..., None]:
    """Import the trainer's code and return its function. Raises whatever the module raises."""
    source, _, function = trainer.target.rpartition(":")
    module = _load_file(Path(trainer.path)) if source.endswith(".py") else importlib.import_module(source)
    return getattr(module, function)  # type: ignore[no-any-return]


def data_digest(directory: Path, patterns: Iterable[str]) -> str:
    """Digest of the content of a data directory's files that match the patterns, by name and bytes.

    Raises FileNotFoundError if no file matches.
    """
    names = sorted({path.relative_to(directory) for pattern in patterns for path in directory.glob(pattern)})
    total = hashlib.sha256()
    count = 0
    for name in names:
        path = directory / name
        if path.is_file():
            with path.open("rb") as file:
                total.update(f"{name.as_posix()} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
            count += 1
    if not count:
        raise FileNotFoundError(f"no file of {directory} matches {', '.join(patterns)}")
    return total.hexdigest()


def _find(source: str, search: list[Path]) -> Path:
    if source.endswith(".py"):
        candidates = [(base / source) for base in search]
    else:
        parts = source.split(".")
        candidates = [base.joinpath(*parts[:-1], f"{parts[-1]}.py") for base in search]
        candidates += [base.joinpath(*parts, "__init__.py") for base in search]
    for path in candidates:
        if path.is_file():
            return path.resolve()
    places = ", ".join(str(base) for base in search)
    raise TrainerError(f"trainer {source!r} was not found in {places}; give a path to a .py file or a module there")


def _parse(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_text(), filename=str(path))
    except SyntaxError as error:
        raise TrainerError(f"{path.name}:{error.lineno} is not valid Python: {error.msg}") from None


def _literals(tree: ast.Module, path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name in _LITERALS:
                pass
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value) if name in _LITERALS:
                pass
            case _:
                continue
        try:
            found[name] = ast.literal_eval(value)
        except ValueError:
            raise TrainerError(
                f"{path.name}:{node.lineno}: {name} is computed; write it as a literal, it is read without running code"
            ) from None
    return found


def _check_factors(factors: dict[str, Any], where: str) -> None:
    _check_entries(factors, _FACTOR_KEYS, ("integer", "real", "word"), f"{where}: FACTORS")
    for name, factor in factors.items():
        for text in (name, factor.get("field", name)):
            try:
                check_factor_name(text)
            except ValueError as error:
                raise TrainerError(f"{where}: FACTORS[{name!r}]: {text!r}: {error}") from None


def _check_entries(entries: dict[str, Any], keys: set[str], kinds: tuple[str, ...], where: str) -> None:
    for name, entry in entries.items():
        if not isinstance(entry, Mapping) or entry.get("kind") not in kinds:
            raise TrainerError(f"{where}[{name!r}] needs a 'kind': one of {', '.join(kinds)}")
        unknown = sorted(set(entry) - keys)
        if unknown:
            raise TrainerError(f"{where}[{name!r}] has unknown key {unknown[0]!r}; valid: {', '.join(sorted(keys))}")
        if "better" in keys and entry.get("better") not in ("higher", "lower"):
            raise TrainerError(f"{where}[{name!r}] needs 'better': higher or lower")


def _load_file(path: Path) -> ModuleType:
    # Under a name of its own, so that a user's file may be called like a module of ours; its neighbours stay
    # importable, as when Python runs a script.
    sys.path.insert(0, str(path.parent))
    name = f"_holdfast_trainer_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TrainerError(f"{path} cannot be loaded as a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
