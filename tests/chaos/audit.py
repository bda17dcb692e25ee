"""The order that makes a published file survive a power cut, checked on a trace of system calls.

A file gets its name only after its content was synced, nothing is written to it between the two, and its directory is
synced before anything is said of it in a cell's log, before the next name is given there, and before the task ends.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from .syscalls import Call

_DESCRIPTOR = re.compile(r"^\d+<(?P<path>[^>]*)>")
# Shown to people, believed by nobody: it need not survive.
_ADVISORY = ("progress.json",)


def audit(calls: Sequence[Call], root: Path) -> tuple[int, list[str]]:
    """Returns how many published files were followed, and every breach of the order."""
    synced: set[str] = set()
    owed: dict[str, str] = {}
    followed, breaches = 0, []
    for call in calls:
        if not call.changes(root):
            continue
        found = _DESCRIPTOR.match(call.arguments)
        path = found["path"] if found else ""
        if call.kind == "write":
            synced.discard(path)
            if path.endswith("log.txt"):
                breaches += _unpaid(owed, "before the log spoke")
        elif call.kind == "fsync":
            synced.add(path)
            owed = {target: parent for target, parent in owed.items() if parent != path}
        elif call.kind in ("rename", "link"):
            source, target = call.paths
            if target.endswith(_ADVISORY):
                continue
            followed += 1
            if "/.lock" not in source and source not in synced:
                breaches.append(f"{target} was named before its content was synced")
            synced.add(target)
            owed[target] = str(Path(target).parent)
        elif call.kind == "mkdir":
            target = call.paths[0]
            owed[target] = str(Path(target).parent)
    return followed, breaches + _unpaid(owed, "before the end")


def _unpaid(owed: dict[str, str], when: str) -> list[str]:
    breaches = [f"{target}: its directory was not synced {when}" for target in owed]
    owed.clear()
    return breaches
