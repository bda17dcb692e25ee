"""Kills and preemptions while cells train, at moments that a seed determines."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence

from hpc.resume_check.runners import KILL, Runner
from hpc.sweep.cell import Cell

Say = Callable[[str], None]

# One of each kind that a runner has.
FAULTS_PER_CELL = 3


class Disturber:
    """Strikes every cell a few times, each at a random moment after its newest attempt has begun to train."""

    def __init__(self, runner: Runner, cells: Sequence[Cell], generator: random.Random, reach: float, say: Say) -> None:
        self._runner, self._cells, self._generator, self._reach, self._say = runner, cells, generator, reach, say
        self._due: dict[tuple[Cell, int], float] = {}
        self._struck: dict[tuple[Cell, int], str] = {}

    def look(self) -> None:
        """Strike whatever is due."""
        for cell in self._cells:
            attempts = self._runner.store.attempts(cell)
            key = (cell, attempts[-1]) if attempts else (cell, 0)
            if key in self._struck or self._times(cell) >= FAULTS_PER_CELL or not self._trains(cell, key[1]):
                continue
            due = self._due.setdefault(key, time.monotonic() + self._generator.uniform(0, self._reach))
            if time.monotonic() >= due:
                self._strike(cell, key[1])

    def interruptions(self, cell: Cell) -> dict[str, int]:
        """Faults that ended an attempt: there is a later one."""
        last = max(self._runner.store.attempts(cell), default=0)
        return dict(Counter(kind for (name, attempt), kind in self._struck.items() if name == cell and attempt < last))

    def _times(self, cell: Cell) -> int:
        return sum(name == cell for name, _ in self._struck)

    def _trains(self, cell: Cell, attempt: int) -> bool:
        store = self._runner.store
        pack = store.pack_of(cell, attempt) if attempt else None
        return pack is not None and cell.name in store.progress(pack)

    def _strike(self, cell: Cell, attempt: int) -> None:
        kind = self._runner.kinds[(self._times(cell) + self._cells.index(cell)) % len(self._runner.kinds)]
        pack = self._runner.store.pack_of(cell, attempt)
        if kind == KILL and (pack is None or not self._runner.store.paths.has_saved(pack)):
            return  # later: killed repeatedly before anything is saved, a cell counts as FAILED
        if self._runner.strike(cell, kind):
            self._struck[cell, attempt] = kind
            self._say(f"  {cell.name}: {kind} in attempt {attempt}")
