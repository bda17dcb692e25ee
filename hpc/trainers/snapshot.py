"""The code that tasks run: a snapshot taken at submission, so that an edit afterwards changes nothing."""

from __future__ import annotations

import hashlib
import os
import stat
import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from hpc.checkout import OUR_PACKAGES, PROJECT_ROOT
from hpc.errors import OutdatedError
from hpc.files import atomic, directories
from hpc.storage.store import Store
from hpc.sweep.definition import DeclaredTrainer
from hpc.trainers.project import Project, deciding, is_ours, project
from hpc.units import first_few

_OUR_SUFFIXES = {".py", ".c", ".h", ".sh", ".sbatch", ".yaml", ".js", ".css", ".html", ".LICENSE"}
_USER_FOLDER = "user"
# In a snapshot: its files, as _listing gives them; its own digest is that of the code.
_MANIFEST = "manifest.txt"
# Nothing in a snapshot is writable by others, or runs as somebody else.
_MOST_PERMISSIONS = 0o755
_COPIES_AT_ONCE = 8
_NAMED = 3


def code_digest(trainer: DeclaredTrainer) -> str:
    """Digest of all code a task runs: ours and the trainer's with what lies beside it, by name and content."""
    return hashlib.sha256(_listing(_sources(trainer)).encode()).hexdigest()


def trainer_digest(trainer: DeclaredTrainer, code: Path | None = None) -> str:
    """Digest of the code that decides a cell's numbers; the same in a snapshot as where that was taken from.

    For the built-in trainer our training folder, for another one what it imports and reads (a scratch script beside it
    does not count). code: of a snapshot; None: of what lies there now. Raises SweepError if that is no Python.
    """
    if is_ours(trainer):
        found = {name: path for name, path in _ours(code or PROJECT_ROOT) if name.startswith("training/")}
    else:
        found = deciding(user_code(trainer, code) if code else trainer)
    return hashlib.sha256(_listing(found.items()).encode()).hexdigest()


def extent(found: Project) -> tuple[int, int]:
    """(entries, bytes) of a snapshot with these files of the user's."""
    sources = [*_ours(PROJECT_ROOT), *((f"{_USER_FOLDER}/{name}", path) for name, path in found.files.items())]
    folders = {folder for name, _ in sources for folder in Path(name).parents}
    size = sum(path.stat().st_size for _, path in sources)
    return len(sources) + len(folders) + 1, size + 4096 * len(folders)


def snapshot(store: Store, trainer: DeclaredTrainer) -> tuple[str, Path]:
    """Copy the code into the sweep directory, whole or not at all; the same code is copied once.

    A copy that is not any more what its digest says is put aside and made anew: never edited in place, for tasks may
    be running from it. Returns (digest, directory). Raises OSError.
    """
    digest = code_digest(trainer)
    target = store.paths.code_directory(digest)
    if target.is_dir():
        if not damage(target, digest):
            return digest, target
        directories.rename_directory(target, target.with_name(f"{target.name}.damaged-{atomic.new_token()}"))
    directories.make_directory(target.parent)
    temporary = target.with_name(f".snapshot-{uuid.uuid4().hex}")
    try:
        directories.make_directory(temporary)
        mode = stat.S_IMODE(temporary.stat().st_mode)
        os.chmod(temporary, 0o700)  # nobody looks in before every file has its permissions
        sources = dict(_sources(trainer))
        _copy(sources, temporary)
        listing = _listing((name, temporary / name) for name in sources)
        digest = hashlib.sha256(listing.encode()).hexdigest()  # a file may have changed since the first look
        target = store.paths.code_directory(digest)
        atomic.publish(temporary / _MANIFEST, listing.encode())
        os.chmod(temporary, mode)
        directories.sync_directory(temporary)
        directories.rename_directory(temporary, target)
    except OSError:
        directories.remove_tree(temporary)
        if not target.is_dir():  # another submission may have been first
            raise
    directories.sync_directory(target.parent)
    return digest, target


def _copy(sources: Mapping[str, Path], copy: Path) -> None:
    """With their permissions: a script stays executable, and what only its owner may read stays so."""

    def copy_file(name: str) -> None:
        source = sources[name]
        atomic.write_private(copy / name, source.read_bytes(), source.stat().st_mode & _MOST_PERMISSIONS)

    folders = sorted({copy / folder for name in sources for folder in Path(name).parents})
    for folder in folders[1:]:  # the first is the copy itself, and each comes after the one that it lies in
        directories.mkdir(folder)
    with ThreadPoolExecutor(_COPIES_AT_ONCE) as pool:  # a disk confirms many files in hardly more time than one
        list(pool.map(copy_file, sources))
        _keep_folder_modes(sources, copy)
        list(pool.map(directories.sync_directory, folders))


