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
from hpc.errors import OutdatedError, SweepError
from hpc.storage import files
from hpc.storage.store import Store
from hpc.sweep.definition import Trainer
from hpc.trainers.source import TrainerError, parse

_OUR_SUFFIXES = {".py", ".c", ".h", ".sh", ".sbatch", ".yaml", ".js", ".css", ".html"}
_USER_FOLDER = "user"
# In a snapshot: its files, as _listing gives them; its own digest is that of the code.
_MANIFEST = "manifest.txt"
# A trainer's neighbours travel with it; a folder with more is somebody's home, not a package.
_MOST_USER_FILES = 500


def code_digest(trainer: Trainer) -> str:
    """Digest of all code a task runs: ours and the trainer's with its neighbours, by name and content."""
    return hashlib.sha256(_listing(_sources(trainer)).encode()).hexdigest()


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
    return hashlib.sha256(_listing(sources.items()).encode()).hexdigest()


def snapshot(store: Store, trainer: Trainer) -> tuple[str, Path]:
    """Copy the code into the sweep directory, whole or not at all; the same code is copied once.

    A copy that is not any more what its digest says is put aside and made anew: never edited in place, for tasks may
    be running from it. Returns (digest, directory). Raises OSError.
    """
    digest = code_digest(trainer)
    target = store.paths.code_directory(digest)
    if target.is_dir():
        if not damage(target, digest):
            return digest, target
        os.rename(target, target.with_name(f"{target.name}.damaged-{files.new_token()}"))
    files.make_directory(target.parent)
    temporary = target.with_name(f".snapshot-{uuid.uuid4().hex}")
    try:
        files.make_directory(temporary)
        for name, path in _sources(trainer):
            destination = temporary / name
            files.make_directory(destination.parent)
            files.publish(destination, path.read_bytes())
        files.publish(temporary / _MANIFEST, _listing(_lying_in(temporary)).encode())
        os.rename(temporary, target)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        if not target.is_dir():  # another submission may have been first
            raise
    files.sync_directory(target.parent)
    return digest, target


def damage(code: Path, digest: str) -> str:
    """What of a snapshot is not as it was taken, in a few words; empty if all is. Reads all of it. Raises OSError."""
    found = _listing(_lying_in(code))
    if hashlib.sha256(found.encode()).hexdigest() == digest:
        return ""
    try:
        taken = (code / _MANIFEST).read_text()
    except OSError:
        taken = ""
    if hashlib.sha256(taken.encode()).hexdigest() != digest:
        return "files are missing or changed"
    now, then = (
        {name: sha for name, _, sha in (line.rpartition(" ") for line in text.splitlines())} for text in (found, taken)
    )
    missing, added = sorted(then.keys() - now.keys()), sorted(now.keys() - then.keys())
    changed = sorted(name for name in then.keys() & now.keys() if then[name] != now[name])
    parts = (("missing", missing), ("changed", changed), ("not of it", added))
    return "; ".join(f"{word}: {_few(names)}" for word, names in parts if names)


def check_snapshot(digest: str) -> None:
    """Raise OutdatedError unless the code that this process runs from is what was submitted. Raises OSError."""
    if found := damage(PROJECT_ROOT, digest):
        raise OutdatedError(f"{PROJECT_ROOT}: the code is not as it was submitted ({found}); submit again")


def user_code(trainer: Trainer) -> Trainer:
    """The trainer as this process should load it: from the snapshot this code itself runs in, if it does.

    A snapshot that lacks it is no reason to take the file it was copied from, which may have changed since.
    Raises OutdatedError.
    """
    if not (PROJECT_ROOT / _MANIFEST).is_file():
        return trainer
    path = Path(trainer.path)
    source = trainer.target.rpartition(":")[0]
    depth = 1 if source.endswith(".py") else source.count(".") + 1 + (path.name == "__init__.py")
    copies = [PROJECT_ROOT.joinpath(_USER_FOLDER, *path.parts[-depth:])]
    # Ours, wherever the checkout lay that it was taken from.
    copies += [PROJECT_ROOT.joinpath(*path.parts[i:]) for i, part in enumerate(path.parts) if part in OUR_PACKAGES]
    for copied in copies:
        if copied.is_file():
            return replace(trainer, path=str(copied))
    raise OutdatedError(f"{PROJECT_ROOT}: the code as submitted has no {path.name}; submit again")


def python_path(code: Path) -> str:
    """PYTHONPATH for tasks that run a snapshot."""
    return f"{code}{os.pathsep}{code / _USER_FOLDER}"


def _listing(sources: Iterable[tuple[str, Path]]) -> str:
    """Name and SHA-256 of every file, a line each, by name: what a digest of code is the digest of."""
    lines = (f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n" for name, path in sorted(sources))
    return "".join(lines)


def _by_name(listing: str) -> dict[str, str]:
    return {name: content for name, _, content in (line.rpartition(" ") for line in listing.splitlines())}


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _sources(trainer: Trainer) -> Iterator[tuple[str, Path]]:
    """(name in the snapshot, file) of all code."""
    yield from _ours(PROJECT_ROOT)
    for name, path in _user_sources(trainer):
        yield f"{_USER_FOLDER}/{name}", path


def _lying_in(code: Path) -> Iterator[tuple[str, Path]]:
    """(name, file) of all code in a snapshot, whatever lies there by now."""
    yield from _ours(code)
    for path in _python_files((code / _USER_FOLDER).rglob("*.py")):
        yield path.relative_to(code).as_posix(), path


def _ours(root: Path) -> Iterator[tuple[str, Path]]:
    for folder in OUR_PACKAGES:
        for path in (root / folder).rglob("*"):
            if path.suffix in _OUR_SUFFIXES and "__pycache__" not in path.parts:
                yield path.relative_to(root).as_posix(), path


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
            raise SweepError(f"{neighbours[name].parent}: {error}; fix it, the trainer imports it") from None
        for node in ast.walk(tree):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            waiting += [f"{module.partition('.')[0]}.py" for module in modules]
    return found
