"""status, show and cancel."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable

from hpc.commands import CONFIGURATION, DONE, INCOMPLETE, say
from hpc.errors import ConfigError
from hpc.slurm.commands import Slurm
from hpc.status import cell as one_cell
from hpc.status import sweep as status
from hpc.storage.store import Store
from hpc.submission import intents
from hpc.submission.live import by_cluster, live_tasks
from hpc.submission.lock import busy
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep

_WATCH_SECONDS = 30.0
_SANDBOX_WATCH_SECONDS = 1.0
_FOLLOW_SECONDS = 1.0


def show_status(arguments: argparse.Namespace) -> int:
    store = Store(arguments.directory.absolute())
    if arguments.watch:
        taken = watch(store, "", quiet=False)
    else:
        taken = status.take(store)
        print(json.dumps(taken.to_json(), indent=1) if arguments.json else _status_text(store, taken))
    at_rest = taken.finished and not taken.trouble and not busy(store)
    return INCOMPLETE if taken.problems or (at_rest and taken.unfinished) else DONE


def _status_text(store: Store, taken: status.Snapshot) -> str:
    estimate = status.estimate(store, taken)
    return status.text(taken) + (f"\n\n{estimate}" if estimate else "")


def watch(store: Store, profile: str, quiet: bool) -> status.Snapshot:
    """Look again and again until nothing more will happen by itself; Slurm is asked at most twice a minute."""
    here = profile == "sandbox" or any(entry.profile == "sandbox" for entry in intents.intents(store))
    pause = _SANDBOX_WATCH_SECONDS if here else _WATCH_SECONDS
    live_view = sys.stdout.isatty() and not quiet
    last = ""
    while True:
        taken = status.take(store)
        text = _status_text(store, taken)
        if live_view:
            print(f"\x1b[H\x1b[2J{text}", flush=True)
        elif text != last:
            (say if quiet else print)(text.splitlines()[0] if quiet else text + "\n")
        last = text
        if taken.finished and not taken.trouble:
            return taken
        time.sleep(pause)


def show(arguments: argparse.Namespace) -> int:
    store = Store(arguments.directory.absolute())
    if not (arguments.log or arguments.follow):
        print(one_cell.text(store, arguments.cell))
        return DONE
    cell = one_cell.find_cell(store.sweep(), store, arguments.cell)
    if arguments.follow:
        _follow(store, cell)
    else:
        print(one_cell.log_text(store, cell))
    return DONE


def show_json(arguments: argparse.Namespace) -> int:
    print(json.dumps(one_cell.facts(Store(arguments.directory.absolute()), arguments.cell), indent=1))
    return DONE


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
        return DONE
    cells = sorted({name for task in chosen for name in task.cells})
    if not _confirmed(f"cancel {len(chosen)} tasks with {len(cells)} cells? ", arguments.yes):
        return CONFIGURATION
    for conf, tasks in by_cluster(store, chosen).items():
        Slurm(conf).cancel([task.queued for task in tasks])
    say(f"cancelled {len(chosen)} tasks; what they had finished is kept, and submitting again goes on")
    return DONE


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
