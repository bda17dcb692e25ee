"""A sweep in words: what each block of `holdfast status` says, and all of them as plain lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from hpc.status.sweep import PENDING, RUNNING, Snapshot
from hpc.sweep.cell import FactorValue
from hpc.sweep.grid import Axis
from hpc.sweep.states import CONFLICT, FAILED, FINAL, STARTED, CellStatus

_MOST_CELLS = 12
# A factor of more values is no small table.
_MOST_ROWS = 16
# A grid of more rows is no picture of a screen; nor is one of longer lines, where nobody knows how wide the screen is.
_MOST_GRID_ROWS, _WIDTH = 24, 120
_BARS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
# In the order in which tables have them.
LETTERS = {
    "COMPLETED": "C",
    "DIVERGED": "D",
    "RUNNING": "r",
    "PENDING": "p",
    "STARTED": "s",
    "MISSING": ".",
    "FAILED": "F",
    "CONFLICT": "X",
}


def text(snapshot: Snapshot, estimate: str = "") -> str:
    """Everything, as plain lines."""
    axes = snapshot.sweep.grid.axes
    lines = [*first(snapshot), summary(snapshot), "", table(axes, snapshot.statuses)]
    if drawn := grid_lines(axes, snapshot.statuses):
        lines += ["", *drawn]
    for remark in remarks(snapshot):
        lines += ["", remark]
    for title, statuses in sections(snapshot):
        lines += ["", f"{title}:"]
        lines += [
            f"  {s.cell.name} {progress(s)}".rstrip() + curve(s, snapshot) + circumstances(s, snapshot)
            for s in shown(statuses)
        ]
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
    """What keeps the sweep from going on, as Slurm puts it, and what can be done where waiting is of no use; and how
    many cells stop_when has ended."""
    yield from snapshot.remarks
    if snapshot.sweep.stop_rule and (ended := [s for s in snapshot.statuses if s.state in FINAL]):
        early = sum(status.stopped_early for status in ended)
        yield f"stopped early: {early} of {len(ended)} cells with a result ({snapshot.sweep.stop_rule})"
    queued = [task.queued for task in snapshot.live.values() if task.queued.waiting]
    reasons = Counter(task.reason for task in queued if task.reason not in ("", "None") and not task.held)
    if reasons:
        yield "waiting: " + ", ".join(f"{count} ({reason})" for reason, count in reasons.most_common())
    if snapshot.held:
        yield f"held since their launch failed: {len(snapshot.held)}; submit again and they start anew"


def sections(snapshot: Snapshot) -> Iterator[tuple[str, list[CellStatus]]]:
    """The cells that a person looks for, by what they have in common; only what there is."""
    every = snapshot.statuses
    found = {
        "running": [s for s in every if s.state == RUNNING],
        "started, by a command on this machine or before a stop": [s for s in every if s.state == STARTED],
        "pending again after an attempt": [s for s in every if s.state == PENDING and s.attempts],
        "failed": [s for s in every if s.state in (FAILED, CONFLICT)],
    }
    yield from ((title, cells) for title, cells in found.items() if cells)


def shown(statuses: Sequence[CellStatus]) -> Sequence[CellStatus]:
    """Those of a section that are listed."""
    return statuses[:_MOST_CELLS]


def more(statuses: Sequence[CellStatus]) -> str:
    """How many of a section are not listed; empty if all are."""
    return f"... and {len(statuses) - _MOST_CELLS} more" if len(statuses) > _MOST_CELLS else ""


def progress(status: CellStatus) -> str:
    """How far a cell is; empty before its first epoch has ended, where how many are planned is not known either."""
    if status.epochs:
        return f"epoch {status.epoch} of {status.epochs}"
    return f"epoch {status.epoch}" if status.epoch else ""


def curve(status: CellStatus, snapshot: Snapshot) -> str:
    """What a running cell has measured so far, as small bars from its lowest value to its highest; empty if nothing."""
    if status.cell.name not in snapshot.curves:
        return ""
    metric, values = snapshot.curves[status.cell.name]
    low, high = min(values), max(values)
    steps = [round((value - low) / (high - low) * (len(_BARS) - 1)) if high > low else 0 for value in values]
    return f" {''.join(_BARS[step] for step in steps)} {metric} {values[-1]:.3g}"


def circumstances(status: CellStatus, snapshot: Snapshot) -> str:
    """Where a cell is, how often it was tried, why it failed."""
    task = snapshot.live.get(status.cell.name)
    where = f" on {task.queued.node}" if task and task.queued.node else ""
    attempts = f", attempt {status.attempts}" if status.attempts > 1 else ""
    restarts = f", requeued {task.queued.restarts}x" if task and task.queued.restarts else ""
    return f"{where}{attempts}{restarts}" + (f": {status.cause}" if status.cause else "")


def by_factor(axes: Sequence[Axis], statuses: Sequence[CellStatus]) -> tuple[list[str], dict[str, Counter[str]]]:
    """(states that occur, counts of states by the name and value of a factor), for factors of not too many values."""
    rows: dict[str, Counter[str]] = {}
    for position, axis in enumerate(axes):
        values = _levels(axis, position, statuses)
        if len(values) <= _MOST_ROWS:
            rows |= {f"{axis.name} {value}": Counter() for value in values}
            for status in statuses:
                rows[f"{axis.name} {status.cell.point[position][1]}"][status.state] += 1
    return [state for state in LETTERS if any(counts[state] for counts in rows.values())], rows


def _levels(axis: Axis, position: int, statuses: Sequence[CellStatus]) -> list[FactorValue]:
    """The levels that cells have, in the order of their axis: in a design, others may come first."""
    there = {status.cell.point[position][1] for status in statuses}
    return [value for value in axis.values if value in there]


def grid(
    axes: Sequence[Axis], statuses: Sequence[CellStatus], width: int = _WIDTH
) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Every cell as one letter: a row for each combination of the first factors, a column for each level of the last,
    and in it a letter for each seed. The names of the columns, and the rows; empty where it is too large."""
    rows: dict[str, dict[str, str]] = {}
    for status in statuses:
        *first, (_, value) = status.cell.point
        row = rows.setdefault(", ".join(f"{n} {v}" for n, v in first), {})
        row[str(value)] = row.get(str(value), "") + LETTERS.get(status.state, "?")
        if len(rows) > _MOST_GRID_ROWS or sum(map(len, row.values())) > width:
            return [], []
    columns = [str(value) for value in _levels(axes[-1], len(axes) - 1, statuses)]
    return columns, [(name, [row.get(column, "") for column in columns]) for name, row in rows.items()]


