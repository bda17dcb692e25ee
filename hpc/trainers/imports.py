"""What a trainer imports of its own project, followed through the sources; nothing is executed."""

from __future__ import annotations

import ast
import importlib.machinery
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from hpc.checkout import OUR_PACKAGES, PROJECT_ROOT
from hpc.errors import SweepError
from hpc.trainers.source import TrainerError, parse
from hpc.trainers.static_paths import Paths

_MARKERS = (".git", "pyproject.toml", "setup.py", "setup.cfg")
# Without a marker, a package that lies beside the trainer's folder, or beside the folder around that, is its own.
_UNMARKED = 2
# The largest of what trainers import. None of them starts a thread by that.
_WORTH_IMPORTING = ("numpy", "torch", "training")
_MOST_FOLDERS = 2_000  # of a namespace package
_OPTIONAL = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}


@dataclass(frozen=True)
class Import:
    """One imported module. line: where. certain: nothing runs without it. maybe: it may be no module at all."""

    module: str
    line: int
    certain: bool
    maybe: bool = False


@dataclass
class Closure:
    """Files that a trainer imports, directly or not, itself included.

    packages: folders of the project of which something is imported by name. roots: directories of the project in which
    imports were found. paths: of each file, what it builds from its place. incomplete: (file, import) of what is the
    project's by name and not there. missing: the same for what neither the project nor this Python has.
    unknown_roots: whether the search path is extended in a way that only running the code would tell.
    """

    files: set[Path] = field(default_factory=set)
    packages: set[Path] = field(default_factory=set)
    roots: set[Path] = field(default_factory=set)
    paths: dict[Path, Paths] = field(default_factory=dict)
    incomplete: list[tuple[Path, Import]] = field(default_factory=list)
    missing: list[tuple[Path, Import]] = field(default_factory=list)
    unknown_roots: bool = False


def own_name(path: Path) -> str:
    """The name under which a trainer's file is imported: with its packages if it imports relatively, else its stem."""
    level = max((node.level for node in ast.walk(parse(path)) if isinstance(node, ast.ImportFrom)), default=0)
    names, folder = [path.stem], path.parent
    while len(names) <= level - 1 or (level and (folder / "__init__.py").is_file()):
        names, folder = [folder.name, *names], folder.parent
    if level and len(names) == 1:
        names = [folder.name, *names]
    return ".".join(names)


def import_roots(directory: Path) -> list[Path]:
    """Where modules of a project lie, by convention: the directory, those above it to the project's top, their src."""
    snapshot = PROJECT_ROOT / "user"
    above = [directory, *directory.parents]
    if snapshot in above:
        count = above.index(snapshot)
    else:
        # A repository's top, else that of the nearest package.
        tops = [i for marker in _MARKERS for i, place in enumerate(above) if (place / marker).exists()]
        count = tops[0] if tops else min(_UNMARKED, len(above) - 2)
    chosen = [place for place in above[: count + 1] if place != Path.home() or place == directory]
    return [root for place in chosen for root in (place, place / "src") if root.is_dir()]


def follow(start: Path, directory: Path, function: str = "") -> Closure:
    """Everything of the project that a trainer imports.

    directory: the first place that imports are searched in. function: the trainer's; what it imports is needed.
    Raises SweepError for a file that is no Python.
    """
    return _Search(directory, function).run(start)


class _Search:
    def __init__(self, directory: Path, function: str) -> None:
        self._first, *self._roots = import_roots(directory)
        self._function = function
        self._closure = Closure()
        # What the trainer adds to its search path: folders of its project, and others, which stay where they are.
        self._extra: list[Path] = []
        self._elsewhere: list[Path] = []

    def run(self, start: Path) -> Closure:
        """Follow imports from this file on, to what can no longer be followed. Raises SweepError, OSError."""
        waiting = [start]
        while waiting:
            path = waiting.pop()
            if path in self._closure.files:
                continue
            self._closure.files.add(path)
            if path.suffix != ".py":  # compiled
                continue
            tree = self._parsed(path)
            self._closure.paths[path] = Paths(path, tree)
            for root in self._closure.paths[path].import_roots():
                self._closure.unknown_roots |= root is None
                if root is not None:
                    (self._extra if root.rooted else self._elsewhere).append(Path(root.text))
            for wanted in imports(tree, self._function if path == start else ""):
                waiting += self._resolve(path, wanted)
        return self._closure

    def _parsed(self, path: Path) -> ast.Module:
        try:
            return parse(path)
        except TrainerError as error:
            raise SweepError(f"{path.parent}: {error}; fix it, the trainer imports it") from None

    def _resolve(self, path: Path, wanted: Import) -> list[Path]:
        """Files of the project that an import loads."""
        if wanted.module.startswith("."):
            base, names = _relative(path, wanted.module)
        else:
            names = wanted.module.split(".")
            found = self._root_of(names[0])
            if found is None:
                if not wanted.maybe and not self._is_installed(names[0]):
                    self._closure.missing.append((path, wanted))
                return []
            base = found
        files, complete = _located(base, names)
        self._closure.roots.add(base)
        if (len(names) > 1 and (base / names[0]).is_dir()) or (base / names[0] / "__init__.py") in files:
            self._closure.packages.add(base / names[0])
        # A package may give itself any name when it is imported; a folder without __init__.py has its modules alone.
        if not complete and not (wanted.maybe and (files or not _located(base, names[:-1])[1])):
            self._closure.incomplete.append((path, wanted))
        return files

    def _root_of(self, name: str) -> Path | None:
        """The directory of the project that has a module; None if it is the project's nowhere.

        The trainer's own folder wins over Python's library, as where a script is run; other folders do not.
        """
        if name in OUR_PACKAGES:
            return None
        if _has(self._first, name):
            return self._first
        if name in sys.stdlib_module_names:
            return None
        return next((root for root in (*self._extra, *self._roots) if _has(root, name)), None)

    def _is_installed(self, name: str) -> bool:
        known = name in OUR_PACKAGES or name in sys.stdlib_module_names
        return known or any(_has(place, name) for place in self._elsewhere) or _is_installed(name)


