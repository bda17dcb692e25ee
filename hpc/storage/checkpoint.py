"""One generation of a pack's checkpoint as bytes: a row a cell, checksummed, without pickle.

Layout: one line of text with magic, format and the SHA-256 of all that follows; one line of JSON with the rows'
digests, steps, plain values and histories; then the arrays as safetensors.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import safetensors.numpy

_MAGIC = b"holdfast-checkpoint 1 "
_FIRST_LINE_BYTES = len(_MAGIC) + 64 + 1
# What safetensors calls the kinds of numbers that numpy has by itself.
_KINDS = {"b": "BOOL", "f": "F", "i": "I", "u": "U", "c": "C"}
_SIZES = {"BOOL": (1,), "F": (2, 4, 8), "I": (1, 2, 4, 8), "U": (1, 2, 4, 8), "C": (8,)}


class CorruptCheckpointError(Exception):
    """The bytes are not a whole checkpoint; the message says what is wrong with them."""


@dataclass(frozen=True)
class SavedCell:
    """One cell's state in a generation.

    cell: its name. cell_digest: identity and configuration; a row is only restored where it is equal.
    step: the trainer's count. values: plain JSON. history: the metrics of each finished epoch.
    numerics: what bit-identity depends on, as the trainer stated it.
    lineage: every code and numerics that trained the cell so far, {from_step, code, numerics}, the last one ours;
        empty in rows of versions that did not keep it.
    seconds: training time that went into this state, over all attempts.
    epochs: number of epochs planned, for progress displays; 0 if not known.
    """

    cell: str
    cell_digest: str
    config_digest: str
    step: int
    values: Mapping[str, Any] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()
    numerics: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    arrays: Mapping[str, Any] = field(default_factory=dict)
    epochs: int = 0
    lineage: Sequence[Mapping[str, Any]] = ()

    def copied(self) -> SavedCell:
        """A row that training can no longer change: a trainer hands over views of what it goes on working with."""
        arrays = {name: array if callable(array) else np.array(array) for name, array in self.arrays.items()}
        return replace(self, arrays=arrays, values=copy.deepcopy(self.values), history=list(self.history))

    def arrived(self) -> SavedCell:
        """A row whose arrays are there: those given as functions are waited for."""
        found = {name: array() if callable(array) else array for name, array in self.arrays.items()}
        return replace(self, arrays=found)


def parts(rows: Sequence[SavedCell]) -> list[bytes | memoryview]:
    """A generation, to be written one part after another. Values and histories may hold inf and nan: they come back as
    they went in.

    An array's part is its own memory, so that the states of a pack are not held several times over, and neither the
    checksum nor the writing keeps a thread that trains meanwhile from running. Until it is written, nothing may change.
    Raises TypeError for an array of what is no number.
    """
    tensors = {
        f"{i}/{name}": _little_endian(np.asarray(array, order="C"))
        for i, row in enumerate(rows)
        for name, array in row.arrays.items()
    }
    header = [
        {
            "cell": row.cell,
            "cell_digest": row.cell_digest,
            "config_digest": row.config_digest,
            "step": row.step,
            "values": dict(row.values),
            "history": list(row.history),
            "numerics": dict(row.numerics),
            "lineage": [dict(part) for part in row.lineage],
            "seconds": row.seconds,
            "epochs": row.epochs,
        }
        for row in rows
    ]
    # The widest numbers first, as safetensors has them: then each array begins at a multiple of its numbers' size.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].itemsize, item[0]))
    body: list[bytes | memoryview] = [json.dumps(header).encode() + b"\n", _tensors_header(ordered)]
    body += [array.reshape(-1).view(np.uint8).data for _, array in ordered]
    checksum = hashlib.sha256()
    for part in body:
        checksum.update(part)
    return [_MAGIC + checksum.hexdigest().encode() + b"\n", *body]


def _little_endian(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def _tensors_header(ordered: Sequence[tuple[str, np.ndarray[Any, Any]]]) -> bytes:
    """What safetensors has before the arrays: the length of a JSON text, and the text, filled up to a multiple of 8."""
    entries, begin = {}, 0
    for name, array in ordered:
        end = begin + array.nbytes
        entries[name] = {"dtype": _kind(name, array.dtype), "shape": array.shape, "data_offsets": (begin, end)}
        begin = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _kind(name: str, dtype: np.dtype[Any]) -> str:
    kind = _KINDS.get(dtype.kind, "")
    if dtype.itemsize not in _SIZES.get(kind, ()):
        known = "bool, complex64, and integers and floats of up to 64 bits"
        raise TypeError(f"array {name.partition('/')[2]!r} is of {dtype}; a checkpoint holds {known}")
    return kind if kind == "BOOL" else f"{kind}{8 * dtype.itemsize}"


def decode(data: bytes) -> list[SavedCell]:
    """All rows of a generation. Raises CorruptCheckpointError unless every byte is as it was written."""
    if not data.startswith(_MAGIC) or len(data) < _FIRST_LINE_BYTES:
        raise CorruptCheckpointError("it does not begin as a checkpoint of this format")
    checksum = data[len(_MAGIC) : _FIRST_LINE_BYTES]
    if hashlib.sha256(memoryview(data)[_FIRST_LINE_BYTES:]).hexdigest().encode() + b"\n" != checksum:
        raise CorruptCheckpointError("its checksum does not match its content")
    end = data.index(b"\n", _FIRST_LINE_BYTES)
    text = data[_FIRST_LINE_BYTES:end]
    arrays = safetensors.numpy.load(data[end + 1 :])
    by_row: dict[int, dict[str, Any]] = {}
    for key, array in arrays.items():
        number, _, name = key.partition("/")
        by_row.setdefault(int(number), {})[name] = array
    # What a later version adds to a row is passed over: its tasks and ours may train the same sweep in turn.
    known = SavedCell.__dataclass_fields__
    entries = [{key: value for key, value in entry.items() if key in known} for entry in json.loads(text)]
    return [SavedCell(**entry, arrays=by_row.get(i, {})) for i, entry in enumerate(entries)]
