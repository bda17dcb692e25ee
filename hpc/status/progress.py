"""Progress of a local run on stderr: cells, epochs and an estimate, at a pace that costs nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from hpc.sweep.states import FAILED, FINAL
from hpc.units import duration

_TERMINAL_SECONDS, _LOG_SECONDS = 1.0, 15.0


class Progress:
    """Shows how far the given cells are, each time it is called and enough time has passed."""

    def __init__(self, store: Store, cells: Sequence[Cell], config_digest: str) -> None:
        self._store = store
        self._cells = cells
        self._digest = config_digest
        self._terminal = sys.stderr.isatty()
        self._began = self._shown = time.monotonic()
        self._cost = 0.0
        self._first: float | None = None

    def __call__(self) -> None:
        pace = max(_TERMINAL_SECONDS if self._terminal else _LOG_SECONDS, 20 * self._cost)
        if time.monotonic() - self._shown >= pace:
            self._show()

    def end(self) -> None:
        """The last line."""
        self._show()
        if self._terminal:
            print(file=sys.stderr)

    def _show(self) -> None:
        started = time.monotonic()
        done, failed, fraction = self._measure()
        if self._first is None:
            self._first = fraction
        text = f"{done} of {len(self._cells)} cells, {100 * fraction:.0f} % of the epochs{self._estimate(fraction)}"
        text += f", {failed} failed" if failed else ""
        print(f"\r\x1b[K{text}" if self._terminal else text, end="" if self._terminal else "\n", file=sys.stderr)
        sys.stderr.flush()
        self._shown = time.monotonic()
        self._cost = self._shown - started

    def _measure(self) -> tuple[int, int, float]:
        done = failed = 0
        fraction = 0.0
        for status in self._store.statuses(self._cells, self._digest):
            if status.state in FINAL or status.state == FAILED:
                done += status.state in FINAL
                failed += status.state == FAILED
                fraction += 1
            elif status.epochs:
                fraction += status.epoch / status.epochs
        return done, failed, fraction / max(1, len(self._cells))

    def _estimate(self, fraction: float) -> str:
        gained = fraction - (self._first or 0.0)
        if gained < 0.02 or fraction >= 1:
            return ""
        return f", about {duration((1 - fraction) / gained * (time.monotonic() - self._began))} left"
