"""Paths that a source file builds from where it lies, such as ``Path(__file__).parent / "table.json"``.

They are evaluated without running code. What only running it would tell is ``*``, as in a pattern of files.
"""

from __future__ import annotations

import ast
import os.path
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PathValue:
    """A text or path. rooted: built from the place of the source file."""

    text: str
    rooted: bool = False


# What gives the path itself, written otherwise.
_SAME = {"Path", "PurePath", "PosixPath", "str", "fspath", "abspath", "realpath", "normpath"}
_SAME_METHODS = {"resolve", "absolute", "as_posix"}
_JOINS = {"joinpath", "glob", "rglob"}
_UNKNOWN = PathValue("*")
# What reads the file or folder that its first argument names, or that its object is.
_READ = {
    *("open", "load", "loadtxt", "genfromtxt", "fromfile", "memmap", "read_csv", "read_table", "read_json"),
    *("read_parquet", "read_excel", "read_pickle", "read_feather", "File", "loadmat", "imread", "read_image"),
    *("load_from_disk", "listdir", "scandir", "glob", "iglob", "walk"),
}
_READ_ITSELF = {"open", "read_text", "read_bytes", "iterdir", "glob", "rglob"}
_FILE_KEYWORDS = {"file", "path", "filename", "filepath_or_buffer", "io", "name"}


