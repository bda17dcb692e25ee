"""status, show and cancel."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable

from hpc.errors import ConfigError
from hpc.launch.remarks import say
from hpc.launch.watching import status_text, watch
from hpc.protocol import CommandExit
from hpc.slurm.commands import Slurm
from hpc.status import cell as one_cell
from hpc.status import sweep as status
from hpc.storage.store import Store
from hpc.submission.live import by_cluster, live_tasks
from hpc.submission.lock import busy
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep

_FOLLOW_SECONDS = 1.0


def show_status(arguments: argparse.Namespace) -> int:
    store = Store(arguments.directory.absolute())
    if arguments.watch:
        taken = watch(store, "", quiet=False)
    else:
        taken = status.take(store)
        print(json.dumps(taken.to_json(), indent=1) if arguments.json else status_text(store, taken))
    at_rest = taken.finished and not taken.trouble and not busy(store)
    return CommandExit.INCOMPLETE if taken.problems or (at_rest and taken.unfinished) else CommandExit.DONE


def show(arguments: argparse.Namespace) -> int:
    store = Store(arguments.directory.absolute())
    if not (arguments.log or arguments.follow):
        print(one_cell.text(store, arguments.cell))
        return CommandExit.DONE
    cell = one_cell.find_cell(store.sweep(), store, arguments.cell)
    if arguments.follow:
        _follow(store, cell)
    else:
        print(one_cell.log_text(store, cell))
    return CommandExit.DONE


def show_json(arguments: argparse.Namespace) -> int:
    print(json.dumps(one_cell.facts(Store(arguments.directory.absolute()), arguments.cell), indent=1))
    return CommandExit.DONE


def _follow(store: Store, cell: Cell) -> None:
    """Print a cell's log, and what is added to it until the cell has ended."""
    shown, ended = "", False
    while not ended:
        ended = one_cell.has_ended(store, cell)  # before the last look
        now = one_cell.log_text(store, cell)
        if now != shown:
            print(now[len(shown) :] if now.startswith(shown) else f"\n{now}", end="", flush=True)
            shown = now
        time.sleep(0 if ended else _FOLLOW_SECONDS)
    print()


def cancel(arguments: argparse.Namespace) -> int:
    """cancel: take the tasks that match out of the queue, once confirmed. Raises ConfigError, SlurmError."""
    store = Store(arguments.directory.absolute())
    sweep = store.sweep()
    if arguments.cell is not None:
        one_cell.find_cell(sweep, store, arguments.cell)
    wanted = _filter(sweep, arguments)
    chosen = [
        task
        for task in live_tasks(store)
        if any(wanted(name) for name in task.cells)
        and (arguments.state is None or task.queued.state == arguments.state)
    ]
    if not chosen:
        say("no task of this sweep is queued that matches")
        return CommandExit.DONE
    cells = sorted({name for task in chosen for name in task.cells})
    if not _confirmed(f"cancel {len(chosen)} tasks with {len(cells)} cells? ", arguments.yes):
        return CommandExit.CONFIGURATION
    for conf, tasks in by_cluster(store, chosen).items():
        Slurm(conf).cancel([task.queued for task in tasks])
    say(f"cancelled {len(chosen)} tasks; what they had finished is kept, and submitting again goes on")
    return CommandExit.DONE


def _filter(sweep: Sweep, arguments: argparse.Namespace) -> Callable[[str], bool]:
    asked = {"dim": arguments.dim, "scale": arguments.scale}
    asked |= dict(entry.split("=", 1) for entry in arguments.axis)
    wanted = {name: value for name, value in asked.items() if value is not None}
    names = {axis.name for axis in sweep.grid.axes}
    for name in wanted:
        if name not in names:
            raise ConfigError([f"command line: no factor is called {name!r}; valid: {', '.join(sorted(names))}"])
    matching = {
        cell.name
        for cell in sweep.grid
        if all(_equal(cell.factors[name], value) for name, value in wanted.items())
        and (arguments.cell is None or cell.name == arguments.cell)
    }
    return matching.__contains__


def _equal(value: object, text: str) -> bool:
    try:
        return value == text or (isinstance(value, int | float) and float(text) == value)
    except ValueError:
        return False


def _confirmed(question: str, yes: bool) -> bool:
    if yes:
        return True
    if not sys.stdin.isatty():
        say(f"{question}add -y to confirm")
        return False
    with contextlib.suppress(EOFError):  # Ctrl-D is no answer
        if input(f"{question}[y/N] ").strip().lower() in ("y", "yes"):
            return True
    say("nothing cancelled")
    return False
