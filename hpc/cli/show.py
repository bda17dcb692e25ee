"""holdfast show: Show one cell: state, attempts, metrics, cause, log."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from hpc.cli import options
from hpc.cli.command import Command
from hpc.errors import ConfigError
from hpc.status import cell as one_cell
from hpc.status import failed as failures
from hpc.storage.store import Store
from hpc.sweep.cell import Cell

# By so much of its end a log is recognised whose beginning is no longer shown.
_REMEMBERED = 4096
_FOLLOW_SECONDS = 1.0


@click.command("show", cls=Command, examples=("show out dim_8_scale_1.0_run_0 --log", "show out --failed"))
@options.directory
@options.argument(
    "cell", type=options.CELL, required=False, metavar="CELL", text="its name, such as dim_8_scale_1.0_run_0"
)
@options.flag("--failed", help="Instead of one cell: causes, tracebacks and logs of all that failed.")
@options.flag("--log", help="Show its log and its output.")
@options.flag("--follow", help="Show the log as it grows.")
@options.as_json
def command(directory: Path, cell: str | None, failed: bool, log: bool, follow: bool, as_json: bool) -> int:
    """Show one cell: state, attempts, metrics, the cause of a failure, log."""
    store = Store(directory.absolute())
    if cell is None and not failed and len(directory.absolute().parents) > 1:
        sweep = Store(directory.absolute().parents[1])
        if sweep.exists():  # a cell by the path of its directory
            store, cell = sweep, directory.absolute().name
    if failed == (cell is not None) or (failed and (log or follow or as_json)):
        raise ConfigError(["command line: show takes the name of one cell, or --failed alone"])
    if cell is None:
        for line in failures.lines(store):
            print(line)
    elif as_json:
        print(json.dumps(one_cell.facts(store, cell), indent=1))
    elif follow:
        _follow(store, one_cell.find_cell(store.sweep(), store, cell))
    elif log:
        print(one_cell.log_text(store, one_cell.find_cell(store.sweep(), store, cell)))
    else:
        print(one_cell.text(store, cell))
    return 0


def _follow(store: Store, cell: Cell) -> None:
    """Print a cell's log, and what is added to it until the cell has ended."""
    shown: dict[str, str] = {}
    last, ended = "", False
    while not ended:
        ended = one_cell.has_ended(store, cell)  # before the last look
        for title, text in one_cell.log_parts(store, cell).items():
            if added := _added(shown.get(title, ""), text):
                print(f"--- {title} ---\n{added}" if title != last else added, flush=True)
                shown[title], last = text, title
        time.sleep(0 if ended else _FOLLOW_SECONDS)
    if not shown:
        print("no log yet")


def _added(shown: str, now: str) -> str:
    """What a log has beyond what was shown of it; of a long one, both are its end only."""
    end = shown[-_REMEMBERED:]
    at = now.rfind(end) if end else -1
    return now[at + len(end) :].removeprefix("\n") if at >= 0 else now
