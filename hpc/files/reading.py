"""What a file of a sweep directory holds: no more than a file of its kind can, whatever lies in its place."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from hpc.files.limits import ANY, DOCUMENT, check_size
from hpc.files.opening import open_regular, regular

# A network file system answers so when another host has replaced the file behind an open handle or a cached name;
# opening it again asks the server. Three times: a file may be replaced twice in a row, not for ever.
_STALE = {errno.ESTALE, errno.ENOENT}
_READ_TRIES = 3
_FAST_JSON = msgspec.json.Decoder()
_BLOCK = 1 << 20  # bytes
_PLACES, _PIECE = 8, 8 << 10  # of a sample; bytes of each: what one request of a file server brings
T = TypeVar("T")


def read(path: Path | str, most: float = DOCUMENT) -> bytes:
    """Content of a file that is known to be there; a stale network handle is opened again.

    most: bytes that a file of this kind may have, see hpc.files.limits. Raises RefusedFileError, OSError.
    """
    return read_with_stat(path, most)[0]


def read_with_stat(path: Path | str, most: float = DOCUMENT) -> tuple[bytes, os.stat_result]:
    """The same with what the file is whose bytes these are, such as whose: its name may be another's by now."""
    try:
        return _read_once(path, most)
    except OSError as error:
        if error.errno not in _STALE:
            raise
    return asked(lambda: _read_once(path, most), _STALE, _READ_TRIES - 1)


def read_sized(path: Path | str, size: int | None, most: float = DOCUMENT) -> bytes | None:
    """Content of a file that has this size; None if it has another, which need not be read to know that.

    size: bytes; None: any. most: as above. Raises RefusedFileError, OSError.
    """
    fd, found = open_regular(path)
    length = found.st_size
    try:
        if size is not None and length != size:
            return None
        check_size(path, length, most)
        return _content(fd, length)
    finally:
        os.close(fd)


def _read_once(path: Path | str, most: float) -> tuple[bytes, os.stat_result]:
    fd, found = open_regular(path)
    length = found.st_size
    try:
        if length > most:
            check_size(path, length, most)
        return _content(fd, length), found
    finally:
        os.close(fd)


def _content(fd: int, length: int) -> bytes:
    data = os.read(fd, length + 1)
    if len(data) == length:
        return data
    # More than 2 GB, or a file that grows or shrinks.
    parts = [data]
    while parts[-1] and sum(map(len, parts)) <= length:
        parts.append(os.read(fd, length + 1))
    return b"".join(parts)


def asked(question: Callable[[], T], stale: Collection[int], tries: int = _READ_TRIES) -> T:
    """The answer, asked for again where it is one of these errors."""
    for _ in range(tries - 1):
        try:
            return question()
        except OSError as error:
            if error.errno not in stale:
                raise
    return question()


def read_json(path: Path | str, most: float = DOCUMENT) -> Any:
    """The JSON document in a file that is known to be there. Raises ValueError if it is none, OSError."""
    return parse_json(read(path, most))


def parse_json(data: bytes) -> Any:
    """A JSON document, in which no number is NaN or infinite. Raises ValueError if it is none."""
    # msgspec is faster. It refuses all that json refuses and a little more (1e999, half a surrogate),
    # so what it refuses is left to json, which says why.
    try:
        return _FAST_JSON.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return _STRICT_JSON.decode(data.decode())
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse_constant(token: str) -> float:
    raise ValueError(f"it holds {token}")


_STRICT_JSON = json.JSONDecoder(parse_constant=_refuse_constant)


def sha256(path: Path | str, size: int | None = None, most: float = ANY) -> str:
    """Digest of a file, read piece by piece; empty if its size is not ``size``. most: bytes that are read.

    Raises RefusedFileError, OSError.
    """
    total = hashlib.sha256()
    fd, found = open_regular(path)
    try:
        length = found.st_size
        if size is not None and length != size:
            return ""  # it need not be read to know that it is another one
        check_size(path, length, most)
        piece, seen = min(length + 1, _BLOCK), 0
        # A read that is short is not the end: what could not be read comes with the next one, as an error.
        while seen != length and (data := os.read(fd, piece)):
            seen += len(data)
            total.update(data)
    finally:
        os.close(fd)
    return total.hexdigest()


def sampled(data: bytes | memoryview) -> str:
    """Digest of a few places of a content, evenly spread, its beginning and its end among them; of a small one, of all.

    Of large ones that differ nearly everywhere, such as the weights of two trainings, it tells as much as all of them.
    """
    return _sampled(len(data), lambda at, length: data[at : at + length])


def sample(path: Path | str) -> str:
    """The same of a file, of which no more is read. Raises RefusedFileError, OSError."""
    with regular(path) as (fd, found):
        return _sampled(found.st_size, lambda at, length: os.pread(fd, length, at))


def _sampled(size: int, piece: Callable[[int, int], bytes | memoryview]) -> str:
    """piece: gives so many bytes from a place on."""
    if size <= _PLACES * _PIECE:
        return hashlib.sha256(piece(0, size)).hexdigest()
    total = hashlib.sha256()
    for place in range(_PLACES):
        total.update(piece(place * (size - _PIECE) // (_PLACES - 1), _PIECE))
    return total.hexdigest()


def ends(path: Path | str, most: int = _BLOCK) -> bytes:
    """The beginning and the end of a file, at most twice as many bytes: all of a small one.

    Raises RefusedFileError, OSError.
    """
    with regular(path) as (fd, found):
        begun = os.pread(fd, most, 0)
        return begun + os.pread(fd, most, max(len(begun), found.st_size - most))
