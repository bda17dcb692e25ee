"""What of a user's project travels with a trainer: the code it imports, and the files beside it that it may read.

Taken are, in this order: what the trainer imports, directly or not; what it builds a path to from ``__file__``, and
what `trainer_files` names; and, as far as `trainer_files_mb` goes, all else in its folder and in the packages it
imports: files tracked by git where the trainer itself is, otherwise all. hpc.trainers.left_out says what never is.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpc.checkout import OUR_PACKAGES, PROJECT_ROOT, SCRIPT_TRAINER
from hpc.errors import SweepError, shown
from hpc.sweep.definition import DeclaredTrainer
from hpc.trainers import folders, git, left_out
from hpc.trainers.imports import Closure, Import, follow, own_name
from hpc.units import counted, first_few, size

# A folder with more files is somebody's home, not a project; a package that is imported by name is one in any case.
_MOST_FILES, _MOST_PACKAGE_FILES = 2000, 20_000
_MOST_NEIGHBOURS = 500
_CODE = {".py", ".so"}
# What a task imports by itself, or Python when it starts.
_IMPORTED = {name: f"the package {name}" for name in ("numpy", "scipy", "torch")} | {
    name: f"{name}, which Python runs when it starts" for name in ("sitecustomize", "usercustomize")
}
_SHOWN = 3


@dataclass(frozen=True)
class Project:
    """The files of a user's own that a trainer's tasks get.

    files: by name below base, the folder that a snapshot holds a copy of. left: files that stay behind, each with the
    reason. faults: one line each, for what the trainer needs and tasks would not have. doubts: the same for what may
    be there under another Python. elsewhere: the same for what is there only where this command was started.
    """

    base: Path
    files: Mapping[str, Path]
    left: Mapping[Path, str]
    faults: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        return sum(path.stat().st_size for path in self.files.values())

    def to_json(self) -> dict[str, Any]:
        """For ``holdfast plan --json``."""
        left = [{"file": str(path), "reason": why} for path, why in self.left.items()]
        return {"files": sorted(self.files), "bytes": self.bytes, "left_out": left}

    def lines(self) -> list[str]:
        """What is taken and what is left, for people."""
        if not self.files:
            return []
        lines = [f"code: {counted(len(self.files), 'file')} of {self.base} ({size(self.bytes)})"]
        reasons = Counter(self.left.values())
        for reason in reasons:
            names = sorted(_below(path, self.base) for path, why in self.left.items() if why == reason)
            lines.append(f"left out: {first_few(names, _SHOWN)}: {reason}")
        return lines


def is_ours(trainer: DeclaredTrainer) -> bool:
    """Whether a trainer is part of Holdfast, so that there is no project of a user's."""
    path = Path(os.path.normpath(trainer.path))
    return PROJECT_ROOT in path.parents and path.relative_to(PROJECT_ROOT).parts[0] in OUR_PACKAGES


def project(trainer: DeclaredTrainer, written: Collection[str] = ()) -> Project:
    """What tasks of a trainer get of its project. written: names of files that it writes itself, in its own directory.

    Raises SweepError for a file that is no Python, OSError.
    """
    if is_ours(trainer):
        return Project(PROJECT_ROOT, {}, {})
    return _Collection(trainer, written).project()


def deciding(trainer: DeclaredTrainer) -> dict[str, Path]:
    """The files of the project that decide a cell's numbers, by name as seen from the trainer, also in a snapshot.

    For a file it and what it imports, for a module its package; and what they read from where they lie. Raises as
    project() does.
    """
    return {} if is_ours(trainer) else _Collection(trainer).named()


def module_base(trainer: DeclaredTrainer) -> Path:
    """The directory in which the trainer is imported under its own name. Raises SweepError if there is none."""
    path = Path(trainer.path)
    name = own_name(path) if _is_file(trainer) else trainer.target.rpartition(":")[0]
    depth = name.count(".") + (path.name == "__init__.py")
    if depth >= len(path.parents):
        raise SweepError(f"{path}: no module {shown(name)} lies there; correct the trainer's target or path")
    return path.parents[depth]


def _is_file(trainer: DeclaredTrainer) -> bool:
    """Whether a trainer is a file by its path, or a script, and not a module by its name."""
    return trainer.target == SCRIPT_TRAINER or trainer.target.rpartition(":")[0].endswith(".py")


