"""The stamp of an aggregation in figures of the user's own: one that was not drawn again is not taken for new."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Collection
from pathlib import Path

from hpc.files import reading
from hpc.storage.permissions import below

_OWN = "; a figure of the user's own"
_STAMP = re.compile(rb"aggregation ([0-9a-f]{64})" + _OWN.encode())
_SUFFIXES = (".png", ".pdf", ".svg")
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"


def with_stamp(name: str, content: bytes, stamp: str) -> bytes:
    """The file with a stamp where its format has room for one: what is drawn stays as it is. Other files: unchanged."""
    text = f"aggregation {stamp}{_OWN}"
    if name.endswith(".png") and content.endswith(_PNG_END):
        chunk = b"tEXtSubject\x00" + text.encode()
        framed = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        return content.removesuffix(_PNG_END) + framed + _PNG_END
    if name.endswith(".pdf") and content.rstrip().endswith(b"%%EOF"):
        return content.rstrip() + f"\n% {text}\n%%EOF\n".encode()
    if name.endswith(".svg") and content.rstrip().endswith(b"</svg>"):
        return content.rstrip() + f"\n<!-- {text} -->\n".encode()
    return content


def outdated(directory: Path, made: Collection[Path], stamp: str) -> list[Path]:
    """Figures of the user's own in ``directory`` that an earlier aggregation with other numbers drew."""
    found = [path for path in sorted(below(directory)) if path not in made and path.suffix in _SUFFIXES]
    files = [path for path in found if path.is_file() and not path.is_symlink()]
    return [path for path in files if (own := _STAMP.search(ends_of(path))) and own[1] != stamp.encode()]


def ends_of(path: Path) -> bytes:
    """Where a figure says whose it is, before and after what is drawn; nothing of a file that cannot be read.

    A user's own figure may have any size, and be readable for its owner only: neither may end an aggregation.
    """
    try:
        return reading.ends(path)
    except OSError:
        return b""
