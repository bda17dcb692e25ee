"""How a run on the server differs from the run on disk: one line of text per difference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hpc.wandb.cells import SWEEP_KEY
from hpc.wandb.runs import STEP, WandbRun, is_number

_ABOUT = ("name", "group", "job_type", "state")
MISSING = "is missing"


def differences(disk: WandbRun, server: WandbRun, *, history: bool = True) -> list[str]:
    """How the server's run differs from the disk's; empty if it does not. Keys that W&B adds are ignored.

    history: whether the server's rows were read.
    """
    found = [
        f"{key} is {getattr(server, key)!r} on the server, {getattr(disk, key)!r} on disk"
        for key in _ABOUT
        if getattr(server, key) != getattr(disk, key)
    ]
    # Tags that somebody added by hand are theirs.
    if not set(disk.tags) <= set(server.tags):
        found.append(f"tags are {sorted(server.tags)} on the server, {sorted(disk.tags)} on disk")
    # The text of the sweep grows with its grid; its digest, which is compared, does not.
    found += _mapping("config", {k: v for k, v in disk.config.items() if k != SWEEP_KEY}, server.config)
    found += _mapping("summary", disk.summary, server.summary)
    return [*found, *(rows_missing(disk, server) if history else ())]


def same(a: Any, b: Any) -> bool:
    """Equality of plain data as it comes back from a server: 1.0 is 1, and null or {} is the same as no key."""
    a, b = (None if isinstance(value, Mapping) and not value else value for value in (a, b))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return all(same(a.get(key), b.get(key)) for key in a.keys() | b.keys())
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if is_number(a) and is_number(b):
        return bool(a == b)
    # Not True == 1, which Python holds to be the same.
    return type(a) is type(b) and bool(a == b)


def _mapping(place: str, disk: Mapping[str, Any], server: Mapping[str, Any]) -> Iterator[str]:
    for key, value in disk.items():
        if not same(value, server.get(key)):
            yield f"{place}: {key!r} is {_shown(server.get(key))} on the server, {_shown(value)} on disk"


def rows_missing(disk: WandbRun, server: WandbRun) -> Iterator[str]:
    """Rows of a run that the server lacks, or has with other values, and those it has beyond; one line each."""
    theirs = {row[STEP]: row for row in server.rows}
    for row in disk.rows:
        found = theirs.pop(row[STEP], None)
        if found is None:
            yield f"epoch {row[STEP]} {MISSING}"
        else:
            yield from _mapping(f"epoch {row[STEP]}", row, found)
    if theirs:
        yield f"{len(theirs)} rows are on the server and not on disk, the first is step {min(theirs)}"


def _shown(value: Any) -> str:
    text = "missing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