def key(statuses: Sequence[CellStatus]) -> str:
    """What the letters of the grid are, as far as they are there."""
    return ", ".join(f"{LETTERS[state]} {state}" for state in LETTERS if any(s.state == state for s in statuses))


def grid_lines(axes: Sequence[Axis], statuses: Sequence[CellStatus], width: int = _WIDTH) -> list[str]:
    """The grid as plain lines, the last of which says what its letters are; none where a line of it is longer than
    ``width``, in which nothing would stand below anything."""
    columns, rows = grid(axes, statuses, width)
    if not rows:
        return []
    name = axes[-1].name
    first = max(len(row) for row, _ in rows)
    widths = [max(len(column), *(len(row[i]) for _, row in rows)) for i, column in enumerate(columns)]
    heads = [f"{name} {columns[0]}", *columns[1:]] if not first else [*columns]
    widths = [max(w, len(head)) for w, head in zip(widths, heads, strict=True)]

    def line(head: str, texts: Sequence[str]) -> str:
        return f"{head:<{first}}" + "".join(f"  {text:<{w}}" for text, w in zip(texts, widths, strict=True)).rstrip()

    above = [" " * first + f"  {name}"] if first else []
    drawn = [*above, line("", heads), *(line(row, texts) for row, texts in rows)]
    return [*drawn, key(statuses)] if max(map(len, drawn)) <= width else []


def table(axes: Sequence[Axis], statuses: Sequence[CellStatus]) -> str:
    """The same as plain lines."""
    states, rows = by_factor(axes, statuses)
    width = max(map(len, rows), default=0)
    lines = [" " * width + "".join(f"  {state:>9}" for state in states)] if rows else []
    lines += [f"{row:<{width}}" + "".join(f"  {counts[s] or '.':>9}" for s in states) for row, counts in rows.items()]
    return "\n".join(lines)