def _keep_folder_modes(sources: Mapping[str, Path], copy: Path) -> None:
    """Folders of the user's code that only their owner may enter stay so."""
    for name, source in sources.items():
        inside = Path(name).parts[1:-1] if name.startswith(f"{_USER_FOLDER}/") else ()
        for folder, copied in zip(source.parents[: len(inside)], (copy / name).parents, strict=False):
            os.chmod(copied, folder.stat().st_mode & _MOST_PERMISSIONS | 0o700)


def damage(code: Path, digest: str) -> str:
    """What of a snapshot is not as it was taken, in a few words; empty if all is. Reads all of it. Raises OSError."""
    try:
        taken = (code / _MANIFEST).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        taken = ""
    found = _listing(_lying_in(code, _by_name(taken)))
    if hashlib.sha256(found.encode()).hexdigest() == digest:
        return ""
    if hashlib.sha256(taken.encode()).hexdigest() != digest:
        return "files are missing or changed"
    now, then = _by_name(found), _by_name(taken)
    missing, added = sorted(then.keys() - now.keys()), sorted(now.keys() - then.keys())
    changed = sorted(name for name in then.keys() & now.keys() if then[name] != now[name])
    parts = (("missing", missing), ("changed", changed), ("not of it", added))
    return "; ".join(f"{word}: {first_few(names, _NAMED)}" for word, names in parts if names)


def check_snapshot(digest: str) -> None:
    """Raise OutdatedError unless the code that this process runs from is what was submitted. Raises OSError."""
    if found := damage(PROJECT_ROOT, digest):
        raise OutdatedError(f"{PROJECT_ROOT}: the code is not as it was submitted ({found}); submit again")


def user_code(trainer: DeclaredTrainer, root: Path = PROJECT_ROOT) -> DeclaredTrainer:
    """The trainer as this process should load it: from the snapshot this code itself runs in, if it does.

    A snapshot that lacks it is no reason to take the file it was copied from, which may have changed since.
    root: of another snapshot. Raises OutdatedError.
    """
    if not (root / _MANIFEST).is_file():
        return trainer
    path = Path(trainer.path)
    # How much of the path above the trainer was taken along is not recorded: the longest name that is there.
    inside = ".." not in path.parts  # what sweep.json says may have been changed; all that runs lies in the snapshot
    copies = [root.joinpath(_USER_FOLDER, *path.parts[i:]) for i in range(1, len(path.parts))]
    # Ours, wherever the checkout lay that it was taken from.
    copies += [root.joinpath(*path.parts[i:]) for i, part in enumerate(path.parts) if part in OUR_PACKAGES]
    for copied in copies:
        if inside and copied.is_file():
            return replace(trainer, path=str(copied))
    raise OutdatedError(f"{root}: the code as submitted has no {path.name}; submit again")


def python_path(code: Path) -> str:
    """PYTHONPATH for tasks that run a snapshot."""
    return f"{code}{os.pathsep}{code / _USER_FOLDER}"


def _listing(sources: Iterable[tuple[str, Path]]) -> str:
    """Name and SHA-256 of every file, a line each, by name: what a digest of code is the digest of."""
    lines = (f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n" for name, path in sorted(sources))
    return "".join(lines)


def _by_name(listing: str) -> dict[str, str]:
    return {name: content for name, _, content in (line.rpartition(" ") for line in listing.splitlines())}


def _sources(trainer: DeclaredTrainer) -> Iterator[tuple[str, Path]]:
    """(name in the snapshot, file) of all code."""
    yield from _ours(PROJECT_ROOT)
    for name, path in project(trainer).files.items():
        yield f"{_USER_FOLDER}/{name}", path


def _lying_in(code: Path, taken: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """(name, file) of all code in a snapshot, whatever lies there by now, and of what else was taken.

    What a trainer writes beside itself is no damage, unless it can be imported.
    """
    found = dict(_ours(code))
    found |= {path.relative_to(code).as_posix(): path for path in (code / _USER_FOLDER).rglob("*.py")}
    found |= {name: code / name for name in taken}
    yield from ((name, path) for name, path in found.items() if path.is_file())


def _ours(root: Path) -> Iterator[tuple[str, Path]]:
    # Names, not paths, until a file is found: every task goes through all of them twice before it begins.
    for package in OUR_PACKAGES:
        for folder, folders, names in os.walk(root / package):
            folders[:] = [name for name in folders if name != "__pycache__"]
            inside = Path(folder).relative_to(root).as_posix()
            for name in names:
                if os.path.splitext(name)[1] in _OUR_SUFFIXES:
                    yield f"{inside}/{name}", Path(f"{folder}/{name}")