def imported_first(path: Path, function: str) -> list[str]:
    """Of numpy, torch and our training, what a trainer surely imports, where it may as well be imported before it.

    Nothing if its code may set variables that a library reads when it is loaded, or if a file beside it would be
    imported in place of a library's. Raises SweepError for a file that is no Python.
    """
    if PROJECT_ROOT / "training" not in path.parents:
        files = follow(path, path.parent, function).files
        texts = [file.read_text(errors="replace") for file in files if file.suffix == ".py"]
        if any("environ" in text or "putenv" in text for text in texts):
            return []
        if any(_is_installed(file.stem) for file in path.parent.glob("*.py")):
            return []
    found = (wanted for wanted in imports(parse(path), function) if wanted.certain and not wanted.maybe)
    return [wanted.module for wanted in found if wanted.module.partition(".")[0] in _WORTH_IMPORTING]


def imports(tree: ast.Module, function: str = "") -> Iterator[Import]:
    """Every import of a module's source. function: one that is called, so that its imports are needed, too."""
    for node, certain in _statements(tree.body, True, function):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, certain) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            if node.module:
                yield Import(base, node.lineno, certain)
            for alias in node.names:
                if alias.name != "*":
                    dot = "." if node.module else ""
                    yield Import(f"{base}{dot}{alias.name}", node.lineno, certain, maybe=True)
        elif (
            isinstance(node, ast.Call)
            and node.args
            and ast.unparse(node.func).endswith(("import_module", "__import__"))
        ):
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str) and name.value.strip("."):
                yield Import(name.value, node.lineno, certain=False)


def _statements(body: Sequence[ast.AST], certain: bool, function: str) -> Iterator[tuple[ast.AST, bool]]:
    """Every node below some statements, and whether it runs whenever the module is loaded."""
    for node in body:
        yield node, certain
        inside = certain
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            inside = certain and getattr(node, "name", "") == function
        elif isinstance(node, ast.If | ast.IfExp | ast.Match | ast.ExceptHandler | ast.For | ast.While):
            inside = False
        elif isinstance(node, ast.Try):
            inside = certain and not any(map(_forgives, node.handlers))
        yield from _statements(list(ast.iter_child_nodes(node)), inside, function)


def _forgives(handler: ast.ExceptHandler) -> bool:
    """Whether a handler catches that a module is missing."""
    return handler.type is None or any(name in ast.unparse(handler.type) for name in _OPTIONAL)


def _relative(path: Path, module: str) -> tuple[Path, list[str]]:
    """(directory, names below it) of a relative import."""
    rest = module.lstrip(".")
    folder = path.parent
    for _ in range(len(module) - len(rest) - 1):
        folder = folder.parent
    return folder.parent, [folder.name, *rest.split(".")] if rest else [folder.name]


def _has(root: Path, name: str) -> bool:
    """Whether ``import name`` finds something in a directory."""
    folder = root / name
    if (folder / "__init__.py").is_file() or _module(root, name):
        return True
    # A namespace package: a folder with code but no __init__.py. One that is installed wins over it.
    return _holds_code(folder) and not _is_installed(name)


def _holds_code(folder: Path) -> bool:
    """Whether there is code in a folder, or in one of the first that it holds: it may be a whole disk."""
    walked = islice(os.walk(folder), _MOST_FOLDERS)
    return any(name.endswith(".py") for _, _, names in walked for name in names)


def _module(folder: Path, name: str) -> Path | None:
    """The file of a module in a folder: Python's own, or a compiled one for this Python."""
    suffixes = (".py", *importlib.machinery.EXTENSION_SUFFIXES)
    return next((path for suffix in suffixes if (path := folder / f"{name}{suffix}").is_file()), None)


def _located(base: Path, names: Sequence[str]) -> tuple[list[Path], bool]:
    """(files that importing a dotted name loads, whether all of it was found)."""
    files: list[Path] = []
    for i, name in enumerate(names):
        folder = base / name
        if (folder / "__init__.py").is_file():
            files.append(folder / "__init__.py")
        elif module := _module(base, name):
            return [*files, module], i == len(names) - 1
        elif not folder.is_dir():
            return files, False
        base = folder
    return files, True


def _is_installed(name: str) -> bool:
    """Whether a task has a module that is not of the project: PYTHONPATH and the working directory do not count."""
    own = {os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep)}
    own.add(os.getcwd())
    search = [entry for entry in sys.path if entry and os.path.abspath(entry) not in own]
    for finder in sys.meta_path:
        if finder is importlib.machinery.PathFinder:
            found = importlib.machinery.PathFinder.find_spec(name, search)
        else:
            found = finder.find_spec(name, None)
        if found is not None:
            return True
    return False
