"""A file that is replaced is old or new at every moment: SIGKILL before every system call of atomic.publish."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from helpers.waiting import PATIENCE

from .attempts import ROOT, wait_stopped
from .syscalls import CHANGING, attach, read_trace

_SCRIPT = """
import os, signal, sys
from pathlib import Path
from hpc.files import atomic
os.kill(os.getpid(), signal.SIGSTOP)
atomic.publish(Path(sys.argv[1]), b"new")
"""


def campaign(directory: Path, code: Path = ROOT) -> Counter[str]:
    """Kill the writer at every place, and read what is left. Returns how often the file was old and new."""
    target, trace = directory / "sweep.json", directory / "trace"
    _publish(code, target, trace, "")
    counts: Counter[str] = Counter()
    for call in [call for call in read_trace(trace) if call.changes(directory)]:
        target.write_bytes(b"old")
        _publish(code, target, trace, f"{call.name}:signal=KILL:when={call.ordinal}")
        assert target.exists(), f"killed at {call.name} {call.ordinal}, the file is gone"
        found = target.read_bytes()
        assert found in (b"old", b"new"), found
        counts[found.decode()] += 1
    return counts


def _publish(code: Path, target: Path, trace: Path, inject: str) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-P", "-c", _SCRIPT, str(target)], env=os.environ | {"PYTHONPATH": str(code)}
    )
    try:
        wait_stopped(writer.pid)
        with attach(writer.pid, trace, inject, CHANGING):
            writer.send_signal(signal.SIGCONT)
            writer.wait(PATIENCE)
    finally:
        writer.kill()
        writer.wait()
