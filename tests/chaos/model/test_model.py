"""Any schedule of tasks, readers, kills, stops, lagging views and damage: what must hold holds after every step."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from helpers.small_sweeps import make_grid, make_store, make_sweep
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant

from hpc.files import directories
from hpc.node import training_run
from hpc.node.attempt import PackAttempt
from hpc.node.pack import PackTask
from hpc.node.training_run import TrainingRun
from hpc.storage import published
from hpc.storage.checkpoint import CorruptCheckpointError, decode
from hpc.storage.claims import new_submission
from hpc.submission import redo
from hpc.sweep.cell import Cell
from hpc.sweep.states import COMPLETED, CONFLICT, FAILED

from .processes import Process, World, outside
from .redoing import Kept, newest_redo
from .swarm import BOTH, rule
from .toy import PLAIN, Way, Witness, check_believed, train_cell

CELLS = list(make_grid((1, 2), (42,)))
MOST_LIVE = 3
WHICH = range(MOST_LIVE)


class _Watched(Witness):
    """What a process of the model is told is held against what is on disk."""

    def __init__(self, model: Protocol, attempt: PackAttempt, redos: Mapping[Cell, int]) -> None:
        self._model, self._attempt, self._redos = model, attempt, redos
        self.submission = attempt.submission

    def begins(self, cell: Cell, since: int) -> None:
        if since <= self._redos[cell]:
            self._model.faults.append(f"{cell.name} is trained on from what is older than its redo")
        self._model.world.operation("begin")

    def trains(self, cell: Cell) -> None:
        self._model.world.operation("step")

    def saved(self, cell: Cell) -> None:
        self._model.acknowledged.add(cell)

    def dropped(self, cell: Cell) -> None:
        model, own = self._model, self._attempt.claims[cell]
        with outside():
            newer = [number for number in model.attempts_with_a_state(cell) if number > own]
            rightly = newer or model.store.has_result(cell.name) or cell in model.touched or model.damaged_checkpoints
            rightly = rightly or newest_redo(model.store, cell) >= self.submission
        if not rightly:
            model.faults.append(f"{cell.name} is taken from an attempt by one that has saved nothing of it")

    def finished(self, cell: Cell, outcome: float, by: Any) -> None:
        self._model.ended[cell.name, self._attempt.number] = by
        self._model.outcomes.setdefault(cell, set()).add((outcome, self.submission))


class Protocol(RuleBasedStateMachine):
    """Tasks at two cells that come, go and die in any order; by two codes and two numerics, with the same numbers."""

    ends = frozenset({COMPLETED})
    ways: tuple[Way, ...] = (Way(), Way(kernel="B"), Way(code="2"))

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.store = make_store(self.directory / "out", make_sweep(make_grid((1, 2), (42,))))
        self.sweep = self.store.sweep()
        self.world = World(self.store.root)
        self.acknowledged: set[Cell] = set()
        self.ended: dict[tuple[str, int], list[Any]] = {}  # by cell and pack: the codes and numerics that trained it
        self.outcomes: dict[Cell, set[tuple[float, int]]] = {}  # each with the submission whose task had it
        self.faults: list[str] = []
        self.kept = Kept(self.store)
        self.late = new_submission(self.store)  # whose tasks may start at any time
        self.touched: set[Cell] = set()  # by a rule: such a cell may rightly be trained again
        self.damaged_checkpoints = False
        self.world.patch(training_run, "_PROGRESS_SECONDS", 0.0)  # the same operations whatever the clock says

    def teardown(self) -> None:
        try:
            for process in self.world.live:
                process.lagging = False
                process.finish()
            last = self.world.start(self._task(CELLS, new_submission(self.store)))
            last.finish()
            self.what_must_hold()
            assert {status.state for status in self._statuses()} <= self.ends, "one more task does not finish the sweep"
            for cell in CELLS:
                assert self.store.paths.history_file(cell).exists(), "a whole sweep has every curve"
                assert self.store.paths.weights_file(cell).exists()
        finally:
            self.close()

    def close(self) -> None:
        self.world.close()
        shutil.rmtree(self.directory)

    def what_must_hold(self) -> None:
        """All invariants, also where no step follows any more."""
        self.what_is_believed_is_whole_and_right()
        self.a_result_names_all_that_trained_it()
        self.every_outcome_is_kept()
        self.deterministic_training_is_never_in_conflict()
        self.a_result_stays_where_it_is_or_is_kept_by_a_redo()
        self.what_was_acknowledged_is_there()

    def situation(self) -> set[str]:
        """What there is, for a search: what live processes are about to do, and what kinds of files there are."""
        found = {
            f"process before {process.at}{', lagging' * process.lagging}{', to stop' * process.stopped}"
            for process in self.world.live
        }
        for cell in CELLS:
            names = directories.entries(self.store.paths.cell_directory(cell))
            found |= {f"{cell.name}: {re.sub('-[0-9a-f]{4,}', '', name)}" for name in names}
            found |= {f"{cell.name}: {min(3, len(self.store.attempts(cell)))} attempts"}
        checkpoints = len(list(self.store.paths.packs_root.glob("*/checkpoint-??????")))
        return found | {f"checkpoints: {min(3, checkpoints)}"}

    # --- what processes do ----------------------------------------------------------------------------------------

    def _task(self, cells: list[Cell], submission: int, way: Way = PLAIN):  # type: ignore[no-untyped-def]
        """A task as hpc.node.pack runs it, with a trainer of three steps."""

        def body(process: Process) -> None:
            for cell in cells:
                published.set_damaged_aside(self.store.paths, cell)
            own: Any = SimpleNamespace(store=self.store, around=SimpleNamespace(submission=submission))
            left = [cell for cell in cells if PackTask._to_do(own, cell)]
            if not left:
                return
            with outside():
                redos = {cell: newest_redo(self.store, cell) for cell in left}
            attempt = PackAttempt.begin(self.store, self.sweep, left, submission, {})
            run = TrainingRun(
                attempt,
                stop_requested=lambda: process.stopped,
                device="cpu",
                threads=1,
                provenance={"trainer_digest": way.code},
            )
            for cell in left:
                if not run.stop:
                    train_cell(run, cell, way, _Watched(self, attempt, redos))
            attempt.end()

        return body

    # --- rules ----------------------------------------------------------------------------------------------------

    @rule(first=True, copies=range(MOST_LIVE + 1), points=[(), ("step",), ("step", "link")])
    def copies_at_one_point(self, copies: int, points: Sequence[str]) -> None:
        """Some copies of one task that have come equally far."""
        for number in range(copies):
            self.start(CELLS[:1], lagging=False, way=number)
        for point in points:
            for process in self.world.live:
                process.step(1_000, point)

    @rule(
        when=lambda self: len(self.world.live) < MOST_LIVE,
        cells=[CELLS, CELLS[:1], CELLS[1:]],
        lagging=BOTH,
        way=range(3),
        late=[False, False, True],
    )
    def start(self, cells: list[Cell], lagging: bool, way: int, late: bool = False) -> None:
        """late: it has been queued before all the others."""
        submission = self.late if late else new_submission(self.store)
        self.world.start(self._task(cells, submission, self.ways[way])).lagging = lagging

    @rule(when=lambda self: len(self.world.live) < MOST_LIVE, cells=[CELLS, CELLS[:1], CELLS[1:]], at_once=BOTH)
    def redo(self, cells: list[Cell], at_once: bool) -> None:
        """Of tasks that are still at work nothing can be seen, as of an old copy on a node that was given up."""
        held: Any = SimpleNamespace(check=lambda: None)

        def body(process: Process) -> None:
            done = [status.cell for status in self._statuses() if status.state == COMPLETED and status.cell in cells]
            if done:
                redo.set_aside(self.store, done, held)

        process = self.world.start(body)
        if at_once:
            process.finish()

    @rule(when=lambda self: self.world.live, which=WHICH, operations=[1, 2, 3, 5, 8, 13, 21, 34, 55])
    def step(self, which: int, operations: int) -> None:
        self._chosen(which).step(operations)

    @rule(
        when=lambda self: self.world.live,
        which=WHICH,
        operation=["begin", "step", "link", "replace", "unlink", "listdir", "mkdir"],
    )
    def step_until(self, which: int, operation: str) -> None:
        """Let a process go on until it is about to do something."""
        process = self._chosen(which)
        process.step(1)
        process.step(1_000, operation)

    @rule(when=lambda self: self.world.live, which=WHICH)
    def finish(self, which: int) -> None:
        self._chosen(which).finish()

    @rule(when=lambda self: self.world.live, which=WHICH)
    def kill(self, which: int) -> None:
        self._chosen(which).kill()

    @rule(when=lambda self: self.world.live, which=WHICH)
    def ask_to_stop(self, which: int) -> None:
        self._chosen(which).stopped = True

    @rule(when=lambda self: self.world.live, which=WHICH)
    def see_the_present(self, which: int) -> None:
        """A cache of directories expires."""
        process = self._chosen(which)
        process.listings.clear()

    @rule(cell=CELLS, name=["result_file", "history_file", "weights_file"])
    def damage(self, cell: Cell, name: str) -> None:
        path = getattr(self.store.paths, name)(cell)
        if path.exists() and path.stat().st_size > 1:
            data = path.read_bytes()[: path.stat().st_size // 2]
            path.unlink()  # not through the other name of the same content
            path.write_bytes(data)
            self.touched.add(cell)

    @rule(cell=CELLS)
    def move_the_result_away_by_hand(self, cell: Cell) -> None:
        self.store.paths.result_file(cell).unlink(missing_ok=True)
        self.touched.add(cell)

    @rule(which=range(4))
    def damage_a_checkpoint(self, which: int) -> None:
        found = sorted(self.store.paths.packs_root.glob("*/checkpoint-??????"))
        if found:
            path = found[which % len(found)]
            path.write_bytes(path.read_bytes()[:-1])
            self.damaged_checkpoints = True

    def _chosen(self, which: int) -> Process:
        return self.world.live[which % len(self.world.live)]

    # --- what must hold -------------------------------------------------------------------------------------------

    def _statuses(self):  # type: ignore[no-untyped-def]
        return list(self.store.statuses(CELLS, self.sweep))

    @invariant()
    def what_is_believed_is_whole_and_right(self) -> None:
        assert not self.faults, self.faults[0]
        check_believed(self.store, CELLS, self.sweep, {way.noise for way in self.ways})

    @invariant()
    def a_result_names_all_that_trained_it(self) -> None:
        for _, result in self.store.outcomes(CELLS, self.sweep):
            by = result and self.ended.get((result["cell"], result["provenance"]["pack"]))
            if by and len(by) > 1:
                told = result["provenance"].get("trained_by", [])
                assert [[part["code"], part["numerics"]["kernel"]] for part in told] == by, (
                    f"{result['cell']} was trained by {by}, and its result says {told}"
                )

    @invariant()
    def every_outcome_is_kept(self) -> None:
        for cell in set(CELLS) - self.touched:
            kept = {self.store.result(cell)["metrics"]["loss"]} if self.store.has_result(cell.name) else set()
            for path in self.store.paths.conflict_files(cell):
                kept.add(json.loads(path.read_bytes())["outcome"]["metrics"]["loss"])
            redo = newest_redo(self.store, cell)
            counting = {loss for loss, submission in self.outcomes.get(cell, ()) if submission > redo}
            assert counting <= kept, f"{cell.name}: an outcome is lost"

    @invariant()
    def a_result_stays_where_it_is_or_is_kept_by_a_redo(self) -> None:
        self.kept.check([cell for cell in CELLS if cell not in self.touched], self.sweep)

    @invariant()
    def deterministic_training_is_never_in_conflict(self) -> None:
        for cell in CELLS:
            assert not self.store.paths.conflict_files(cell), f"{cell.name}: the same training twice is in conflict"
        assert all(status.state != FAILED for status in self._statuses())

    @invariant()
    def what_was_acknowledged_is_there(self) -> None:
        if self.damaged_checkpoints:
            return
        for cell in self.acknowledged:
            if self.store.has_result(cell.name) or self.attempts_with_a_state(cell):
                continue
            # A result that was there allowed the checkpoints to go; then a rule damaged it or moved it away.
            assert self._lost_its_result(cell), f"{cell.name}: no state is left"

    def attempts_with_a_state(self, cell: Cell) -> list[int]:
        """Numbers of the cell's attempts that have left a whole state of it."""
        found = []
        for attempt in self.store.attempts(cell):
            pack = self.store.pack_of(cell, attempt)
            for path in self.store.paths.generations(pack) if pack is not None else ():
                try:
                    found += [attempt for row in decode(path.read_bytes()) if row.cell == cell.name]
                except CorruptCheckpointError:
                    continue
        return found

    def _lost_its_result(self, cell: Cell) -> bool:
        return "published" in self.store.paths.log_file(cell).read_text() or any(
            self.store.paths.cell_directory(cell).glob("*.corrupt-*")
        )


class Loose(Protocol):
    """The same with training that never gives the same numbers twice: what differs is kept, and nothing is mixed."""

    ends = frozenset({COMPLETED, CONFLICT})
    ways = (Way(), Way(noise=0.25), Way(noise=0.5))

    @invariant()
    def deterministic_training_is_never_in_conflict(self) -> None:
        """It is not deterministic."""


Protocol.TestCase.settings = Loose.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
TestProtocol, TestLoose = Protocol.TestCase, Loose.TestCase
