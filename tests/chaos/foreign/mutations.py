"""What can be wrong with a file or folder of a sweep directory, one random change at a time."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Files that say what to do are struck more often than the many that only hold numbers.
_WEIGHTS = {"sweep.json": 14, "results.json": 3, "intent.json": 6, ".aggregate-cache": 6, ".states.json": 6}
_LONG = "x" * 100_000
_NUMBERS = (-1, 0, 1, 3, 2**31, 2**63, 2**64, -(2**70), 10**30, 0.5, -0.0, 1e308, -1e308, 5e-324)
_RAW = ("NaN", "Infinity", "-Infinity", "1e999", "1" * 5000, '"\\ud800"', "[" * 100_000 + "]" * 100_000)
_TEXTS = (
    *("", " ", ".", "..", "../../outside/canary", "/", "/dev/zero", "~", "\x1b[31m", "a\nb", "a\0b", "ü" * 300, _LONG),
    *(
        "$(touch executed)",
        "--help",
        "dim",
        "loss",
        "width",
        "COMPLETED",
        "nan",
        "1e999",
        "0x10",
        "%s%n",
        "{}",
        "\u202e",
    ),
)
# Of a document, once a part of it is repeated: more than any but a task list may have. Three such changes of one are
# several times as much, and take ten times that in memory.
_MOST_BYTES = 40_000_000
# Of a file that is read to be changed once more: what an earlier change made of it may be five gigabytes.
_MOST_READ = 30_000_000
# Stands in a document for text that json.dumps cannot write.
_PLACEHOLDER = "raw 6d1f"


def mutate(root: Path, canary: Path, generator: random.Random) -> str:
    """Change one thing below ``root``. canary: a file outside that links may lead to. Returns what was done."""
    found = listed(root)
    [relative] = generator.choices(found, [*map(_weight, found)])
    path = root / relative
    if path.is_symlink() or not (path.is_dir() or path.is_file()):
        return ""
    if path.is_dir():
        change = generator.choice(_FOLDER_CHANGES)
    elif path.stat().st_size > _MOST_READ:
        change = generator.choice(_UNREAD_CHANGES)
    elif path.suffix in (".json", ".jsonl") or path.name.startswith("."):
        change = generator.choices((_document, generator.choice(_FILE_CHANGES)), (4, 1))[0]
    elif path.suffix == ".csv":
        change = generator.choice((_history, generator.choice(_FILE_CHANGES)))
    else:
        change = generator.choice(_FILE_CHANGES)
    said = change(path, canary, generator)
    return f"{relative}: {said or change.__name__.strip('_')}"


def listed(root: Path) -> list[str]:
    """All paths below a directory. A snapshot has hundreds, which pathlib would list ten times as slowly."""
    start = len(str(root)) + 1
    walked = ((folder, name) for folder, folders, names in os.walk(root) for name in (*folders, *names))
    return sorted(f"{folder}/{name}"[start:] for folder, name in walked)


def _weight(relative: str) -> float:
    """The many files of a snapshot count as a few together."""
    folder, _, name = relative.rpartition("/")
    return 0.02 if folder.startswith("code/") else _WEIGHTS.get(name, 1)


# --- documents ------------------------------------------------------------------------------------------------------


def _document(path: Path, canary: Path, generator: random.Random) -> str:
    """One to three changes at random places of a JSON document, or of one line of many."""
    text = path.read_text(errors="replace")
    lines = text.splitlines() if path.suffix == ".jsonl" else [text]
    if not lines:
        return _garbage(path, canary, generator)
    at = generator.randrange(len(lines))
    try:
        document = json.loads(lines[at])
    except (ValueError, RecursionError):
        return _garbage(path, canary, generator)
    said, raw = [], generator.choice(_RAW)
    for _ in range(generator.choice((1, 1, 1, 2, 3))):
        document, what = _change_value(document, generator, str(canary))
        said.append(what)
    try:
        lines[at] = json.dumps(document).replace(f'"{_PLACEHOLDER}"', raw, _MOST_BYTES // len(raw))
    except ValueError:
        return _garbage(path, canary, generator)
    path.write_text("\n".join(lines) + "\n")
    return ", ".join(said) + (f" (raw {raw[:20]})" if _PLACEHOLDER in "".join(said) else "")


def _change_value(document: Any, generator: random.Random, canary: str) -> tuple[Any, str]:
    """The document with one change at a random depth, and what it was."""
    if isinstance(document, dict | list) and document and generator.random() < 0.8:
        keys = list(document) if isinstance(document, dict) else list(range(len(document)))
        key = generator.choice(keys)
        act = generator.random()
        if act < 0.08:
            del document[key]
            return document, f"without {key!r}"
        if act < 0.12 and isinstance(document, dict):
            document[generator.choice(_TEXTS)] = document.pop(key)
            return document, f"{key!r} renamed"
        if act < 0.16 and isinstance(document, list):
            count = _times(generator.choice((2, 1000, 20_000)), document[key])
            document[key:key] = [document[key]] * count
            return document, f"[{key}] {count} times"
        # A copy: what an earlier change has repeated is one value in many places, and would grow in all of them.
        document[key], what = _change_value(copy.copy(document[key]), generator, canary)
        return document, f"{key}.{what}"[:200]
    value = _value(document, generator, canary)
    return value, f"= {value!r}"[:60]


def _times(count: int, value: Any) -> int:
    """How often a value may be repeated, so that what is written stays above all limits and below our own memory."""
    return max(1, min(count, _MOST_BYTES // max(1, len(json.dumps(value, default=str)))))


def _value(old: Any, generator: random.Random, canary: str) -> Any:
    pools: tuple[Callable[[], Any], ...] = (
        lambda: generator.choice((None, True, False)),
        lambda: generator.choice(_NUMBERS),
        lambda: generator.choice(_TEXTS),
        lambda: canary,
        lambda: generator.choice(({}, [], [[]], {"": None}, [None], {"a": {"b": [1]}}, [1, "a", None])),
        lambda: [old],
        lambda: {"value": old},
        lambda: _PLACEHOLDER,
        lambda: str(old)[:1000],
        lambda: [old] * _times(50 if isinstance(old, dict | list) else 30_000, old),
        lambda: {f"key{i}": old for i in range(_times(2 if isinstance(old, dict | list) else 2000, old))},
        lambda: [[f"axis{i}", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]] for i in range(43)],
        lambda: list(range(10_000)),
    )
    return generator.choice(pools)()


def _history(path: Path, canary: Path, generator: random.Random) -> str:
    lines = path.read_text().splitlines() or ["epoch,loss"]
    header, *rows = lines
    kind = generator.choice(("nan", "words", "wide", "long", "header", "quotes", "names", "epochs"))
    match kind:
        case "nan":
            rows = [row.replace(row.rpartition(",")[2], generator.choice(("nan", "inf", "1e999", ""))) for row in rows]
        case "words":
            rows.insert(generator.randrange(len(rows) + 1), "a,b,c")
        case "wide":
            columns = 5000
            header = ",".join(["epoch", *(f"m{i}" for i in range(columns))])
            rows = [",".join([str(i + 1), *["0.5"] * columns]) for i in range(3)]
        case "long":
            width = header.count(",")
            rows = [f"{i}{',0.5' * width}" for i in range(1, 300_001)]
        case "header":
            header = generator.choice(("", "epoch", "loss", "epoch,epoch", "epoch,\x1b[31m", "\0", _LONG))
        case "quotes":
            header = '"epoch","lo""ss"'
        case "names":
            header = header.replace("loss", generator.choice(_TEXTS[:12]))
        case "epochs":
            rows = [f"{generator.choice((-1, 0, 1e300, 2**60, 0.5))},{row.partition(',')[2]}" for row in rows]
    path.write_text("\n".join([header, *rows]) + generator.choice(("\n", "")), errors="replace")
    return kind


# --- files ----------------------------------------------------------------------------------------------------------


def _garbage(path: Path, canary: Path, generator: random.Random) -> str:
    data = generator.choice(
        (b"", b"null", b"[]", b"{}", b"0", b'"a"', b"\xff\xfe", b"\0" * 100, generator.randbytes(500), b"[" * 200_000)
    )
    path.write_bytes(data)
    return f"bytes {data[:10]!r}"


def _cut(path: Path, canary: Path, generator: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: generator.randrange(len(data) + 1)])


def _flip(path: Path, canary: Path, generator: random.Random) -> None:
    data = bytearray(path.read_bytes() or b"\0")
    for _ in range(generator.choice((1, 3, 30))):
        data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
    path.write_bytes(data)


def _huge(path: Path, canary: Path, generator: random.Random) -> None:
    """Five gigabytes that take no room."""
    os.truncate(path, 5 << 30)


def _bomb(path: Path, canary: Path, generator: random.Random) -> None:
    """Twelve megabytes of JSON that are a gigabyte of objects where they are read as any document."""
    path.write_bytes(b"[" + b"{}," * 4_000_000 + b"{}]")


def _fifo(path: Path, canary: Path, generator: random.Random) -> None:
    _gone(path, canary, generator)
    os.mkfifo(path)


def _socket(path: Path, canary: Path, generator: random.Random) -> str:
    _gone(path, canary, generator)
    here = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(f"/proc/self/fd/{here}/{path.name[:60]}")  # a socket's path is short
    finally:
        os.close(here)
    return "socket"


def _link(path: Path, canary: Path, generator: random.Random) -> str:
    _gone(path, canary, generator)
    target = generator.choice((str(canary), path.name, "/dev/zero", "/dev/stdin", "nowhere", str(canary.parent), ".."))
    path.symlink_to(target)
    return f"link to {target}"


def _linked_away(path: Path, canary: Path, generator: random.Random) -> str:
    """The same content, reached through a link that leads out."""
    away = canary.parent / f"away-{generator.randrange(10**9)}"
    shutil.move(path, away)
    path.symlink_to(away)
    return "moved away, and a link to it"


def _other_kind(path: Path, canary: Path, generator: random.Random) -> None:
    was_folder = path.is_dir()
    _gone(path, canary, generator)
    if was_folder:
        path.write_bytes(b"{}")
    else:
        path.mkdir()


def _gone(path: Path, canary: Path, generator: random.Random) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _closed(path: Path, canary: Path, generator: random.Random) -> None:
    path.chmod(generator.choice((0, 0o200, 0o777, 0o4755)))


# --- folders --------------------------------------------------------------------------------------------------------


def _more_names(path: Path, canary: Path, generator: random.Random) -> str:
    names = ("9" * 30, "0", "-1", "00000", "1\n2", "\x1b]0;x\x07", "x" * 255, "conflict-\n.json", "²", "१", "7.failed")
    name = generator.choice((*names, "void-1-x.json", "void-" + "9" * 30 + "-x.json", "checkpoint-", "owner-.json"))
    place = path / name
    if not place.exists():
        if generator.random() < 0.5:
            place.mkdir()
        else:
            place.write_bytes(generator.choice((b"", b"{}", b"[1]")))
    return f"with {name[:30]!r}"


def _crowded(path: Path, canary: Path, generator: random.Random) -> None:
    for number in range(3000):
        (path / f"{number + 100:06d}").touch()


def _copied(path: Path, canary: Path, generator: random.Random) -> str:
    """A neighbour's content under another name: a cell, an attempt, a pack that is not what its name says."""
    others = sorted(other for other in path.parent.iterdir() if other.is_dir() and other != path)
    if not others:
        return _more_names(path, canary, generator)
    other = generator.choice(others)
    shutil.rmtree(path)
    subprocess.run(["cp", "-a", other, path], check=True)  # pipes and sockets as what they are
    return f"the content of {other.name}"


_FILE_CHANGES = (
    *(_garbage, _cut, _flip, _huge, _bomb, _fifo, _socket, _link, _linked_away, _other_kind, _gone, _closed),
)
_UNREAD_CHANGES = (_garbage, _bomb, _fifo, _socket, _link, _linked_away, _other_kind, _gone, _closed)
_FOLDER_CHANGES = (_more_names, _crowded, _copied, _fifo, _link, _linked_away, _other_kind, _gone, _closed)
