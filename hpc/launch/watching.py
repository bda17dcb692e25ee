"""Looking at a sweep again and again until nothing more will happen by itself."""

from __future__ import annotations

import sys
import time

from hpc.launch.remarks import say
from hpc.status import sweep as status
from hpc.storage.store import Store
from hpc.submission import intents

_WATCH_SECONDS, _SANDBOX_WATCH_SECONDS = 30.0, 1.0


def status_text(store: Store, taken: status.Snapshot) -> str:
    estimate = status.estimate(store, taken)
    return status.text(taken) + (f"\n\n{estimate}" if estimate else "")


def watch(store: Store, profile: str, quiet: bool) -> status.Snapshot:
    """Look again and again until nothing more will happen by itself; Slurm is asked at most twice a minute."""
    here = profile == "sandbox" or any(entry.profile == "sandbox" for entry in intents.intents(store))
    pause = _SANDBOX_WATCH_SECONDS if here else _WATCH_SECONDS
    live_view = sys.stdout.isatty() and not quiet
    last = ""
    while True:
        taken = status.take(store)
        text = status_text(store, taken)
        if live_view:
            print(f"\x1b[H\x1b[2J{text}", flush=True)
        elif text != last:
            (say if quiet else print)(text.splitlines()[0] if quiet else text + "\n")
        last = text
        if taken.finished and not taken.trouble:
            return taken
        time.sleep(pause)
