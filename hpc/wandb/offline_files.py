"""Runs from `.wandb` files, without a server: what each attempt logged, with the attempts of one run joined.

The format is LevelDB's log with W&B's 7-byte header, and is read here without wandb. Blocks of 32 KiB hold fragments:
a CRC-32 over type and data (4 bytes), a length (2), a type (1: whole record; 2, 3, 4: its first, middle or last part)
and the data, all little-endian. Fewer than 7 bytes at the end of a block are padding. A killed process leaves a prefix
of the whole file, and every fragment has a checksum: what is read is what was written, up to the first fault. Only the
records themselves, protocol buffers, need wandb's definitions. Source: LevelDB's doc/log_format.md, and files of wandb
0.31.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from hpc.files import directories, limits, reading
from hpc.wandb.runs import CRASHED, FAILED, FINISHED, STEP, WandbRun, one_row_a_step

SUFFIX = ".wandb"
FILE_HEADER = b":W&B\xe1\xbe\x00"
_BLOCK = 32 * 1024
_FRAGMENT = struct.Struct("<IHB")
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
# Records of which the client uploads no more than what they hold. All others, such as those of artifacts and
# TensorBoard logs, can name any file of the machine.
_HOLD_IT_ALL = frozenset(
    {
        "run",
        "config",
        "summary",
        "history",
        "metric",
        "stats",
        "output",
        "output_raw",
        "output_logger",
        "telemetry",
        "alert",
        "preempting",
        "environment",
        "exit",
        "final",
        "header",
        "footer",
    }
)
_DEEPEST = 64  # mappings in one another, in a configuration or a summary


@dataclass
class Segment:
    """One `.wandb` file: what one attempt at a run left.

    fault: why reading ended before the end of the file; empty if it did not. about: name, project, entity, group,
    job_type and tags. started: seconds since 1970, which orders the attempts of a run. exit_code: None without an end.
    reaches: the kind of a record that may name a file outside the run's own folder; empty if there is none.
    """

    path: Path
    fault: str = ""
    id: str = ""
    about: dict[str, Any] = field(default_factory=dict)
    started: float = 0.0
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    exit_code: int | None = None
    reaches: str = ""

    @property
    def whole(self) -> bool:
        """Whether the file has the run from its beginning to its end."""
        return bool(self.id) and not self.fault and self.exit_code is not None

    @property
    def state(self) -> str:
        if self.exit_code is None:
            return CRASHED
        return FINISHED if self.exit_code == 0 else FAILED


def find_segments(root: Path, leave_out: Iterable[str] = ()) -> list[Path]:
    """All `.wandb` files below a directory, sorted; links are not followed (`latest-run` is one).

    leave_out: names of directories to skip.
    """
    skipped = set(leave_out)
    found: list[Path] = []
    for directory, folders, names in directories.walk(root):
        folders[:] = [name for name in folders if name not in skipped]
        found += [Path(directory) / name for name in names if name.endswith(SUFFIX)]
    return sorted(path for path in found if path.is_file() and not path.is_symlink())


def read_segment(path: Path) -> Segment:
    """One file: a prefix of what was logged, and the fault that ended the reading.

    Raises OSError, and ImportError where wandb is not installed.
    """
    return parse_segment(path, reading.read(path, limits.SEGMENT))


def parse_segment(path: Path, data: bytes) -> Segment:
    """The same of the bytes of a file. Raises ImportError where wandb is not installed."""
    # Imported here: loading wandb takes a second, and only these files need its record types.
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from wandb.proto import wandb_internal_pb2

    records = read_records(data)
    segment = Segment(path, records.fault)
    for payload in records.payloads:
        try:
            _take(segment, wandb_internal_pb2.Record.FromString(payload))  # type: ignore[attr-defined]
        except (DecodeError, ValueError, RecursionError):
            # The checksum held, so this is what was written: a file of another version of W&B, or made by hand.
            segment.fault = "a record is not as W&B writes it"
            break
    if not segment.id and not segment.fault:
        segment.fault = "it names no run"
    return segment


def join_segments(segments: Iterable[Segment]) -> list[WandbRun]:
    """One run per id, with the rows of all its attempts; for everything else the newest attempt decides."""
    by_id: dict[str, list[Segment]] = defaultdict(list)
    for segment in segments:
        if segment.id:
            by_id[segment.id].append(segment)
    return [_run(sorted(group, key=lambda s: (s.started, s.path))) for group in by_id.values()]


def _run(attempts: list[Segment]) -> WandbRun:
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    for segment in attempts:
        config |= segment.config
        summary |= segment.summary
    last = attempts[-1]
    # A file with a fault may have lost the end of its run, whatever it still holds.
    return WandbRun(
        id=last.id,
        state=CRASHED if last.fault else last.state,
        config=config,
        summary=summary,
        rows=one_row_a_step(row for segment in attempts for row in segment.rows),
        source=str(last.path),
        **last.about,
    )


def _take(segment: Segment, record: Any) -> None:
    """Apply one record; to be called in the order in which they were written. Raises ValueError for broken JSON."""
    kind = record.WhichOneof("record_type")
    if kind == "run":
        _take_run(segment, record.run)
    elif kind == "config":
        _update(segment.config, record.config)
        segment.config.pop("_wandb", None)
    elif kind == "summary":
        _update(segment.summary, record.summary)
    elif kind == "history":
        row = {".".join(_path(item)): _value(item.value_json) for item in record.history.item}
        row.setdefault(STEP, record.history.step.num)
        segment.rows.append(row)
    elif kind == "exit":
        segment.exit_code = record.exit.exit_code
    elif kind == "files":
        if any(_leads_out(item.path) for item in record.files.files):
            segment.reaches = kind
    elif kind not in _HOLD_IT_ALL:
        segment.reaches = kind or "unknown"


def _leads_out(name: str) -> bool:
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts


def _take_run(segment: Segment, run: Any) -> None:
    segment.id = run.run_id
    segment.started = run.start_time.seconds + run.start_time.nanos / 1e9
    segment.about = {
        "name": run.display_name or run.run_id,
        "project": run.project,
        "entity": run.entity,
        "group": run.run_group,
        "job_type": run.job_type,
        "tags": tuple(run.tags),
    }
    _update(segment.config, run.config)
    segment.config.pop("_wandb", None)


def _update(target: dict[str, Any], change: Any) -> None:
    """Apply updates and removals of (nested) keys to a configuration or a summary."""
    for item in change.update:
        *parents, last = _path(item)
        place = target
        for name in parents:
            inner = place.get(name)
            if not isinstance(inner, dict):
                inner = place[name] = {}
            place = inner
        place[last] = _value(item.value_json)
    for item in change.remove:
        *parents, last = _path(item)
        found: Any = target
        for name in parents:
            found = found.get(name) if isinstance(found, Mapping) else None
        if isinstance(found, dict):
            found.pop(last, None)


def _path(item: Any) -> list[str]:
    """Raises ValueError for one that is none."""
    names = list(item.nested_key) or [item.key]
    if len(names) > _DEEPEST:
        raise ValueError("nested too deeply")
    return names


def _value(text: str) -> Any:
    """Raises ValueError for what is no JSON, or holds what no file can."""
    # wandb's Go part writes -0.0 as -0, which json would read as the whole number 0.
    value = json.loads(text, parse_int=lambda digits: -0.0 if digits == "-0" else int(digits))
    if text.count("[") + text.count("{") > _DEEPEST and _depth(value) > _DEEPEST:
        raise ValueError("nested too deeply")
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()  # half a character
    return value


def _depth(value: Any) -> int:
    """How deep lists and mappings lie in one another, as far as that is more than a few."""
    depth, inside = 0, [value]
    while inside and depth <= _DEEPEST:
        depth += 1
        below = (entry.values() if isinstance(entry, dict) else entry for entry in inside)
        inside = [entry for entries in below if not isinstance(entries, str | float | int | None) for entry in entries]
    return depth


@dataclass(frozen=True)
class Records:
    """Payloads of the complete records before the first fault. fault: what ended the reading; empty at a clean end.

    A file that was cut exactly between two records ends cleanly: only an exit record shows that a run is complete.
    """

    payloads: list[bytes]
    fault: str


class _FaultError(Exception):
    pass


def read_records(data: bytes) -> Records:
    """Every record before the first fault. Records may be missing at the end; none is ever wrong."""
    payloads: list[bytes] = []
    try:
        for payload in _joined(data):
            payloads.append(payload)
    except _FaultError as error:
        return Records(payloads, str(error))
    return Records(payloads, "")


def _joined(data: bytes) -> Iterator[bytes]:
    """Complete records, joined from their fragments. Raises _FaultError at the first fault."""
    parts: list[bytes] = []
    count = 0
    for kind, body in _fragments(data):
        # A record begins exactly where none is open.
        if (kind in (_WHOLE, _FIRST)) == bool(parts):
            raise _FaultError("its fragments are out of order")
        parts.append(body)
        if kind in (_WHOLE, _LAST):
            count += 1
            if fault := limits.too_many(count, limits.MOST_RECORDS, "records"):
                raise _FaultError(f"it has {fault}")
            yield b"".join(parts)
            parts = []
    if parts:
        raise _FaultError(f"it is cut short after {len(data)} bytes, inside a record")


def _fragments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and data of each fragment. Raises _FaultError at the first that is cut or damaged."""
    if not data.startswith(FILE_HEADER):
        raise _FaultError("it does not begin as a .wandb file")
    # What a process leaves that is killed in its first seconds, before wandb has written anything else.
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
        # Length and type before the checksum: a damaged length must not make an intact file look cut short.
        body = data[at + _FRAGMENT.size : at + _FRAGMENT.size + length]
        # Nothing is written without need, but a beginning where a block has room for no more.
        empty = length == 0 and not (kind == _FIRST and left == _FRAGMENT.size)
        if empty or length > left - _FRAGMENT.size or kind not in (_WHOLE, _FIRST, _MIDDLE, _LAST):
            raise _FaultError(f"it is damaged at byte {at}")
        if len(body) < length:
            raise _FaultError(f"it is cut short after {len(data)} bytes, inside a record")
        if zlib.crc32(body, zlib.crc32(bytes([kind]))) != checksum:
            raise _FaultError(f"it is damaged at byte {at}")
        at += _FRAGMENT.size + length
        yield kind, body
