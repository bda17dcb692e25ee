"""Files that a script writes for itself: metrics, a log of epochs, a checkpoint. Read without asking the script.

Tables end in .csv, .tsv, .json or .jsonl.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import lzma
import math
import os
import stat
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from training.contract import ContractError

# A large file that is being written is not read again for so many times the time that it took.
_REST = 20
_WRITES = os.O_WRONLY | os.O_RDWR


def _refuse(why: str) -> None:
    raise ValueError(why)


def rows(path: Path, skipped: Callable[[str], None] = _refuse) -> list[dict[str, Any]]:
    """The rows of a table that nobody writes any more, as of rows_in. Raises OSError, too."""
    return rows_in(path.read_bytes(), path.suffix, skipped)


def rows_in(content: bytes, suffix: str, skipped: Callable[[str], None] = _refuse) -> list[dict[str, Any]]:
    """The rows of a table, with None for empty fields. suffix: how the table's name ends.

    skipped: called for a line that is not of its kind, which is then left out; by default it raises ValueError. A
    header that a script writes again where it goes on is left out, too.

    JSON is a list of objects, an object of lists of equal meaning (a list per column), or one object, which is one row.
    Raises ValueError if the content is not of its kind.
    """
    text = io.TextIOWrapper(io.BytesIO(content), errors="replace").read()
    if suffix == ".json":
        return _rows_of_json(json.loads(text))
    if suffix == ".jsonl":
        return list(_rows_of_lines(text, skipped))
    reader = csv.DictReader(io.StringIO(text), delimiter="\t" if suffix == ".tsv" else ",", skipinitialspace=True)
    try:
        table = [row for row in reader if any(value != name for name, value in row.items())]
    except csv.Error as error:
        raise ValueError(f"is not a table: {error}") from None
    return [{name.strip(): (value or "").strip() or None for name, value in row.items() if name} for row in table]


def _rows_of_lines(lines: str, skipped: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    for line in filter(str.strip, lines.splitlines()):
        with suppress(ValueError):
            if isinstance(row := json.loads(line), dict):
                yield row
                continue
        skipped(f"has a line that is not a JSON object: {line:.40}")


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

    No other column will do: it may be of other data, such as a training accuracy for one of a test.

    Raises ValueError for a value that is not a number.
    """
    found = {}
    for metric, column in names.items():
        try:
            value = _at(row, column)
        except KeyError:
            continue
        found[metric] = math.nan if value is None else _number(column, value)
    return found


def numbers_in(row: Mapping[str, Any]) -> list[str]:
    """Where a row has numbers: its columns, and in nested JSON the paths to them."""
    found = []
    for column, value in row.items():
        if isinstance(value, Mapping):
            found += [f"{column}.{path}" for path in numbers_in(value)]
        elif _is_number(value):
            found.append(column)
    return found


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return not isinstance(value, bool)


def nearest(column: str, there: Sequence[str]) -> str:
    """Of the paths that are there, the one that was probably meant by a column; empty if none comes near."""
    last = {path.rpartition(".")[2].lower(): path for path in reversed(there)}
    found = difflib.get_close_matches(column.rpartition(".")[2].lower(), list(last), n=1)
    return last[found[0]] if found else ""


def _number(column: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"has {column} {value!r:.40}, expected a number") from None


def _epoch(column: str, value: Any) -> float:
    if not math.isfinite(number := _number(column, value)):
        raise ValueError(f"has {column} {value!r:.40}, expected a number of an epoch")
    return number


def _has(row: Mapping[str, Any], column: str) -> bool:
    try:
        _at(row, column)
    except KeyError:
        return False
    return True


def _at(row: Mapping[str, Any], column: str) -> Any:
    """A value in a row. Raises KeyError if the row does not have it."""
    value: Any = row
    for key in [column] if column in row else column.split("."):
        if not isinstance(value, Mapping):
            raise KeyError(column)
        value = value[key]
    return value[-1] if isinstance(value, list) and value else value


