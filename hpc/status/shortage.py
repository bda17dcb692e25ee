"""What the last attempt at a cell ran out of: memory, or time before it saved anything new; and how much it had.

Slurm's own word counts: from sacct, from the controller for as long as it remembers, or from what its daemon and
task.sh have written into the task's log, which stays. So does what the trainer itself raised. A process that somebody
killed, a preemption or a node that went down is no shortage.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from hpc.files import logs
from hpc.node.giving_up import got_nowhere
from hpc.slurm.commands import Slurm, SlurmError
from hpc.storage.store import Store
from hpc.submission.intents import SLURM, Intent, intents, is_copied
from hpc.sweep.cell import Cell

MEMORY, TIME = "mem_gb", "timeout_min"
# No key of a profile: a GPU's memory comes with the GPU.
GPU_MEMORY = "GPU memory"
# What Python, numpy and torch raise; and what libraries for GPUs call the same.
_RAISED = re.compile(r"MemoryError|(can't|cannot|unable to) allocate|out of memory", re.IGNORECASE)
_ON_GPU = re.compile(r"CUDA|\bHIP\b|RESOURCE_EXHAUSTED|\bGPU\b")
_KILLED = re.compile(r"signal 9\b|SIGKILL")
# Who writes into a task's log, and the words by which it tells a shortage. Sought one after the other: one expression
# for both would begin again at every name in a line.
# Slurm's daemon gives its name or, as in 26.05, the time.
_DAEMON = re.compile(r"slurmstepd|\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]{0,10}\] error: ")
_LOGGED = (
    (MEMORY, _DAEMON, re.compile(r"oom.kill|exceeded (job |step )?memory limit", re.I)),
    (MEMORY, re.compile("task[.]sh: "), re.compile(r"out of memory", re.I)),
    (TIME, _DAEMON, re.compile(r"DUE TO TIME LIMIT")),
)
_STATES = {"OUT_OF_MEMORY": MEMORY, "TIMEOUT": TIME}
# Slurm may send the signal up to a minute early, and a task takes a while to begin.
_EARLY_SECONDS = 90.0


class Shortage(NamedTuple):
    """What an attempt ran out of. had: how much of it was asked for; None where nothing was."""

    of: str
    had: float | int | None


@dataclass
class Shortages:
    """Asks after the shortages of cells; Slurm once for each submission that is concerned."""

    store: Store
    _intents: dict[int, Intent] = field(default_factory=dict)
    _states: dict[int, dict[tuple[str, int | None], str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = (intent for intent in intents(self.store) if intent.kind == SLURM)
        self._intents = {intent.number: intent for intent in known if not is_copied(self.store, intent)}

    def of(self, cell: Cell) -> Shortage | None:
        """What the last attempt at a cell ran out of; None if it was something else, or nobody can tell.

        Raises SweepError, OSError.
        """
        given_up = ""
        for attempt in reversed(self.store.counting_attempts(cell)):
            failure = self.store.failure(cell, attempt)
            if failure and failure.get("given_up"):  # the attempts before it tell why
                given_up = str(failure["cause"])
                continue
            pack = self.store.pack_of(cell, attempt)
            record = self.store.pack_record(pack) if pack is not None else {}
            intent = self._intents.get(record.get("submission", 0))
            task = record.get("task")
            if intent is None or pack is None or not task or task[0] >= len(intent.tokens):
                return None
            found = _Ended(self, cell, attempt, pack, intent, (task[0], task[1]))
            short = found.raised(failure) if failure else found.killed() or found.stopped(given_up)
            had = found.asked.get(short)
            return Shortage(short, had if isinstance(had, int | float) else None) if short else None
        return None

    def state(self, intent: Intent, array: int, index: int) -> str:
        """Slurm's state of a task; empty where it is not known."""
        if intent.number not in self._states:
            self._states[intent.number] = _asked(intent)
        return self._states[intent.number].get((intent.tokens[array], index), "")


@dataclass(frozen=True)
class _Ended:
    """An attempt at a cell in a task of a submission."""

    asking: Shortages
    cell: Cell
    attempt: int
    pack: int
    intent: Intent
    task: tuple[int, int]

    @property
    def asked(self) -> Mapping[str, str | int | float]:
        """What its task had asked for, as far as that is on record."""
        requested = self.intent.requested
        return requested[self.task[0]] if self.task[0] < len(requested) else {}

    def raised(self, failure: dict[str, Any]) -> str:
        """By what the trainer raised; or by Slurm, where only a process of the trainer's was killed."""
        cause = str(failure.get("cause", ""))
        if _RAISED.search(cause):
            return GPU_MEMORY if _ON_GPU.search(cause) else MEMORY
        return MEMORY if _KILLED.search(cause) and self._by_slurm() == MEMORY else ""

    def killed(self) -> str:
        """By Slurm's word on a task that left none itself."""
        store = self.asking.store
        if store.progress_record(self.pack).get("ended"):
            return ""
        short = self._by_slurm()
        # Out of time with something saved, it gets further by itself: the next task begins there.
        return "" if short == TIME and not got_nowhere(store, self.pack) else short

    def stopped(self, given_up: str) -> str:
        """A cell was given up since its tasks were always asked to stop: the last one towards the end of its time?"""
        limit = self.asked.get(TIME)
        at = self.asking.store.progress_record(self.pack).get("at")
        if not (given_up.startswith("was stopped") and isinstance(limit, int) and isinstance(at, int | float)):
            return ""
        began = os.stat(self.asking.store.paths.pointer_file(self.cell, self.attempt)).st_mtime
        until = max(60 * limit - self.intent.signal_delay_s - _EARLY_SECONDS, 15 * limit)
        return TIME if at - began >= until else ""

    def _by_slurm(self) -> str:
        log = self.asking.store.paths.task_log(self.intent.number, *self.task)
        text = logs.tail(log) if log.is_file() else ""
        return _logged(text) or _STATES.get(self.asking.state(self.intent, *self.task), "")


def _logged(text: str) -> str:
    """What a task ran out of, by what its log says; empty if it says nothing of it."""
    lines = text.split("\n")
    for short, who, words in _LOGGED:
        if any((named := who.search(line)) and words.search(line, named.start()) for line in lines):
            return short
    return ""


def _asked(intent: Intent) -> dict[tuple[str, int | None], str]:
    """States of a submission's tasks by token and index, as far as Slurm knows them."""
    slurm = Slurm(Path(intent.conf) if intent.conf else None)
    found: dict[tuple[str, int | None], str] = {}
    with contextlib.suppress(SlurmError):  # an answer that nobody has is none
        found |= {(task.name, task.index): task.state for task in slurm.queue(intent.tokens, finished=True)}
    found |= {(task.name, task.index): task.state for task in slurm.accounting(intent.tokens) or ()}
    return found
