"""`holdfast redo` in the model of commands: what it may set aside, what stays of that, and what then counts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hpc.cli import redo as command_line
from hpc.storage import published
from hpc.storage.layout import Layout
from hpc.storage.store import Store
from hpc.submission import redo
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep
from hpc.sweep.states import COMPLETED

from .machines import Command, Machines
from .processes import outside


class Kept:
    """Every result that anybody could believe is still there: in its place, or under the name that a redo gave it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._believed: dict[Cell, set[bytes]] = {}
        self._aside: dict[Path, bytes] = {}

    def check(self, cells: Iterable[Cell], sweep: Sweep) -> None:
        """Raise AssertionError if a result has gone, or one that precedes a redo of its cell is believed."""
        for status, result in self._store.outcomes(cells, sweep):
            cell, paths = status.cell, self._store.paths
            aside = {path: path.read_bytes() for path in paths.cell_directory(cell).glob("results.json.redone-*")}
            for path, data in aside.items():
                assert self._aside.setdefault(path, data) == data, f"{path.name} of {cell.name} has changed"
            gone = [path for path in self._aside if path.parent == paths.cell_directory(cell) and path not in aside]
            assert not gone, f"{gone[0].name} of {cell.name} has gone"
            if result is not None:
                by, last = result["provenance"]["submission"], newest_redo(self._store, cell)
                assert by > last, f"{cell.name}: the result of submission {by} is believed after redo {last}"
                self._believed.setdefault(cell, set()).add(paths.result_file(cell).read_bytes())
            kept = {*aside.values(), *(data for path in [paths.result_file(cell)] if (data := _content(path)))}
            assert self._believed.get(cell, set()) <= kept, f"{cell.name}: a result has gone"


def newest_redo(store: Store, cell: Cell) -> int:
    """The number of the last redo that has set a result of the cell aside; -1 if none has."""
    names = (path.name for path in store.paths.cell_directory(cell).glob("results.json.redone-*"))
    return max((int(name.rpartition("-")[2]) for name in names), default=-1)


class Redos:
    """What the commands of that name do in a site. is_live: whether a command can see a task that has a cell."""

    def __init__(self, world: Machines, store: Store, is_live: Callable[[Cell, Command], bool]) -> None:
        self._world, self._store, self._is_live = world, store, is_live
        self._ended: list[tuple[int, int, Cell]] = []  # at which tick, the number, a cell
        self._kept = Kept(store)
        world.patch(redo, "published", SimpleNamespace(repair=published.repair, set_aside=self._set_aside))
        world.patch(command_line, "say", lambda text: None)

    def command(self, process: Command, cells: Collection[Cell]) -> None:
        one = tuple(cell.name for cell in cells) if len(cells) == 1 else ()
        with outside():
            before = {cell: newest_redo(self._store, cell) for cell in cells}
        command_line.command.callback(  # type: ignore[misc]
            directory=self._store.root,
            dim=None,
            scale=None,
            axis=(),
            cell=one,
            state=None if one else COMPLETED,
            yes=True,
            profile=None,
            settings=(),
            allow_code_change=False,
            trust=False,
        )
        with outside():
            now = {cell: newest_redo(self._store, cell) for cell in cells}
        self._ended += [(self._world.tick, now[cell], cell) for cell in cells if now[cell] > before[cell]]

    def check(self) -> None:
        sweep = self._store.sweep()
        self._kept.check(sweep.grid, sweep)

    def check_training(self, task: Command) -> None:
        """Note a fault if a task trains a cell that was redone after it had been queued, and before it started."""
        for tick, number, cell in self._ended:
            if cell.name == task.trains and task.job.job.place[0] < number and task.born > tick:
                self._world.faults.append(f"{cell.name} is trained by a task that was queued before its redo")

    def _set_aside(self, paths: Layout, cell: Cell, judged: bytes, mark: str) -> None:
        process: Any = self._world.current()
        if process.works_without_lock:
            self._world.faults.append(f"{process.name} sets results aside although its lock was taken over")
        with outside():
            seen = self._is_live(cell, process)
        if seen and not process.lagging:
            self._world.faults.append(f"{cell.name} is redone while a task has it")
        published.set_aside(paths, cell, judged, mark)
        self._world.tell("redone")


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""
