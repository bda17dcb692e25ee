"""Sweeps to break: a directory with a sweep and its tasks, and what must be true of it afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpc.errors import SweepError
from hpc.storage.revisions import write_sweep
from hpc.storage.store import Store
from hpc.submission import intents
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep
from hpc.sweep.grid import Axis, Grid
from hpc.sweep.states import COMPLETED
from hpc.trainers.declaration import read_declaration

from .attempts import ROOT, Attempt, ForkServer

TRAINERS = Path(__file__).with_name("trainers")
# Ten generations in some 40 ms of training.
OPTIONS = {"steps": 30, "epoch": 6, "save": 3, "seconds": 0.0005}


@dataclass
class Bench:
    """A sweep directory whose tasks are started one by one."""

    store: Store
    sweep: Sweep
    tasks: list[tuple[Cell, ...]]
    intents: int = 0
    seen: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def make(
        cls,
        root: Path,
        *,
        trainer: str = "tiny.py:train",
        factors: Mapping[str, list[Any]] | None = None,
        runs: int = 1,
        options: Mapping[str, Any] | None = None,
        pack: int = 1,
        **changes: Any,
    ) -> Bench:
        axes = tuple(Axis(name, tuple(values)) for name, values in (factors or {"width": [1]}).items())
        grid = Grid(axes, tuple(range(42, 42 + runs)))
        sweep = Sweep(
            **{
                "name": "chaos",
                "grid": grid,
                "trainer": read_declaration(trainer, [TRAINERS, ROOT]),
                "options": OPTIONS if options is None else dict(options),
                "sections": {},
                "data_digest": "",
                "analysis": {"primary_metrics": [], "reference": None, "alpha": 0.05},
                "checkpoint_seconds": 1e9,
                "keep": {"weights": "final", "checkpoints": False},
            }
            | changes
        )
        store = Store(root)
        write_sweep(store, sweep, {})
        cells = list(grid)
        bench = cls(store, sweep, [tuple(cells[i : i + pack]) for i in range(0, len(cells), pack)])
        bench.submit()
        return bench

    def submit(self) -> None:
        """A new submission of all tasks, as `submit --include-failed` makes it."""
        intent = intents.begin(self.store, [self.tasks], kind=intents.LOCAL, profile="p", name="chaos", code="")
        self.submission = intent.number

    def arguments(self, task: int) -> list[str]:
        return [str(self.store.paths.root), str(self.submission), "0", str(task)]

    def log(self, task: int) -> Path:
        return self.store.paths.task_log(self.submission, 0, task)

    def start(self, server: ForkServer, task: int, **options: Any) -> Attempt:
        return server.start(self.arguments(task), self.log(task), **options)

    def run_all(self, server: ForkServer, **options: Any) -> None:
        """Every task once, undisturbed."""
        for task in range(len(self.tasks)):
            code = self.start(server, task, **options).wait()
            assert code == 0, f"an undisturbed task ended with {code}: {self.text(task)}"

    def text(self, task: int) -> str:
        """What a task said, in its own log and in its packs'."""
        logs = [self.log(task), *sorted(self.store.paths.packs_root.glob("*/log.txt"))[-3:]]
        return "\n".join(log.read_text() for log in logs if log.exists())[-3000:]

    def done(self, task: int) -> bool:
        return all(self.store.has_result(cell.name) for cell in self.tasks[task])

    def failed_here(self, cell: Cell) -> bool:
        """Whether the newest submission has given a cell up."""
        attempts = self.store.attempts(cell)
        failure = self.store.failure(cell, attempts[-1]) if attempts else None
        return failure is not None and failure["submission"] == self.submission

    # --- what must be true ----------------------------------------------------------------------------------------

    def check_results(self, cells: tuple[Cell, ...]) -> None:
        """Every result there is is whole, and is what it was when it was first seen."""
        for cell in cells:
            if not self.store.has_result(cell.name):
                continue
            outcome(self.store, cell)
            data = self.store.paths.result_file(cell).read_bytes()
            before = self.seen.setdefault(cell.name, data)
            assert before == data, f"{cell.name}: a published result has changed"

    def check_equal(self, other: Bench) -> None:
        """The same outcomes, histories and weights as another directory, to the last bit; nothing failed or damaged."""
        states = {status.state for status in self.store.statuses(self.sweep.grid, self.sweep)}
        assert states == {COMPLETED}, states  # a look at the states also makes the links that a killed writer could not
        for cell in self.sweep.grid:
            ours, theirs = outcome(self.store, cell), outcome(other.store, cell)
            assert ours == theirs, f"{cell.name}: {ours} is not {theirs}"
            for name in ("history_file", "weights_file"):
                here, there = (getattr(bench.store.paths, name)(cell) for bench in (self, other))
                assert here.exists() == there.exists(), f"{here} is {'there' if here.exists() else 'missing'}"
                assert not here.exists() or here.read_bytes() == there.read_bytes(), f"{here} differs"
        self.check_clean()

    def check_clean(self) -> None:
        """No cell in conflict, nothing damaged."""
        for pattern in (
            "individual_results/*/conflict.json",
            "packs/*/*.corrupt-*",
            "individual_results/*/*.corrupt-*",
        ):
            found = sorted(self.store.paths.root.glob(pattern))
            assert not found, f"there should be no {found[0]}"

    def failures(self) -> list[Path]:
        return sorted(self.store.paths.root.glob("individual_results/*/attempts/*/failure.json"))


def outcome(store: Store, cell: Cell) -> dict[str, Any] | None:
    """A result without its provenance."""
    try:
        result = store.result(cell)
    except SweepError as error:
        raise AssertionError(str(error)) from None
    return None if result is None else {key: value for key, value in result.items() if key != "provenance"}


def causes(bench: Bench) -> list[str]:
    return [json.loads(path.read_text())["cause"] for path in bench.failures()]


def straight(bench: Bench, server: ForkServer, root: Path, make: Callable[[Path], Bench]) -> Bench:
    """The same sweep, undisturbed, in a directory beside it."""
    other = make(root)
    other.run_all(server)
    return other
