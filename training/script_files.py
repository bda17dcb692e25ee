"""Files that a script writes for itself: metrics, a log of epochs, a checkpoint. Read without asking the script.

Tables end in .csv, .tsv, .json or .jsonl. A table may be read while it is being written: what is not whole yet is read
at the next look.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR


def rows(path: Path, ended: bool = True) -> list[dict[str, Any]]:
    """The rows of a table, with None for empty fields. ended: nobody writes it any more; else the last line may be cut.

    JSON is a list of objects, an object of lists of equal meaning (a list per column), or one object, which is one row.
    Raises ValueError if the file is not of its kind, OSError.
    """
    text = path.read_text(errors="replace")
    if path.suffix == ".json":
        return _rows_of_json(json.loads(text))
    lines = text if ended else text[: text.rfind("\n") + 1]
    if path.suffix == ".jsonl":
        found = [json.loads(line) for line in lines.splitlines() if line.strip()]
        if not all(isinstance(row, dict) for row in found):
            raise ValueError("has a line that is not a JSON object")
        return found
    reader = csv.DictReader(io.StringIO(lines), delimiter="\t" if path.suffix == ".tsv" else ",", skipinitialspace=True)
    return [
        {name.strip(): (value or "").strip() or None for name, value in row.items() if name}
        for row in reader
    ]


def _rows_of_json(found: Any) -> list[dict[str, Any]]:
    if isinstance(found, dict) and found and all(isinstance(column, list) for column in found.values()):
        length = max(map(len, found.values()))
        return [{name: column[i] for name, column in found.items() if i < len(column)} for i in range(length)]
    if isinstance(found, dict):
        return [found]
    if isinstance(found, list) and all(isinstance(row, dict) for row in found):
        return found
    raise ValueError("has no JSON object")


def last_values(table: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The last value of every column, None where it is lost.

    pandas writes NaN as an empty field, and as null in JSON. So a column that is empty at the end, after every row
    before had it, is lost. One that also has gaps before belongs to some rows only, as where training and validation
    write a row each, and so does one after which come rows of columns of their own, such as a test's.
    """
    found: dict[str, Any] = dict.fromkeys(name for row in table for name in row)
    filled = [{name for name, value in row.items() if value is not None} for row in table]
    for name in found:
        there = [number for number, names in enumerate(filled) if name in names]
        if not there:
            continue
        after = there[-1] + 1
        known = set().union(*filled[:after])
        empty = any(name in table[i] and filled[i] <= known for i in range(after, len(table)))
        if len(there) < after or not empty:
            found[name] = table[after - 1][name]
    return found


def pick(row: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, float]:
    """The metrics that a row has; null is NaN. names: metric -> its column, or a path such as test.accuracy in JSON.

    Raises ValueError for a value that is not a number.
    """
    found = {}
    for metric, column in names.items():
        try:
            value = _at(row, column)
        except KeyError:
            continue
        try:
            found[metric] = math.nan if value is None else float(value)
        except (TypeError, ValueError):
            raise ValueError(f"has {column} {value!r:.40}, expected a number") from None
    return found


def _at(row: Mapping[str, Any], column: str) -> Any:
    """A value in a row. Raises KeyError if the row does not have it."""
    value: Any = row
    for key in [column] if column in row else column.split("."):
        if not isinstance(value, Mapping):
            raise KeyError(column)
        value = value[key]
    return value[-1] if isinstance(value, list) and value else value


def epochs(
    table: Sequence[Mapping[str, Any]], names: Mapping[str, str], ended: bool
) -> Iterator[tuple[float, dict[str, float]]]:
    """(epoch as the script counts it, metrics) of every whole epoch, in order.

    Rows of one epoch are joined, as where training and validation write a row each. Without a column `epoch` each row
    is one, counted from 1. The last epoch is whole once it has what the one before has, or the script has ended.
    Raises ValueError for what is not a number.
    """
    joined: dict[float, dict[str, float]] = {}
    key = 0.0
    for number, row in enumerate(table, 1):
        column = next((name for name in row if name.lower() == "epoch"), None)
        key = float(row[column]) if column else (key if joined and _counts_epochs(table) else float(number))
        if found := pick({name: value for name, value in row.items() if value is not None}, names):
            joined.setdefault(key, {}).update(found)
    before: set[str] | None = None
    for i, (key, found) in enumerate(joined.items(), 1):
        if i < len(joined) or ended or not _counts_epochs(table) or (before is not None and before <= found.keys()):
            yield key, found
        before = set(found)


def _counts_epochs(table: Sequence[Mapping[str, Any]]) -> bool:
    return any(name.lower() == "epoch" for name in table[0])


class StateFile:
    """A script's checkpoint file, of which only whole versions are taken.

    A script may write its file in place and be killed meanwhile. A version is whole if it was seen with nobody writing
    it, if the script ended well, or if it is an archive (as torch.save writes) whose checksums hold.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._whole: tuple[int, ...] | None = None
        self._taken: tuple[int, ...] | None = None

    def put(self, content: bytes) -> None:
        """Lay a version in its place before the script starts. Raises OSError."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_bytes(content)
        self._whole = self._taken = self._version()

    def look(self, script: int | None = None) -> None:
        """Note the version that lies there if nobody is writing it. script: its process; None for any process."""
        version = self._version()
        if version and version != self._whole and not _is_written(version, script) and self._version() == version:
            self._whole = version

    def take(self, ended_well: bool | None = None) -> bytes | None:
        """The newest version, if it is whole and was not taken before. ended_well: None while the script runs."""
        version = self._version()
        if not version or version == self._taken:
            return None
        sure = version == self._whole or bool(ended_well)
        if not sure and ended_well is None and not self._is_archive():
            return None
        content = self._path.read_bytes()
        if self._version() != version or not (sure or _is_sound_archive(content)):
            return None
        self._taken = version
        return content

    def _is_archive(self) -> bool:
        with self._path.open("rb") as file:
            return file.read(2) == b"PK"

    def _version(self) -> tuple[int, ...] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _is_written(version: tuple[int, ...], script: int | None) -> bool:
    """Whether the script, or what it started, has the file open for writing."""
    for process in _processes(script):
        try:
            opened = os.listdir(f"/proc/{process}/fd")
        except OSError:  # of somebody else, or gone
            continue
        if any(_writes(process, number, version) for number in opened):
            return True
    return False


def _processes(script: int | None) -> list[str]:
    """A script's process, its descendants, and what else is of its session; all processes for None."""
    every = [name for name in os.listdir("/proc") if name.isdecimal()]
    if script is None:
        return every
    parents, found = {}, {str(script)}
    for process in every:
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[process] = fields[1]
        if fields[3] == str(script):
            found.add(process)
    for process in parents:
        line = [process]
        while line[-1] in parents and line[-1] not in found:
            line.append(parents[line[-1]])
        found.update(line if line[-1] in found else ())
    return list(found)


def _writes(process: str, number: str, version: tuple[int, ...]) -> bool:
    try:
        found = os.stat(f"/proc/{process}/fd/{number}")
        if (found.st_dev, found.st_ino) != version[:2]:
            return False
        facts = Path(f"/proc/{process}/fdinfo/{number}").read_text()
    except OSError:
        return False
    return any(line.startswith("flags:") and int(line.split()[1], 8) & _WRITES for line in facts.splitlines())


def _is_sound_archive(content: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, NotImplementedError, OSError, EOFError, ValueError):
        return False
