"""A sweep on a terminal: what hpc/status/lines.py says, with states in colour and tables that fit the width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
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
    parts += [_states(snapshot), _Grid(snapshot)]
    for remark in lines.remarks(snapshot):
        parts += ["", remark]
    for title, statuses in lines.sections(snapshot):
        parts += ["", Text(title, style="bold"), _cells(lines.shown(statuses), snapshot)]
        parts += [lines.more(statuses)] * bool(lines.more(statuses))
    return Group(*parts, *["", estimate] * bool(estimate))


@dataclass(frozen=True)
class _Grid:
    """Every cell as a letter, below an empty line, where the terminal is wide enough."""

    snapshot: Snapshot

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        drawn = lines.grid_lines(self.snapshot.sweep.grid.axes, self.snapshot.statuses, options.max_width)
        if drawn:
            yield ""
            yield from drawn[:-1]
            yield _coloured(drawn[-1])


def _coloured(line: str) -> Text:
    text = Text(line)
    for state, style in _STYLES.items():
        text.highlight_words([state], style)
    return text


def _states(snapshot: Snapshot) -> Table:
    states, rows = lines.by_factor(snapshot.sweep.grid.axes, snapshot.statuses)
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
        told = f"{lines.progress(status)}{lines.curve(status, snapshot)}{lines.circumstances(status, snapshot)}"
        name = Text(status.cell.name, style=_STYLES.get(status.state, ""))
        table.add_row(name, *([bar] if begun else []), told.strip(" :,"))
    return table


def _table(show_header: bool) -> Table:
    return Table(box=None, show_header=show_header, pad_edge=False, padding=(0, 2, 0, 0))
