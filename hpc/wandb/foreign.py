"""`.wandb` files in a sweep's directory that Holdfast did not write: a trainer's own runs, complete or not.

A task's working directory is the sweep's, so a trainer that calls `wandb.init` itself leaves its offline runs there.
A sweep's directory is data, whoever made it, and such a file decides which files of this machine W&B's own `wandb sync`
uploads, and to whose project. So none is sent unasked; of those that are, no more leaves this machine than they hold.

One broken file makes `wandb sync` upload none of many and still exit with 0. So each file is inspected first, the
broken ones are set aside, and the others are sent one by one and looked up on the server.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hpc.files import atomic, limits, reading
from hpc.storage.store import Store
from hpc.wandb.compare import rows_missing
from hpc.wandb.helper import ELSEWHERE, Helper, environment
from hpc.wandb.offline_files import Segment, find_segments, join_segments, parse_segment, read_segment
from hpc.wandb.reader import runs_on_server
from hpc.wandb.runs import WandbRun

# Per file: a server that is silent must not hold up the rest.
_SYNC_SECONDS = 300


@dataclass
class Found:
    """What was found. remarks: for the user, one line each. whole: complete runs to send, oldest first."""

    remarks: list[str] = field(default_factory=list)
    whole: list[Segment] = field(default_factory=list)


def check_segments(store: Store, others: bool) -> Found:
    """Inspect every `.wandb` file and set the broken ones aside. Raises OSError; ImportError without wandb.

    others: whether complete runs are to be sent; without it they are only named.
    """
    ours = (
        store.paths.results_root,
        store.paths.packs_root,
        store.paths.submissions_root,
        store.paths.code_root,
    )
    found = Found()
    for path in find_segments(store.root, {path.name for path in ours}):
        segment = read_segment(path)
        shown = path.relative_to(store.root)
        if segment.fault:
            aside = atomic.quarantine(path)
            rows = f"; {len(segment.rows)} rows can be read" if segment.rows else ""
            found.remarks.append(f"{shown}: {segment.fault}{rows}; set aside as {aside.name}")
        elif path == store.paths.wandb_segment_file(segment.id) or os.path.lexists(_marker(path)):
            continue
        elif not segment.whole:
            # It may still be growing: sent now, it would be marked as sent for good.
            found.remarks.append(f"{shown}: run {segment.id} has not ended; W&B's own `wandb sync` sends it as it is")
        elif not others:
            about = f"run {segment.id} of another program, for {_place(segment)}"
            found.remarks.append(f"{shown}: {about}, is not sent; --others sends it")
        elif segment.reaches:
            why = f"its {segment.reaches} records may name any file of this machine"
            sends = "W&B's own `wandb sync` sends it with them"
            found.remarks.append(f"{shown}: run {segment.id} is not sent; {why}; {sends}")
        else:
            found.whole.append(segment)
    found.whole.sort(key=lambda segment: (segment.started, segment.path))
    return found


def _marker(path: Path) -> Path:
    """Where the vendor's command notes that it has sent a file."""
    return path.with_name(f"{path.name}.synced")


def _place(segment: Segment) -> str:
    # What W&B calls a project that was not named.
    return "/".join(filter(None, (segment.about["entity"], segment.about["project"] or "uncategorized")))


def send_segments(segments: list[Segment], helper: Helper, say: Callable[[str], None]) -> list[str]:
    """Send complete runs with the vendor's command. Returns what the server then lacks, one line each."""
    for number, segment in enumerate(segments, start=1):
        say(f"sending run {segment.id} of another program: {number} of {len(segments)}")
        _send(segment.path)
    return [line for run in join_segments(segments) for line in _lacking(run, helper)]


def _send(path: Path) -> None:
    """Send a copy of what is read now, alone in a folder of ours: beside the file may lie links to anything, which the
    client would read or write through. Raises OSError.
    """
    data = reading.read(path, limits.SEGMENT)
    segment = parse_segment(path, data)
    if not segment.whole or segment.reaches:  # another one than was inspected: the server is found to lack the run
        return
    # The client skips what lies in a folder of another name.
    with tempfile.TemporaryDirectory(prefix="offline-run-", ignore_cleanup_errors=True) as folder:
        copy = Path(folder, path.name)
        copy.write_bytes(data)
        _sync(copy)
        if _marker(copy).exists():
            atomic.publish_once(_marker(path), b"")


def _sync(path: Path) -> None:
    try:
        subprocess.run(
            # -P, or a wandb/__init__.py in the working directory would be run instead of the client.
            [sys.executable, "-P", "-m", "wandb", "sync", str(path)],
            cwd=ELSEWHERE,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SYNC_SECONDS,
            env=environment(needs_key=True),
            check=False,  # it exits with 0 even if nothing was sent: the server is asked afterwards
        )
    except subprocess.TimeoutExpired:
        return


def _lacking(run: WandbRun, helper: Helper) -> list[str]:
    # What W&B calls a project that was not named.
    found = runs_on_server(helper, run.project or "uncategorized", run.entity, {"name": run.id})
    name = f"run {run.id} ({Path(run.source).name})"
    if not found:
        return [f"{name}: not on the server"]
    return [f"{name}: {line}" for line in rows_missing(run, found[0])]