class Paths:
    """The paths of one source file."""

    def __init__(self, path: Path, tree: ast.Module) -> None:
        self._file = PathValue(str(path), True)
        self._tree = tree
        self._named: dict[str, PathValue | None] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                self._assign(node.targets[0].id, self.value(node.value))

    def _assign(self, name: str, value: PathValue | None) -> None:
        known = self._named.setdefault(name, value)
        if known != value:
            self._named[name] = None  # it depends on what runs first

    def read(self) -> Iterator[tuple[int, str]]:
        """(line, absolute path or pattern) of everything that the file builds from its own place."""
        waiting: list[ast.AST] = [self._tree]
        while waiting:
            node = waiting.pop()
            found = self.value(node) if isinstance(node, ast.expr) else None
            if found is not None and found.rooted:
                yield node.lineno, os.path.normpath(found.text)  # type: ignore[attr-defined]
            else:
                waiting += ast.iter_child_nodes(node)

    def relative(self) -> Iterator[tuple[int, str]]:
        """(line, path or pattern) of all that is read by a path which only the working directory gives a meaning."""
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Call) and not _writes(node):
                found = self._opened(node)
                if found and not found.rooted and not os.path.isabs(found.text) and not set("~$:") & set(found.text):
                    yield node.lineno, found.text

    def _opened(self, node: ast.Call) -> PathValue | None:
        match node.func:
            case ast.Attribute(value=inner, attr=name) if name in _READ_ITSELF and self.value(inner):
                return self.value(inner)
            case ast.Name(id=name) | ast.Attribute(attr=name) if name in _READ:
                named = (word.value for word in node.keywords if word.arg in _FILE_KEYWORDS)
                first = next(iter([*node.args[:1], *named]), None)
                return self.value(first) if first else None
        return None

    def import_roots(self) -> Iterator[PathValue | None]:
        """Directories that the file adds to ``sys.path``; None for one that cannot be known."""
        for node in ast.walk(self._tree):
            match node:
                case ast.Call(func=ast.Attribute(value=owner, attr="insert" | "append" as how), args=[*_, last]) if (
                    ast.unparse(owner) == "sys.path" and (how == "append" or len(node.args) == 2)
                ):
                    yield self._known(last)
                case ast.Call(func=ast.Attribute(value=owner, attr="extend"), args=[added]) if (
                    ast.unparse(owner) == "sys.path"
                ):
                    yield from self._all_known(added)
                case ast.AugAssign(target=target, value=added) if ast.unparse(target) == "sys.path":
                    yield from self._all_known(added)
                case ast.Assign(targets=[target], value=added) if ast.unparse(target).startswith("sys.path"):
                    yield from self._all_known(added)
                case ast.Call(func=ast.Attribute(attr="addsitedir"), args=[added, *_]):
                    yield self._known(added)

    def _all_known(self, node: ast.expr) -> Iterator[PathValue | None]:
        yield from map(self._known, node.elts) if isinstance(node, ast.List | ast.Tuple) else [None]

    def _known(self, node: ast.expr) -> PathValue | None:
        found = self.value(node)
        if found is None or "*" in found.text or not os.path.isabs(found.text):
            return None
        return PathValue(os.path.normpath(found.text), found.rooted)

    def value(self, node: ast.expr) -> PathValue | None:
        """What an expression gives; None if it is no path or text that can be known."""
        match node:
            case ast.Constant(value=str(text)):
                return PathValue(text)
            case ast.Name(id="__file__"):
                return self._file
            case ast.Name(id=name):
                return self._named.get(name)
            case ast.Attribute(value=inner, attr="parent"):
                return self._parent(self.value(inner), 1)
            case ast.Subscript(value=ast.Attribute(value=inner, attr="parents"), slice=ast.Constant(value=int(count))):
                return self._parent(self.value(inner), count + 1)
            case ast.BinOp(left=left, op=ast.Div(), right=right):
                return self._joined([left, right])
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return _added([self.value(left), self.value(right) or _UNKNOWN])
            case ast.JoinedStr(values=parts):
                return _added([self.value(part) or _UNKNOWN for part in parts])
            case ast.FormattedValue(value=inner):
                return self.value(inner)
            case ast.Call():
                return self._called(node)
        return None

    def _called(self, node: ast.Call) -> PathValue | None:
        arguments = node.args
        match node.func:
            case ast.Name(id=name) | ast.Attribute(value=ast.Name(), attr=name) if name in _SAME and arguments:
                return self._joined(arguments)
            case ast.Attribute(value=ast.Attribute(), attr=name) if name in _SAME and arguments:  # os.path.abspath
                return self._joined(arguments)
            case ast.Name(id="dirname") | ast.Attribute(attr="dirname") if arguments:
                return self._parent(self.value(arguments[0]), 1)
            case ast.Name(id="join") | ast.Attribute(value=ast.Attribute(), attr="join") if arguments:
                return self._joined(arguments)
            case ast.Attribute(value=inner, attr=name) if name in _SAME_METHODS:
                return self.value(inner)
            case ast.Attribute(value=inner, attr=name) if name in _JOINS:
                return self._joined([inner, *arguments])
            case ast.Attribute(value=inner, attr="with_name") if len(arguments) == 1:
                parent, own = self._parent(self.value(inner), 1), self.value(arguments[0]) or _UNKNOWN
                return parent and PathValue(os.path.join(parent.text, own.text), parent.rooted)
            case ast.Attribute(value=inner, attr="with_suffix") if len(arguments) == 1:
                stem, suffix = self.value(inner), self.value(arguments[0]) or PathValue(".*")
                return stem and PathValue(os.path.splitext(stem.text)[0] + suffix.text, stem.rooted)
        return None

    def _joined(self, parts: Sequence[ast.expr]) -> PathValue | None:
        """The parts of a path joined. Where the first is not known, neither is the path."""
        found = [self.value(part) for part in parts]
        if found[0] is None:
            return None
        known = [value or _UNKNOWN for value in found]
        rooted = known[0].rooted and not any(os.path.isabs(value.text) for value in known[1:])
        return PathValue(os.path.join(*(value.text for value in known)), rooted or known[-1].rooted)

    @staticmethod
    def _parent(found: PathValue | None, count: int) -> PathValue | None:
        if found is None:
            return None
        text = found.text
        for _ in range(count):
            text = os.path.dirname(text)
        return PathValue(text, found.rooted)


def _writes(node: ast.Call) -> bool:
    """Whether a call has an argument that says that a file is written."""
    words = [*node.args[:2], *(keyword.value for keyword in node.keywords if keyword.arg == "mode")]
    modes = [word.value for word in words if isinstance(word, ast.Constant) and isinstance(word.value, str)]
    return any(set(mode) <= set("rwaxbt+") and set(mode) & set("wax") for mode in modes)


def _added(parts: Sequence[PathValue | None]) -> PathValue | None:
    if parts[0] is None:
        return None
    known = [part or _UNKNOWN for part in parts]
    return PathValue("".join(value.text for value in known), known[0].rooted)
