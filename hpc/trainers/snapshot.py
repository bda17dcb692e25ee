"""The code that tasks run: a snapshot taken at submission, so that an edit afterwards changes nothing."""

from __future__ import annotations

import ast
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from hpc.checkout import OUR_PACKAGES, PROJECT_ROOT
from hpc.errors import SweepError
from hpc.storage import files
from hpc.storage.store import Store
from hpc.sweep.definition import Trainer
from hpc.trainers.source import TrainerError, parse

_OUR_SUFFIXES = {".py", ".c", ".h", ".sh", ".sbatch", ".yaml", ".js", ".css", ".html"}
_USER_FOLDER = "user"
# A trainer's neighbours travel with it; a folder with more is somebody's home, not a package.
_MOST_USER_FILES = 500


def code_digest(trainer: Trainer) -> str:
    """Digest of all code a task runs: ours and the trainer's with its neighbours, by name and content."""
    total = hashlib.sha256()
    for name, path in _sources(trainer):
        total.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def trainer_digest(trainer: Trainer) -> str:
    """Digest of the code that decides a cell's numbers.

    For the built-in trainer our training folder, for a file the file and the neighbours it imports, directly or not
    (a scratch script beside it does not count), for a module its package. Raises SweepError if that is no Python.
    """
    user = dict(_user_sources(trainer))
    if not user:
        sources = {name: path for name, path in _sources(trainer) if name.startswith("training/")}
    elif trainer.target.rpartition(":")[0].endswith(".py"):
        sources = _imported(Path(trainer.path), user)
    else:
        sources = user
    total = hashlib.sha256()
    for name, path in sorted(sources.items()):
        total.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def snapshot(store: Store, trainer: Trainer) -> tuple[str, Path]:
    """Copy the code into the sweep directory, whole or not at all; the same code is copied once.

    Returns (digest, directory). Raises OSError.
    """
    digest = code_digest(trainer)
    target = store.paths.code_directory(digest)
    if target.is_dir():
        return digest, target
    files.make_directory(target.parent)
    temporary = target.with_name(f".snapshot-{uuid.uuid4().hex}")
    try:
        files.make_directory(temporary)
        for name, path in _sources(trainer):
            destination = temporary / name
            files.make_directory(destination.parent)
            files.publish(destination, path.read_bytes())
        os.rename(temporary, target)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        if not target.is_dir():  # another submission may have been first
            raise
    files.sync_directory(target.parent)
    return digest, target


def user_code(trainer: Trainer) -> Trainer:
    """The trainer as this process should load it: from the snapshot this code itself runs in, if it does."""
    copied = PROJECT_ROOT / _USER_FOLDER / Path(trainer.path).name
    return replace(trainer, path=str(copied)) if copied.is_file() else trainer


def python_path(code: Path) -> str:
    """PYTHONPATH for tasks that run a snapshot."""
    return f"{code}{os.pathsep}{code / _USER_FOLDER}"


def _sources(trainer: Trainer) -> Iterator[tuple[str, Path]]:
    """(name in the snapshot, file) of all code, sorted."""
    found: dict[str, Path] = {}
    for folder in OUR_PACKAGES:
        for path in sorted((PROJECT_ROOT / folder).rglob("*")):
            if path.suffix in _OUR_SUFFIXES and "__pycache__" not in path.parts:
                found[path.relative_to(PROJECT_ROOT).as_posix()] = path
    for name, path in _user_sources(trainer):
        found[f"{_USER_FOLDER}/{name}"] = path
    yield from sorted(found.items())


def _user_sources(trainer: Trainer) -> Iterator[tuple[str, Path]]:
    path = Path(trainer.path)
    if PROJECT_ROOT in path.parents and path.relative_to(PROJECT_ROOT).parts[0] in OUR_PACKAGES:
        return
    source = trainer.target.rpartition(":")[0]
    base = path.parent
    if not source.endswith(".py"):
        for _ in range(source.count(".") + (path.name == "__init__.py")):
            base = base.parent
        top = base / source.partition(".")[0]
        neighbours = _python_files(top.rglob("*.py")) if top.is_dir() else [path]
    else:
        neighbours = _python_files(base.glob("*.py"))
    if len(neighbours) > _MOST_USER_FILES:
        neighbours = [path]
    for neighbour in neighbours:
        yield neighbour.relative_to(base).as_posix(), neighbour


def _python_files(found: Iterable[Path]) -> list[Path]:
    """Those that are files: an editor's lock is a link to nowhere."""
    return sorted(path for path in found if path.is_file())


def _imported(start: Path, neighbours: Mapping[str, Path]) -> dict[str, Path]:
    """A file and those of its neighbours that it imports, followed to the end. Raises SweepError for a faulty one."""
    found: dict[str, Path] = {}
    waiting = [start.name]
    while waiting:
        name = waiting.pop()
        if name in found or name not in neighbours:
            continue
        found[name] = neighbours[name]
        try:
            tree = parse(neighbours[name])
        except TrainerError as error:
            raise SweepError(f"{neighbours[name].parent}: {error}; mend it, the trainer imports it") from None
        for node in ast.walk(tree):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            waiting += [f"{module.partition('.')[0]}.py" for module in modules]
    return found
