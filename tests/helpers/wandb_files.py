"""`.wandb` files with any content, as no client writes them: hpc.wandb.offline_files describes the format."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hpc.wandb.offline_files import FILE_HEADER

_BLOCK, _HEADER = 32_768, 7


def segment(payloads: Iterable[bytes]) -> bytes:
    """A file with these records, each in as many fragments as it takes."""
    data = bytearray(FILE_HEADER)
    for payload in payloads:
        first = True
        while True:
            left = _BLOCK - len(data) % _BLOCK
            if left < _HEADER:
                data += b"\0" * left
                left = _BLOCK
            part, payload = payload[: left - _HEADER], payload[left - _HEADER :]
            data += fragment({(1, 1): 1, (1, 0): 2, (0, 0): 3, (0, 1): 4}[first, not payload], part)
            first = False
            if not payload:
                break
    return bytes(data)


def fragment(kind: int, body: bytes) -> bytes:
    checksum = zlib.crc32(body, zlib.crc32(bytes([kind])))
    return struct.pack("<IHB", checksum, len(body), kind) + body


def run(
    config: Mapping[str, Any], rows: Sequence[Mapping[str, Any]] = (), summary: Mapping[str, Any] | None = None
) -> list[bytes]:
    """The records of one finished run of group g in project p. Values are JSON, or bytes that stand for it."""
    from wandb.proto import wandb_internal_pb2 as pb

    begun, ended, closing = pb.Record(), pb.Record(), pb.Record()  # type: ignore[attr-defined]
    begun.run.run_id, begun.run.project, begun.run.run_group = "abc", "p", "g"
    _fill(begun.run.config.update, config)
    _fill(ended.summary.update, summary or {})
    closing.exit.exit_code = 0
    logged = []
    for step, row in enumerate(rows):
        record = pb.Record()  # type: ignore[attr-defined]
        record.history.step.num = step
        _fill(record.history.item, row)
        logged.append(record)
    return [record.SerializeToString() for record in (begun, *logged, ended, closing)]


def _fill(items: Any, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        item = items.add()
        item.key = name
        item.value_json = value.decode() if isinstance(value, bytes) else json.dumps(value)
