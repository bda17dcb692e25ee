"""Progress of a local run on stderr: cells, epochs and an estimate, at a pace that costs nothing."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep
from hpc.sweep.states import FAILED, FINAL
from hpc.terminal import console, watched
from hpc.units import duration

_TERMINAL_SECONDS, _LOG_SECONDS = 1.0, 15.0


@dataclass(frozen=True)
class Measured:
    """How far the cells are. share: of all their epochs, fraction in [0, 1]."""

    cells: int
    done: int
    failed: int
    share: float

    def __str__(self) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.done} of {self.cells} cells, {100 * self.share:.0f} % of the epochs{failed}"


@contextlib.contextmanager
def progress(store: Store, cells: Sequence[Cell], sweep: Sweep) -> Iterator[Callable[[], None]]:
    """Shows how far the cells are each time the result is called, if enough time has passed, and at the end.

    A file that cannot be read, or a terminal that is gone, is nothing to it: the next time shows more.
    """
    measure = _Measure(store, cells, sweep)
    with _bar() if watched(sys.stderr) else contextlib.nullcontext(_line) as show:
        pace = _Pace(_TERMINAL_SECONDS if watched(sys.stderr) else _LOG_SECONDS)

        def again() -> None:
            if pace.due():
                with pace.counted(), contextlib.suppress(OSError):
                    show(*measure())

        yield again
        with contextlib.suppress(OSError):
            show(*measure())


class _Measure:
    """How far the cells are now, and how long the rest will take: empty as long as too little was seen."""

    def __init__(self, store: Store, cells: Sequence[Cell], sweep: Sweep) -> None:
        self._store, self._cells, self._sweep = store, cells, sweep
        self._began = time.monotonic()
        self._first: float | None = None

    def __call__(self) -> tuple[Measured, str]:
        done = failed = 0
        share = 0.0
        for status in self._store.statuses(self._cells, self._sweep):
            done += status.state in FINAL
            failed += status.state == FAILED
            ended = status.state in (*FINAL, FAILED)
            share += 1 if ended else status.epoch / status.epochs if status.epochs else 0
        share /= max(1, len(self._cells))
        if self._first is None:
            self._first = share
        return Measured(len(self._cells), done, failed, share), self._left(share - self._first, share)

    def _left(self, gained: float, share: float) -> str:
        if gained < 0.02 or share >= 1:
            return ""
        return f", about {duration((1 - share) / gained * (time.monotonic() - self._began))} left"


class _Pace:
    """When to look again: not before the pause is over, and at most a twentieth of the time is spent on looking."""

    def __init__(self, pause: float) -> None:
        self._pause = pause
        self._cost = 0.0
        self._last = time.monotonic()

    def due(self) -> bool:
        return time.monotonic() - self._last >= max(self._pause, 20 * self._cost)

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._last = time.monotonic()
        self._cost = self._last - began


def _line(measured: Measured, left: str) -> None:
    print(f"{measured}{left}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[Measured, str], None]]:
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (BarColumn(bar_width=None), TextColumn("{task.description}"))
    with Progress(*columns, console=console(sys.stderr), auto_refresh=False, expand=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda measured, left: bar.update(
            task, completed=measured.share, description=f"{measured}{left}", refresh=True
        )
