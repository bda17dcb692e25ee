"""What an aggregation remembers: which cells it read, as they were, and which files it wrote.

The numbers themselves lie in table.parquet and curves.parquet; the cache holds the time stamps and sizes that say which
of them still stand. It is believed only if it was made by this very code, for this very plan, and its files are as it
left them; otherwise everything is read again, with the same bytes as the result.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregate.arrays import Integers
from hpc.checkout import PROJECT_ROOT
from hpc.storage.files import publish
from hpc.storage.store import Store

_NONE = (0, 0)
_NO_CELL = (0, 0, 0, 0, 0)
_CODE = (".py", ".js", ".css", ".html")


@dataclass(frozen=True)
class Cache:
    """stamps: of every cell's directory, result and history, shape (cells, 5). whole: cells whose numbers may be taken
    from the tables. written: stamp of every file that was written, by path below the sweep directory. told: what was
    said of the aggregation. metrics: names of the table's metrics, in order."""

    stamps: Integers
    whole: NDArray[np.bool_]
    written: Mapping[str, Sequence[int]]
    told: Mapping[str, Any]
    metrics: Sequence[str]


def cell_stamps(store: Store, names: Sequence[str]) -> Integers:
    """Time stamps in ns and sizes: directory, results.json, history.csv. Shape (cells, 5); 0 where there is none.

    All three of a cell at once, while the system has its directory at hand, and by short paths: of a hundred thousand
    cells that saves a third. The listing says which are there, since a network file system may remember that a name
    was not.
    """
    present = store.present()
    if not present:
        return np.zeros((len(names), 5), dtype=np.int64)
    found = array("q")
    result, history = os.path.basename(store.paths.result_path("")), os.path.basename(store.paths.history_path(""))
    root = os.open(store.paths.results_root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in names:
            found.extend(_cell_stamp(root, name, result, history) if name in present else _NO_CELL)
    finally:
        os.close(root)
    return np.array(found, dtype=np.int64).reshape(-1, 5)


def _cell_stamp(root: int, name: str, result: str, history: str) -> tuple[int, ...]:
    try:
        directory = os.stat(name, dir_fd=root)
        one = os.stat(f"{name}/{result}", dir_fd=root)
        other = os.stat(f"{name}/{history}", dir_fd=root)
    except OSError:  # some of them are not there
        whole, *parts = (_stamp(path, root) for path in (name, f"{name}/{result}", f"{name}/{history}"))
        return whole[0], *parts[0], *parts[1]
    return directory.st_mtime_ns, one.st_mtime_ns, one.st_size, other.st_mtime_ns, other.st_size


def load(store: Store) -> Cache | None:
    """The cache, if there is one that may be believed."""
    try:
        with np.load(io.BytesIO(store.paths.cache_file.read_bytes()), allow_pickle=False) as data:
            header = json.loads(bytes(data["header"]))
            if header["key"] != _key(store):
                return None
            return Cache(data["stamps"], data["whole"], header["written"], header["told"], header["metrics"])
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return None


def written_before(store: Store) -> list[Path]:
    """Every file that the last aggregation wrote, whatever code that was; none if that is not known."""
    try:
        with np.load(io.BytesIO(store.paths.cache_file.read_bytes()), allow_pickle=False) as data:
            return [store.root / name for name in json.loads(bytes(data["header"]))["written"]]
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return []


def save(
    store: Store,
    stamps: Integers,
    whole: NDArray[np.bool_],
    written: Iterable[Path],
    told: Mapping[str, Any],
    metrics: Sequence[str],
) -> None:
    """Remember an aggregation; see Cache. stamps: taken before anything was read."""
    paths = {str(path.relative_to(store.root)): list(_stamp(path)) for path in written}
    header = {"key": _key(store), "written": paths, "told": told, "metrics": list(metrics)}
    buffer = io.BytesIO()
    np.savez(buffer, header=np.frombuffer(json.dumps(header).encode(), dtype=np.uint8), stamps=stamps, whole=whole)
    publish(store.paths.cache_file, buffer.getvalue())


def intact(store: Store, cache: Cache, paths: Iterable[Path] | None = None) -> bool:
    """Whether files that were written are as they were left; all of them by default."""
    names = cache.written if paths is None else [str(path.relative_to(store.root)) for path in paths]
    return all(tuple(cache.written.get(name, _NONE)) == _stamp(store.root / name) != _NONE for name in names)


def _stamp(path: Path | str, root: int | None = None) -> tuple[int, int]:
    """root: descriptor of the directory that ``path`` begins in."""
    try:
        found = os.stat(path, dir_fd=root)
    except OSError:
        return _NONE
    return found.st_mtime_ns, found.st_size


def _key(store: Store) -> str:
    """Digest of the plan, of what else the report shows, and of the code that reads, computes and draws."""
    total = hashlib.sha256(store.paths.sweep_file.read_bytes())
    total.update(json.dumps(store.certificates(), sort_keys=True).encode())
    total.update(_code_digest())
    return total.hexdigest()


@lru_cache(maxsize=1)
def _code_digest() -> bytes:
    total = hashlib.sha256()
    for folder in ("aggregate", "hpc"):
        for path in sorted((PROJECT_ROOT / folder).rglob("*")):
            if path.suffix in _CODE:
                total.update(path.relative_to(PROJECT_ROOT).as_posix().encode() + path.read_bytes())
    return total.digest()