class _Collection:
    """The files of one trainer as they are found."""

    def __init__(self, trainer: DeclaredTrainer, written: Collection[str] = ()) -> None:
        self._trainer = trainer
        self._written = written
        self._path = Path(trainer.path)
        is_script = trainer.target == SCRIPT_TRAINER
        self._option = "as an argument in trainer.command" if is_script else "in trainer_options"
        self._runs_in = "script runs in an empty directory" if is_script else "Slurm task runs in the sweep directory"
        self._is_file = _is_file(trainer)
        self._anchor = self._path.parent if self._is_file else module_base(trainer)
        self._public = bool(self._path.stat().st_mode & 0o077)
        self._taken: set[Path] = set()
        self._left: dict[Path, str] = {}
        self._faults: list[str] = []

    def project(self) -> Project:
        """What the trainer can import and open of its project, and what of it cannot be had on a node."""
        closure = self._follow()
        deciding = self.deciding(closure)
        self._check_size(deciding - closure.files)
        self._taken = set(deciding)
        self._take_around(closure)
        base = Path(os.path.commonpath([self._anchor, module_base(self._trainer), *closure.roots, *self._taken]))
        hiding = tuple(self._hiding(base, closure))
        faults, doubts = self._missing(closure)
        return Project(
            base,
            {path.relative_to(base).as_posix(): path for path in sorted(self._taken)},
            {path: why for path, why in sorted(self._left.items()) if path not in self._taken},
            (*self._faults, *faults, *hiding),
            doubts,
            tuple(self._relative(closure)),
        )

    def named(self) -> dict[str, Path]:
        """What decides a cell's numbers, by name as seen from the trainer: the same in a snapshot."""
        return {_below(path, self._anchor): path for path in self.deciding(self._follow())}

    def deciding(self, closure: Closure) -> set[Path]:
        own = set() if self._is_file else set(self._sound(folders.code_below(self._own_folder())))
        return closure.files | own | set(self._needed(closure))

    def _follow(self) -> Closure:
        function = self._trainer.target.rpartition(":")[2]
        return follow(self._path, self._anchor, function)

    def _own_folder(self) -> Path:
        """The folder that is the trainer's own: that of its file, or its package."""
        if self._is_file:
            return self._path.parent
        return self._anchor / self._trainer.target.partition(":")[0].partition(".")[0]

    def _needed(self, closure: Closure) -> Iterator[Path]:
        """Files that the code reads from its own place, or that the configuration names."""
        for path, paths in closure.paths.items():
            for line, pattern in paths.read():
                yield from self._reached(path, line, Path(pattern))
        for pattern in dict.fromkeys(self._trainer.files):
            matching = folders.matching(self._path.parent, pattern)
            if matching is None:
                raise SweepError(
                    f"{self._path}: trainer_files has {shown(pattern)}, for which more than {folders.MOST_SEEN:,} "
                    "files would be looked at; name the files more closely"
                )
            for found in matching:
                yield from self._sound(folders.tree(found, _MOST_PACKAGE_FILES) or [] if found.is_dir() else [found])

    def _reached(self, source: Path, line: int, target: Path) -> Iterator[Path]:
        matching = folders.matching(Path(), str(target)) if "*" in str(target) else [target]
        if matching is None:
            where = f"{_below(source, self._anchor)}:{line}"
            self._faults.append(
                f"{where} reads {target}, for which more than {folders.MOST_SEEN:,} files would be looked at; name "
                f"those it needs in trainer_files, or give their absolute path {self._option}"
            )
        for found in matching or []:
            if found in (source, *source.parents):
                continue
            if found.is_dir():
                below = folders.tree(found, _MOST_FILES)
                if below is None:
                    where = f"{_below(source, self._anchor)}:{line}"
                    self._faults.append(
                        f"{where} reads {found}, a folder of more than {_MOST_FILES:,} files; "
                        f"name those it needs in trainer_files, or give their absolute path {self._option}"
                    )
                yield from self._sound(below or [])
            elif found.is_file():
                yield from self._sound([found])

    def _sound(self, paths: Iterable[Path]) -> Iterator[Path]:
        """Those that may be copied; the others are noted."""
        for path in paths:
            try:
                why = left_out.reason(path, self._public, self._path.parent)
            except OSError:
                why = "not readable"
            if why:
                self._left[path] = why
            else:
                yield path

    def _check_size(self, needed: set[Path]) -> None:
        """Add a fault for files that the trainer needs and that are more than is copied."""
        limit = self._trainer.files_mb * 1e6
        sizes = {path: path.stat().st_size for path in needed}
        if sum(sizes.values()) > limit:
            largest = max(sizes, key=lambda path: sizes[path])
            self._faults.append(
                f"{self._path.name} reads {size(sum(sizes.values()))} beside it, such as {largest} "
                f"({size(sizes[largest])}), and trainer_files_mb is {self._trainer.files_mb:g}; raise it, or give the "
                f"absolute path of large files {self._option}"
            )

    def _take_around(self, closure: Closure) -> None:
        """What else lies in the trainer's folder and in the packages it imports, the smallest first."""
        room = self._trainer.files_mb * 1e6 - sum(
            path.stat().st_size for path in self._taken if path.suffix not in _CODE
        )
        for path in sorted(self._around(closure) - self._taken, key=lambda path: (path.stat().st_size, path)):
            length = 0 if path.suffix in _CODE else path.stat().st_size
            if length > room:
                self._left[path] = f"more than trainer_files_mb: {self._trainer.files_mb:g}"
                continue
            room -= length
            self._taken.add(path)

    def _around(self, closure: Closure) -> set[Path]:
        own = self._own_folder()
        packages = sorted(closure.packages | (set() if self._is_file else {own}))
        found: set[Path] = set()
        for folder in packages:
            found.update(self._sound(folders.tree(folder, _MOST_PACKAGE_FILES, self._tracked(folder)) or []))
        if self._is_file and own not in packages:
            below = folders.tree(own, _MOST_FILES, self._tracked(own))
            if below is None:
                self._left[own] = f"more than {_MOST_FILES:,} files in it; only what it imports or names is taken"
                flat = sorted(own.glob("*.py"))
                below = flat if len(flat) <= _MOST_NEIGHBOURS else []
            found.update(self._sound(below))
        return found

    def _tracked(self, folder: Path) -> set[Path] | None:
        """Files below a folder that git tracks; None where the trainer's file is not tracked itself."""
        known = git.tracked(self._path.parent, [str(self._path)])
        return git.tracked(folder, ["."]) if known else None

    def _hiding(self, base: Path, closure: Closure) -> Iterator[str]:
        """What a task could not start with: modules of Python's own, and of ours, hidden by the project's."""
        for path in sorted(self._taken):
            top = path.relative_to(base).parts[0]
            module = top.removesuffix(".py")
            known = f"Python's own module {module}" if module in sys.stdlib_module_names else _IMPORTED.get(module)
            if known is None or path.suffix != ".py":
                continue
            if path in closure.files or path == self._path:
                yield f"{path} has the name of {known}, which it hides from Python; rename it"
            else:
                self._taken.remove(path)
                self._left[path] = f"it has the name of {known}"

    def _relative(self, closure: Closure) -> Iterator[str]:
        """Files and folders that are read by a path from the working directory, and are there or beside the trainer."""
        for source, paths in closure.paths.items():
            for line, name in paths.relative():
                if name not in self._written and any(
                    map(_is_there, (name, str(self._path.parent / name)), (name, name))
                ):
                    yield (
                        f"{_below(source, self._anchor)}:{line} reads {name!r} from the working directory, and a "
                        f"{self._runs_in}; write Path(__file__).parent / ..., or give its absolute path {self._option}"
                    )

    def _missing(self, closure: Closure) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """(faults, doubts) for imports that were found nowhere."""
        faults = [
            f"{self._where(path, wanted)}, which is not there; add the file, or correct the import"
            for path, wanted in closure.incomplete
            if wanted.certain
        ]
        doubts = [
            f"{self._where(path, wanted)}, which is neither in {self._anchor} nor installed for this Python; put it "
            "beside the trainer or install it (PYTHONPATH and the working directory do not reach a task)"
            for path, wanted in closure.missing
            if wanted.certain and not closure.unknown_roots  # there it may be found
        ]
        return tuple(faults), tuple(doubts)

    def _where(self, path: Path, wanted: Import) -> str:
        return f"{_below(path, self._anchor)}:{wanted.line} imports {wanted.module}"


def _is_there(path: str, name: str) -> bool:
    """Whether a file or folder is there. A name that begins with what is not known, or is no name, may be any other."""
    if name.startswith("*") or os.path.normpath(name) == os.curdir:
        return False
    return folders.matching(Path(), path) != [] if "*" in name else os.path.exists(path)


def _below(path: Path, base: Path) -> str:
    return Path(os.path.relpath(path, base)).as_posix()
