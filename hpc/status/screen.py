"""A sweep on a terminal: what hpc/status/lines.py says, with states in colour and tables that fit the width."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hpc.status import lines
from hpc.status.sweep import Snapshot
from hpc.sweep.states import CellStatus

_STYLES = {
    "COMPLETED": "green",
    "DIVERGED": "yellow",
    "RUNNING": "cyan",
    "PENDING": "blue",
    "MISSING": "bright_black",
    "FAILED": "bold red",
    "CONFLICT": "bold magenta",
}
_BAR_WIDTH = 12


def screen(snapshot: Snapshot, estimate: str) -> RenderableType:
    """A snapshot as rich draws it, with an estimate of the time left or an empty one."""
    parts: list[RenderableType] = [*lines.first(snapshot), _coloured(lines.summary(snapshot)), ""]
    parts.append(_states(snapshot.statuses))
    for remark in lines.remarks(snapshot):
        parts += ["", remark]
    for title, statuses in lines.sections(snapshot):
        parts += ["", Text(title, style="bold"), _cells(lines.shown(statuses), snapshot)]
        parts += [lines.more(statuses)] * bool(lines.more(statuses))
    return Group(*parts, *["", estimate] * bool(estimate))


def _coloured(line: str) -> Text:
    text = Text(line)
    for state, style in _STYLES.items():
        text.highlight_words([state], style)
    return text


def _states(statuses: Sequence[CellStatus]) -> Table:
    states, rows = lines.by_factor(statuses)
    table = _table(show_header=True)
    table.add_column(no_wrap=True)
    for state in states:
        table.add_column(state, justify="right", header_style=_STYLES.get(state, ""), overflow="fold")
    for row, counts in rows.items():
        table.add_row(row, *(str(counts[state] or ".") for state in states))
    return table


def _cells(statuses: Sequence[CellStatus], snapshot: Snapshot) -> Table:
    """Name, bar, circumstances; without bars where no cell has begun an epoch."""
    begun = any(status.epochs for status in statuses)
    table = _table(show_header=False)
    table.add_column(no_wrap=True, overflow="fold")
    if begun:
        table.add_column(width=_BAR_WIDTH)
    table.add_column(ratio=1, overflow="fold")
    for status in statuses:
        bar = ProgressBar(status.epochs, status.epoch, width=_BAR_WIDTH) if status.epochs else ""
        told = f"{lines.progress(status)}{lines.circumstances(status, snapshot)}".strip(" :,")
        name = Text(status.cell.name, style=_STYLES.get(status.state, ""))
        table.add_row(name, *([bar] if begun else []), told)
    return table


def _table(show_header: bool) -> Table:
    return Table(box=None, show_header=show_header, pad_edge=False, padding=(0, 2, 0, 0))
