"""A sweep in words: what each block of `holdfast status` says, and all of them as plain lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from hpc.status.sweep import PENDING, RUNNING, Snapshot
from hpc.sweep.states import CONFLICT, FAILED, CellStatus

_MOST_CELLS = 12
# A factor of more values is no small table.
_MOST_ROWS = 16
_ORDER = ("COMPLETED", "DIVERGED", "RUNNING", "PENDING", "STARTED", "MISSING", "FAILED", "CONFLICT")


def text(snapshot: Snapshot, estimate: str = "") -> str:
    """Everything, as plain lines."""
    lines = [*first(snapshot), summary(snapshot), "", table(snapshot.statuses)]
    for remark in remarks(snapshot):
        lines += ["", remark]
    for title, statuses in sections(snapshot):
        lines += ["", f"{title}:"]
        lines += [f"  {s.cell.name}{progress(s)}{circumstances(s, snapshot)}" for s in shown(statuses)]
        lines += [f"  {more(statuses)}"] * bool(more(statuses))
    return "\n".join(lines + ["", estimate] * bool(estimate))


def summary(snapshot: Snapshot) -> str:
    counts = sorted(snapshot.counts.items(), key=lambda entry: -entry[1])
    states = ", ".join(f"{number} {state}" for state, number in counts)
    return f"{snapshot.sweep.name}: {len(snapshot.statuses):,} cells: {states}"


def first(snapshot: Snapshot) -> list[str]:
    """What must be known before the table is read, and an empty line; nothing where every cluster has answered."""
    return [f"{snapshot.trouble}; RUNNING and PENDING are not known for them", ""] if snapshot.trouble else []


def remarks(snapshot: Snapshot) -> Iterator[str]:
    """What keeps the sweep from going on, as Slurm puts it, and what can be done where waiting is of no use."""
    yield from snapshot.remarks
    queued = [task.queued for task in snapshot.live.values() if task.queued.waiting]
    reasons = Counter(task.reason for task in queued if task.reason not in ("", "None") and not task.held)
    if reasons:
        yield "waiting: " + ", ".join(f"{count} ({reason})" for reason, count in reasons.most_common())
    if snapshot.held:
        yield f"held since their launch failed: {len(snapshot.held)}; submit again and they start anew"


def sections(snapshot: Snapshot) -> Iterator[tuple[str, list[CellStatus]]]:
    """The cells that a person looks for, by what they have in common; only what there is."""
    every = snapshot.statuses
    yield from (
        (title, found)
        for title, found in (
            ("running", [s for s in every if s.state == RUNNING]),
            ("pending again after an attempt", [s for s in every if s.state == PENDING and s.attempts]),
            ("failed", [s for s in every if s.state in (FAILED, CONFLICT)]),
        )
        if found
    )


def shown(statuses: Sequence[CellStatus]) -> Sequence[CellStatus]:
    """Those of a section that are listed."""
    return statuses[:_MOST_CELLS]


def more(statuses: Sequence[CellStatus]) -> str:
    """How many of a section are not listed; empty if all are."""
    return f"... and {len(statuses) - _MOST_CELLS} more" if len(statuses) > _MOST_CELLS else ""


def progress(status: CellStatus) -> str:
    return f" epoch {status.epoch} of {status.epochs}" if status.epochs else ""


def circumstances(status: CellStatus, snapshot: Snapshot) -> str:
    """Where a cell is, how often it was tried, why it failed."""
    task = snapshot.live.get(status.cell.name)
    where = f" on {task.queued.node}" if task and task.queued.node else ""
    attempts = f", attempt {status.attempts}" if status.attempts > 1 else ""
    restarts = f", requeued {task.queued.restarts}x" if task and task.queued.restarts else ""
    return f"{where}{attempts}{restarts}" + (f": {status.cause}" if status.cause else "")


def by_factor(statuses: Sequence[CellStatus]) -> tuple[list[str], dict[str, Counter[str]]]:
    """(states that occur, counts of states by the name and value of a factor), for factors of not too many values."""
    rows: dict[str, Counter[str]] = {}
    for position, (factor, _) in enumerate(statuses[0].cell.point if statuses else ()):
        values = list(dict.fromkeys(status.cell.point[position][1] for status in statuses))
        if len(values) <= _MOST_ROWS:
            rows |= {f"{factor} {value}": Counter() for value in values}
            for status in statuses:
                rows[f"{factor} {status.cell.point[position][1]}"][status.state] += 1
    return [state for state in _ORDER if any(counts[state] for counts in rows.values())], rows


def table(statuses: Sequence[CellStatus]) -> str:
    """The same as plain lines."""
    states, rows = by_factor(statuses)
    width = max(map(len, rows), default=0)
    lines = [" " * width + "".join(f"  {state:>9}" for state in states)] if rows else []
    lines += [f"{row:<{width}}" + "".join(f"  {counts[s] or '.':>9}" for s in states) for row, counts in rows.items()]
    return "\n".join(lines)
