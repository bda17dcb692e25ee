"""The records of a `.wandb` file, read without wandb: LevelDB's log format with W&B's 7-byte header.

32 KiB blocks hold fragments: CRC-32 of type and data (4 bytes), length (2), type (1: whole, 2 first, 3 middle, 4 last),
all little-endian. What is left of a block below 7 bytes is padding. A file that a killed process left is a prefix of
the whole one, and every fragment carries a checksum: what is read is what was written, up to the first fault.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

FILE_HEADER = b":W&B\xe1\xbe\x00"
_BLOCK = 32 * 1024
_FRAGMENT = struct.Struct("<IHB")
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


@dataclass(frozen=True)
class Records:
    """Payloads of the whole records before the first fault. fault: what ended the reading; empty at a clean end.

    A file that was cut exactly between two records looks like a clean end: only an exit record says a run is whole.
    """

    payloads: list[bytes]
    fault: str


class _FaultError(Exception):
    pass


def read_records(data: bytes) -> Records:
    """Every record before the first fault. A wrong number is never read; less than all may be."""
    payloads: list[bytes] = []
    try:
        for payload in _joined(data):
            payloads.append(payload)
    except _FaultError as error:
        return Records(payloads, str(error))
    return Records(payloads, "")


def _joined(data: bytes) -> Iterator[bytes]:
    """Whole records, fragments joined. Raises _FaultError at the first fault."""
    parts: list[bytes] = []
    for kind, body in _fragments(data):
        if (kind in (_WHOLE, _FIRST)) == bool(parts):
            raise _FaultError("its fragments are out of order")
        parts.append(body)
        if kind in (_WHOLE, _LAST):
            yield b"".join(parts)
            parts = []
    if parts:
        raise _FaultError(f"it is cut short after {len(data)} bytes, inside a record")


def _fragments(data: bytes) -> Iterator[tuple[int, bytes]]:
    if not data.startswith(FILE_HEADER):
        raise _FaultError("it does not begin as a .wandb file")
    if len(data) == len(FILE_HEADER):
        raise _FaultError("it holds its 7-byte header and nothing else")
    at = len(FILE_HEADER)
    while at < len(data):
        left = _BLOCK - at % _BLOCK
        if left < _FRAGMENT.size:
            at += left
            continue
        if len(data) - at < _FRAGMENT.size:
            raise _FaultError(f"it is cut short after {len(data)} bytes, inside a record")
        checksum, length, kind = _FRAGMENT.unpack_from(data, at)
        body = data[at + _FRAGMENT.size : at + _FRAGMENT.size + length]
        if length > left - _FRAGMENT.size or kind not in (_WHOLE, _FIRST, _MIDDLE, _LAST):
            raise _FaultError(f"it is damaged at byte {at}")
        if len(body) < length:
            raise _FaultError(f"it is cut short after {len(data)} bytes, inside a record")
        if zlib.crc32(body, zlib.crc32(bytes([kind]))) != checksum:
            raise _FaultError(f"it is damaged at byte {at}")
        at += _FRAGMENT.size + length
        yield kind, body