def epochs(
    table: Sequence[Mapping[str, Any]],
    names: Mapping[str, str],
    ended: bool,
    skipped: Callable[[str], None] = _refuse,
) -> Iterator[tuple[float, dict[str, float]]]:
    """(epoch as the script counts it, metrics) of every whole epoch, in order.

    Rows of one epoch are joined, as where training and validation write a row each. Without a column `epoch` each row
    is one, counted from 1. The last epoch is whole once it has every metric, or the script has ended: until then its
    validation may be under way, also if no epoch before was validated. Where the first epoch has a metric in several
    rows, as in a log of steps, only the next epoch shows which is the last. names as for pick; a column that no row has
    is looked for by the metric's name, since a log may name it otherwise than the final metrics do.
    skipped: called for a row with what is not a number, which is then left out; by default it raises ValueError.
    """
    names = {metric: column if any(_has(row, column) for row in table) else metric for metric, column in names.items()}
    joined: dict[float, dict[str, float]] = {}
    key = 0.0
    counted, of_steps = counts_epochs(table), False
    for number, row in enumerate(table, 1):
        there = {name: value for name, value in row.items() if value is not None}
        column = next((name for name in there if name.lower() == "epoch"), None)
        try:
            key = _epoch(column, there[column]) if column else key if joined and counted else float(number)
            found = pick(there, names)
        except ValueError as error:
            skipped(str(error))
            continue
        if found:
            before = joined.setdefault(key, {})
            of_steps |= len(joined) == 1 and not before.keys().isdisjoint(found)
            before.update(found)
    for i, (key, found) in enumerate(joined.items(), 1):
        if i < len(joined) or ended or not counted or (i > 1 and not of_steps and len(found) == len(names)):
            yield key, found


def counts_epochs(table: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a table has a column `epoch`."""
    return any(name.lower() == "epoch" for row in table for name in row)


class StateFile:
    """A script's checkpoint file, of which only whole versions are taken.

    A script may write its file in place and be killed meanwhile, a moment before its task hears of the stop. A version
    of an archive (as torch.save writes) is whole if its checksums hold, whatever a shell says in which a script was
    killed. Another file is if it is not empty, and the script ended well, or nobody was seen writing it and the script
    still runs at a later look. Looking and taking raise ContractError for a directory.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._whole: tuple[int, ...] | None = None
        self._settled: tuple[int, ...] | None = None  # was whole at a look before the last one
        self._taken: tuple[int, ...] | None = None
        self._not_before = 0.0

    def put(self, content: bytes) -> None:
        """Lay a version in its place before the script starts. Raises OSError."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_bytes(content)
        self._whole = self._taken = self._version()

    def look(self, script: int | None = None) -> None:
        """Note the version that lies there if nobody is writing it. script: its process; None for any process."""
        version = self._version()
        if version and version == self._whole:
            self._settled = version
        elif version and not _is_written(version, script) and self._version() == version:
            self._whole = version

    def take(self, ended_well: bool | None = None, stopped: bool = False) -> bytes | None:
        """The newest version, if it is whole and was not taken before. ended_well: None while the script runs. stopped:
        the script was asked to end, and may have been killed since the last look."""
        version = self._version()
        if not version or version == self._taken:
            return None
        archive = self._is_archive()
        seen = self._settled if stopped else self._whole
        sure = not archive and version[2] > 0 and (bool(ended_well) or version == seen)
        if not sure and ended_well is None and not archive:
            return None
        if not sure and ended_well is None and time.monotonic() < self._not_before:
            return None
        begun = time.monotonic()
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:  # the script has just given it another name
            return None
        if self._version() != version or not (sure or _is_sound_archive(content)):
            now = time.monotonic()
            self._not_before = now + _REST * (now - begun)
            return None
        self._taken = version
        return content

    def give_back(self) -> None:
        """What was taken last was not saved: it may be taken again."""
        self._taken = None

    def _is_archive(self) -> bool:
        try:
            with self._path.open("rb") as file:
                return is_archive(file.read(2))
        except FileNotFoundError:  # it is just being replaced
            return False

    def _version(self) -> tuple[int, ...] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        if stat.S_ISDIR(found.st_mode):
            raise ContractError(
                f"trainer.checkpoint is {self._path.name}, a directory; name one file, such as an archive"
            )
        return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def is_archive(content: bytes) -> bool:
    """Whether a state tells by checksums of its own that it is whole. content: its beginning will do."""
    return content[:2] == b"PK"


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
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError, OSError, EOFError, ValueError):
        return False
