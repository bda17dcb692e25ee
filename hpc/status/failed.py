"""All cells that failed at once, every line with its cell: what a person greps."""

from __future__ import annotations

from collections.abc import Iterator

from hpc.status.cell import log_text
from hpc.status.conflict import explain
from hpc.storage.store import Store
from hpc.sweep.states import CONFLICT, FAILED, CellStatus


def lines(store: Store) -> Iterator[str]:
    """Causes and tracebacks of cells that failed or are in conflict, then their logs. Raises SweepError, OSError."""
    sweep = store.sweep()
    failed = [s for s in store.statuses(sweep.grid, sweep) if s.state in (FAILED, CONFLICT)]
    if not failed:
        yield "no cell has failed"
    for status in failed:
        yield f"{status.cell.name}: {status.state}: {status.cause}"
        yield from _of_cell(status, _traceback(store, status))
    for status in failed:
        yield from _of_cell(status, log_text(store, status.cell))


def _traceback(store: Store, status: CellStatus) -> str:
    """The traceback of a cell's newest attempt; of a conflict, what differs and how to settle it."""
    if status.state == CONFLICT:
        return explain(store, status.cell)
    attempts = store.counting_attempts(status.cell)
    failure = store.failure(status.cell, attempts[-1]) if attempts else None
    return str((failure or {}).get("traceback") or "")


def _of_cell(status: CellStatus, text: str) -> Iterator[str]:
    return (f"{status.cell.name}: {line}" for line in text.splitlines() if line.strip())
