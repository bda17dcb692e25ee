"""The files that a result names by content: whoever reads one of them can tell whether it is the one.

``provenance.files`` has the SHA-256 and the size of config.json, history.csv and weights.safetensors. So no reader can
take the history of one attempt for that of another, whatever was damaged, moved away or cut off in between. Results of
versions that did not name them are believed as they are.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from hpc.files import limits, opening, reading
from hpc.storage.results import provenance_of

CONFIG, HISTORY, WEIGHTS = "config.json", "history.csv", "weights.safetensors"
# Bytes of each file that are read to tell whether it is the one that a result names, before HOLDFAST_LIMITS: anybody
# may have named a file without an end. A larger history is refused; larger weights are told by their size and a sample.
# Whoever has just written them reads them all.
_LOOKED_AT: Mapping[str, float] = {CONFIG: limits.DOCUMENT, HISTORY: limits.HISTORY, WEIGHTS: 0}
REPAIRED: Mapping[str, float] = {**_LOOKED_AT, WEIGHTS: limits.HISTORY}
THOROUGHLY: Mapping[str, float] = {**_LOOKED_AT, WEIGHTS: limits.WEIGHTS}
ALL: Mapping[str, float] = dict.fromkeys(_LOOKED_AT, limits.ANY)
# How the names begin of what was set aside and may have belonged to another result of the cell.
_OF_OTHERS = ("results.json.", f"{WEIGHTS}.")


def described(name: str, data: bytes) -> dict[str, Any]:
    """A file as a result names it. Weights also by a sample: a reader need not read gigabytes to tell two apart."""
    found = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    return {**found, "sample": reading.sampled(data)} if name == WEIGHTS else found


def named_files(result: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The files that a result names, by name; None if it comes from a version that did not, or from elsewhere."""
    found = provenance_of(result).get("files")
    return found if isinstance(found, dict) else None


def is_named(data: bytes, result: Mapping[str, Any], name: str) -> bool:
    """Whether these bytes are the file of that name that a result names; a result that names no files takes any."""
    named = named_files(result)
    return named is None or name not in named or _is_described(named[name], data)


def _is_described(named: Any, data: bytes) -> bool:
    """The same of bytes as _is_named of a file: what else is said of it by another version is not compared."""
    if not isinstance(named, dict) or named.get("bytes") not in (None, len(data)):
        return False
    return hashlib.sha256(data).hexdigest() == named.get("sha256")


def lacks_named(names: Collection[str], result: Mapping[str, Any]) -> bool:
    """Whether a file that a result names is missing beside it and may be made whole from what lies there.

    names: what a listing of the directory shows. Weights may have been removed to save room.
    """
    if HISTORY not in names:
        return True
    lost = WEIGHTS not in names and WEIGHTS in (named_files(result) or ())
    return lost and any(name.startswith(f"{WEIGHTS}.") for name in names)


def fault(
    directory: str,
    names: Collection[str],
    result: Mapping[str, Any],
    thorough: bool = False,
    history: list[bytes] | None = None,
) -> str:
    """Which file beside a result is not the one it names, in a few words; empty if there is none.

    names: what a listing of the directory shows. A file that is not there is no fault: it may have been removed to
    save room, or another host does not see it yet. thorough: also read the weights; else they are told by their size
    and, where something of the cell was set aside and they may be another result's, by a sample.
    history: gets the content of history.csv; it is the one that is named if there is no fault.
    Raises RefusedFileError for a file that is too large to be read, OSError.
    """
    named = named_files(result)
    if named is None:
        return ""
    sampled = thorough or any(name.startswith(_OF_OTHERS) for name in names)
    for name in (CONFIG, HISTORY, WEIGHTS):
        most = (THOROUGHLY if thorough else _LOOKED_AT)[name]
        kept = history if name == HISTORY else None
        if name in names and not _is_named(f"{directory}/{name}", named.get(name), name, most, sampled, kept):
            return f"its {name} is not the one of its result"
    return ""


def _is_named(
    path: str, named: Any, name: str, most: float, sampled: bool, kept: list[bytes] | None, gone: bool = True
) -> bool:
    """Whether a file is the one that a result names. gone: what is said of one that is not there, or not any more.

    name: which file it is. most: bytes that are read. kept: gets the content. Raises RefusedFileError if it has more.
    """
    if not isinstance(named, dict):
        return False
    try:
        if kept is not None:
            content = reading.read_sized(path, named.get("bytes"), most)
            if content is None:
                return False
            kept.append(content)
            return _is_described(named, content)
        if name != WEIGHTS or os.lstat(path).st_size <= most * limits.factor():
            return reading.sha256(path, named.get("bytes"), most) == named.get("sha256")
        same = os.lstat(path).st_size == named.get("bytes")
        return same and ("sample" not in named or not sampled or reading.sample(path) == named["sample"])
    except (FileNotFoundError, NotADirectoryError):
        return gone
    except IsADirectoryError:
        return False
    except opening.RefusedFileError as error:
        if error.errno == errno.EFBIG:
            raise
        return False


def is_whole(path: Path, named: Any, name: str, most: Mapping[str, float]) -> bool:
    """Whether a file is there and the one that a result names. most: bytes of each that are read.

    Raises RefusedFileError if it has more, OSError.
    """
    return _is_named(str(path), named, name, most[name], True, None, gone=False)
